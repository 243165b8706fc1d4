"""Nodes, the interned values of the IR: (op, inputs, params) with shape and dtype.

Building the same thing twice gives the same object, so equality is identity and common
subexpressions vanish by construction. Knows nothing of what the operations mean.
"""

from __future__ import annotations

import contextlib
import itertools
import struct
import sys
import threading
from functools import lru_cache
from os.path import basename
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from .dtype import DType, of_scalar
from .locks import lock
from .op import OpDef
from .ops.source import full, input
from .value import Value


class Aval(NamedTuple):
    """What is known of a value before it exists."""

    shape: tuple[int, ...]
    dtype: DType


class Site(NamedTuple):
    """A line of the user's program."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{basename(self.file)}:{self.line}"


# Where the frames lie that are never the user's line: this package, and what runs a decorator
# such as `no_grad`.
_PACKAGE = Path(__file__).parent.parent
_NOT_THE_USER = (f"{_PACKAGE}/", contextlib.__file__)


class _Here(threading.local):
    site: Site | None = None


_here = _Here()


class at:
    """Nodes made inside stand for what the user wrote at `site`: a pass that replaces a Node keeps
    its line.
    """

    __slots__ = ("before", "site")

    def __init__(self, site: Site | None):
        self.site = site

    def __enter__(self) -> None:
        self.before, _here.site = _here.site, self.site

    def __exit__(self, *_: object) -> None:
        _here.site = self.before


@lru_cache(10_000)
def is_ours(file: str) -> bool:
    return file.startswith(_NOT_THE_USER)


def user_site() -> Site | None:
    """The innermost frame outside this package: the line that the user wrote."""
    if _here.site is not None:
        return _here.site
    frame: Any = sys._getframe(1)
    while frame is not None and is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    return None if frame is None else Site(frame.f_code.co_filename, frame.f_lineno)


class Node(Value):
    """One value of a program. Never constructed directly: apply a primitive, or call `input_node`
    or `constant`.
    """

    __slots__ = ("__weakref__", "dtype", "inputs", "op", "params", "serial", "shape", "site")

    def __init__(
        self,
        op: OpDef,
        inputs: tuple[Node, ...],
        params: dict[str, Any],
        shape: tuple[int, ...],
        dtype: DType,
    ):
        self.op, self.inputs, self.params, self.shape, self.dtype = op, inputs, params, shape, dtype
        self.site = user_site()
        self.serial = next(_serial)  # nodes are numbered in the order in which they are made

    @classmethod
    def bind(cls, op: OpDef, inputs: tuple[Any, ...], params: dict[str, Any]) -> Node:
        like = next((x for x in inputs if isinstance(x, Node) and x.dtype.kind != "bool"), None)
        nodes = tuple(
            x if isinstance(x, Node) else constant(x, of_scalar(x) if like is None else like.dtype)
            for x in inputs
        )
        return intern(op, nodes, params)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        n = 1
        for extent in self.shape:
            n *= extent
        return n

    def __repr__(self) -> str:
        return f"<{self.op.name} {self.dtype.name}{list(self.shape)}>"


_table: WeakValueDictionary[tuple[Any, ...], Node] = WeakValueDictionary()
_lock = lock()
_serial = itertools.count()


def frozen(params: dict[str, Any]) -> tuple[Any, ...]:
    """Parameters as a key. Numbers that compare equal are not always the same constant: 0.0 and
    -0.0, 1 and True, NaN and itself.
    """
    items = sorted(params.items()) if len(params) > 1 else params.items()
    return tuple(
        [(k, type(v), struct.pack("d", v) if isinstance(v, float) else v) for k, v in items]
    )


def intern(op: OpDef, inputs: tuple[Node, ...], params: dict[str, Any]) -> Node:
    key = (op, inputs, frozen(params) if params else ())
    node = _table.get(key)
    if node is None:
        shape, dtype = op.infer(*inputs, **params)
        with _lock:
            node = _table.get(key)
            if node is None:
                node = _table[key] = Node(op, inputs, params, shape, dtype)
    return node


def input_node(shape: tuple[int, ...], dtype: DType, name: str = "") -> Node:
    """A fresh input of a program; two inputs are never the same Node."""
    return intern(
        input,
        (),
        {"shape": tuple(shape), "dtype": dtype, "name": name, "id": next(_serial)},
    )


def constant(value: bool | int | float, dtype: DType, shape: tuple[int, ...] = ()) -> Node:
    """The number `value` of type `dtype`, rounded as that type rounds."""
    exact = dtype.decode(dtype.encode(value)).item()
    return intern(full, (), {"value": exact, "shape": tuple(shape), "dtype": dtype})


def is_constant(node: Node, value: float | None = None) -> bool:
    return node.op is full and value in (None, node.params["value"])
