"""A Closed as a file, and back: the program, the object code of its kernels and their text, the
names, the state.

The file is data: numbers, JSON, and machine code, which is trusted like any library. A digest shows
damage. Whatever is wrong with the rest raises Unreadable too.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from collections import OrderedDict, namedtuple
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .. import return_types
from ..codegen.program import Buffer, Kernel, Program
from ..codegen.program_file import Unreadable, decode, encode
from ..ir.dtype import named
from ..runtime.cpu import compiler, portable
from ..tracer.pytree import LEAF, Branch, Leaf, Structure
from .closed import Closed, Held, Port, Tree

_MAGIC = b"tracegrad-program-1\n"
_PLAIN = (type(None), bool, int, float, str)  # of values beside tensors, and of keys


class Archive(NamedTuple):
    """What is in a file: `kernels` are, for each, its symbol, object code and LLVM code."""

    closed: Closed
    kernels: tuple[tuple[bytes, bytes, bytes], ...]
    needs: Any  # where the objects run; see portable.py
    meaning: str  # what gave the text of kernels its meaning
    version: str  # of this library


def packed(archive: Archive) -> bytes:
    """The bytes of a file. TypeError for values that are no data."""
    closed = archive.closed
    head = {
        "version": archive.version, "meaning": archive.meaning, "needs": archive.needs,
        "name": closed.name, "arguments": _tree(closed.arguments, "argument"),
        "results": _tree(closed.results, "result"),
        "state": [
            [h.name, h.kind, h.dtype.name, list(h.array.shape), h.slot, h.written, h.taken]
            for h in closed.state
        ],
    }
    parts = [json.dumps(head).encode(), *encode(closed.program, [])]
    parts += [_bytes(held) for held in closed.state]
    parts += [part for kernel in archive.kernels for part in kernel]
    body = b"".join(struct.pack("<q", len(part)) + part for part in parts)
    return _MAGIC + hashlib.sha256(body).digest() + body


def unpacked(data: bytes) -> Archive:
    """What `packed` packed. Raises Unreadable."""
    start = len(_MAGIC) + 32
    body = data[start:]
    if not data.startswith(_MAGIC[:-2]):
        raise Unreadable("it is no exported program")
    if not data.startswith(_MAGIC):
        raise Unreadable("it is of another version of the format")
    if hashlib.sha256(body).digest() != data[len(_MAGIC) : start]:
        raise Unreadable("it is damaged")
    try:
        return _archive(list(_parts(body)))
    except Unreadable:
        raise Unreadable("its program is not one of this version") from None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise Unreadable(f"its content is wrong: {error}") from error


def _parts(body: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        (size,) = struct.unpack_from("<q", body, at)
        if not 0 <= size <= len(body) - at - 8:
            raise Unreadable
        yield body[at + 8 : at + 8 + size]
        at += 8 + size


def _archive(parts: Sequence[bytes]) -> Archive:
    head, program = json.loads(parts[0]), decode(parts[1:3], [])
    rows, rest = head["state"], parts[3:]
    contents, rest = rest[: len(rows)], rest[len(rows) :]
    kernels = tuple((rest[k], rest[k + 1], rest[k + 2]) for k in range(0, len(rest), 3))
    if len(contents) != len(rows) or len(kernels) != len(program.kernels):
        raise Unreadable
    program = _with_text(program, kernels)
    state = tuple(_held(program, *pair) for pair in zip(rows, contents, strict=True))
    arguments, results = (
        _Tree(program, number).tree(head[key])
        for key, number in (("arguments", program.inputs), ("results", program.outputs))
    )
    slots = [*(p.slot for p in arguments.ports), *(held.slot for held in state)]
    if sorted(slots) != sorted(program.inputs):
        raise Unreadable
    if head["needs"].keys() != portable.made_for().keys():
        raise Unreadable
    closed = Closed(str(head["name"]), program, arguments, results, state)
    return Archive(closed, kernels, head["needs"], str(head["meaning"]), str(head["version"]))


def _with_text(program: Program, kernels: Sequence[tuple[bytes, bytes, bytes]]) -> Program:
    """The program with kernels that can be compiled again."""
    new: dict[Kernel, Kernel] = {}
    for kernel, (_, _, text) in zip(program.kernels, kernels, strict=True):
        if bool(text) != (kernel.llvm is not None):
            raise Unreadable
        new[kernel] = portable.unpacked(kernel.template, kernel.source, kernel.fast, text)
    launches = tuple(replace(launch, kernel=new[launch.kernel]) for launch in program.launches)
    return replace(program, launches=launches)


# ---- state
def _bytes(held: Held) -> bytes:
    array = np.ascontiguousarray(held.array)
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _held(program: Program, row: Sequence[Any], content: bytes) -> Held:
    """A part of the state, in new memory of the layout that the program expects."""
    name, kind, dtype, shape, slot, written, taken = row
    buffer = _buffer(program, program.inputs, slot, shape, dtype)
    if (type(name), type(kind), type(written), type(taken)) != (str, str, bool, int):
        raise Unreadable
    storage = named(dtype).storage
    strides = buffer.strides
    if strides is None:
        array = np.empty(buffer.shape, storage)
    else:
        if min(strides, default=0) < 0:
            raise Unreadable
        span = 1 + sum((n - 1) * s for n, s in zip(buffer.shape, strides, strict=True))
        flat = np.empty(max(span, 1), storage)
        steps = [s * storage.itemsize for s in strides]
        array = np.lib.stride_tricks.as_strided(flat, buffer.shape, steps)
    array[...] = np.frombuffer(content, storage.newbyteorder("<")).reshape(buffer.shape)
    return Held(name, kind, array, buffer.dtype, slot, written, taken)


def _buffer(program: Program, slots: Sequence[int], slot: Any, shape: Any, dtype: Any) -> Buffer:
    """What stands behind one of these slots, if it is of that shape and dtype."""
    if type(slot) is not int or slot not in slots:
        raise Unreadable
    buffer = program.buffers[slot]
    if [list(buffer.shape), buffer.dtype.name] != [shape, dtype]:
        raise Unreadable
    return buffer


# ---- containers
def _tree(tree: Tree, what: str) -> Any:
    """A Tree as JSON."""
    leaves = iter(tree.leaves)

    def encoded(part: Structure) -> Any:
        if isinstance(part, Leaf):
            leaf = next(leaves)
            if isinstance(leaf, Port):
                return {"port": [leaf.name, list(leaf.shape), leaf.dtype.name, leaf.slot,
                                 leaf.written]}
            if type(leaf) not in _PLAIN:
                raise TypeError(
                    f"export: one {what} is a {type(leaf).__name__}: only tensors, numbers, "
                    "strings, booleans and None can be in the file; use what it has inside the "
                    "function"
                )
            return {"value": leaf}
        inside = [encoded(child) for child in part.children]
        if part.keys is not None:
            if not all(type(key) in _PLAIN for key in part.keys):
                raise TypeError(f"export: the keys of each {what} must be strings or numbers")
            kind = "ordered" if part.kind is OrderedDict else "dict"
            return {kind: inside, "keys": list(part.keys)}
        if hasattr(part.kind, "_fields"):
            return {"named": inside, "name": part.kind.__name__, "fields": part.kind._fields}
        return {"list" if issubclass(part.kind, list) else "tuple": inside}

    return encoded(tree.structure)


class _Tree:
    """From JSON to a Tree, whose ports are among these slots of a program."""

    def __init__(self, program: Program, slots: Sequence[int]):
        self.program, self.slots = program, slots
        self.leaves: list[Any] = []

    def tree(self, encoded: Any) -> Tree:
        structure = self.part(encoded)
        return Tree(tuple(self.leaves), structure)

    def part(self, encoded: Any) -> Structure:
        if "port" in encoded or "value" in encoded:
            self.leaves.append(self.leaf(encoded))
            return LEAF
        if "named" in encoded:
            kind = _named_tuple(encoded["name"], encoded["fields"])
            return self.branch(kind, None, encoded["named"])
        for name, kind in (("list", list), ("tuple", tuple)):
            if name in encoded:
                return self.branch(kind, None, encoded[name])
        name = "ordered" if "ordered" in encoded else "dict"
        keys = tuple(encoded["keys"])
        return self.branch(OrderedDict if name == "ordered" else dict, keys, encoded[name])

    def branch(self, kind: type, keys: tuple | None, inside: Sequence[Any]) -> Branch:
        count = len(getattr(kind, "_fields", inside)) if keys is None else len(keys)
        if count != len(inside):
            raise Unreadable
        return Branch(kind, keys, tuple(self.part(child) for child in inside))

    def leaf(self, encoded: Any) -> Any:
        if "value" in encoded:
            value = encoded["value"]
            if type(value) not in _PLAIN:
                raise Unreadable
            return value
        name, shape, dtype, slot, written = encoded["port"]
        buffer = _buffer(self.program, self.slots, slot, shape, dtype)
        if type(name) is not str or type(written) is not bool:
            raise Unreadable
        return Port(name, buffer.shape, buffer.dtype, slot, written)


def _named_tuple(name: str, fields: Sequence[str]) -> type:
    """The class of torch's results of that name, or a new one."""
    kind: Any = getattr(return_types, name, None)
    return kind if getattr(kind, "_fields", None) == tuple(fields) else namedtuple(name, fields)


def archive_of(closed: Closed) -> Archive:
    """A Closed with the machine code of its kernels."""
    version = sys.modules[__name__.partition(".")[0]].__version__  # which imports this module
    kernels = tuple(portable.packed(kernel) for kernel in closed.program.kernels)
    return Archive(closed, kernels, portable.made_for(), compiler.meaning(), version)


def prepare(archive: Archive) -> None:
    """Have this process use the object code, where it runs here. RuntimeError if it does not, and
    the text cannot be compiled either.
    """
    runs = portable.runs_here(archive.needs)
    if not runs and archive.meaning != compiler.meaning():
        raise RuntimeError(
            f"it was made by tracegrad {archive.version} for another processor, or with other "
            "versions of Numba, llvmlite or Python; and this tracegrad cannot compile it again. "
            "Export it anew with this one"
        )
    if runs:
        for kernel, (symbol, code, _) in zip(
            archive.closed.program.kernels, archive.kernels, strict=True
        ):
            compiler.use(kernel, (symbol, code))
