"""close: a function, traced for arguments like the given ones, as a program that needs no Python.

Takes what `compile` takes; gives a Closed: the program, its arguments and results in order, and the
state: tensors that the function uses besides its arguments, settings of optimizers, generators.
What a program without Python cannot do (branches on values, attributes that are set) is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from ..codegen.program import Program
from ..func import value_and_grad
from ..functions.torch.creation import from_numpy
from ..ir.dtype import DType, float64, int64
from ..ir.ops.random import signed
from ..nn.module import Module
from ..optim.optimizer import Optimizer
from ..runtime.cpu.serial_call import Memory
from ..tracer.capture.inputs import Input
from ..tracer.capture.signature import flatten
from ..tracer.mode import mode
from ..tracer.pytree import Structure, flatten as flatten_tree, map_leaves
from ..tracer.tensor.device import CPU
from ..tracer.tensor.layout import contiguous_format
from ..tracer.tensor.masked_selection import settled
from ..tracer.tensor.tensor import Tensor, wrap
from .c_names import c_name, identifiers, parameters_of, paths
from .entry import Entry
from .outputs import Returned
from .places import HOST, address
from .promoted_inputs import PromotedInputs
from .record import RunUncompiled, TraceAgain, record
from .report import name_of
from .snapshot import exchanging
from .state_names import state_names

_REPORTING = (Module, Optimizer)


@dataclass(frozen=True)
class Port:
    """An argument or a result: a C-contiguous array. `written`: the function changes it in place.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    slot: int
    written: bool

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def memory(self) -> Memory:
        return Memory(self.slot, self.nbytes, self.written)


@dataclass(frozen=True)
class Held:
    """A part of the state: its memory, which calls read and write. `kind` is that of the Input."""

    name: str
    kind: str
    array: np.ndarray
    dtype: DType
    slot: int
    written: bool
    taken: int = 0  # of a generator: how many numbers a call takes

    def memory(self) -> Memory:
        low, high = byte_bounds(self.array) if self.array.size else (0, 0)
        return Memory(self.slot, high - low, self.written, address(self.array))


@dataclass(frozen=True)
class Tree:
    """Containers of tensors: their structure, and its leaves: a Port, or any other value."""

    leaves: tuple[Any, ...]
    structure: Structure

    @property
    def ports(self) -> tuple[Port, ...]:
        return tuple(leaf for leaf in self.leaves if isinstance(leaf, Port))


@dataclass(frozen=True)
class Closed:
    """A program with all that it needs besides the memory of a call."""

    name: str
    program: Program
    arguments: Tree
    results: Tree
    state: tuple[Held, ...]

    @property
    def stateful(self) -> bool:
        """Whether a call changes what the next one finds."""
        return any(held.written or held.taken for held in self.state)


def _own(leaf: Any) -> Any:
    """A tensor of the result without history, in memory of its own."""
    if isinstance(leaf, Tensor):
        return settled(leaf).detach().clone(memory_format=contiguous_format)
    return leaf


def _example(leaf: Any, what: str) -> Any:
    """A tensor like an argument, and no other."""
    if isinstance(leaf, np.ndarray):
        leaf = from_numpy(np.array(leaf, order="C"))
    if isinstance(leaf, Tensor):
        if leaf.device != CPU:
            raise RuntimeError(
                f"{what}: an example argument is on {leaf.device}, and what is made of it runs on "
                "the CPU: give one that is there, by .cpu()"
            )
        new = wrap(np.array(leaf._array, order="C"), leaf._dtype, leaf._requires_grad)
        return new
    return leaf


def close(fn: Callable, args: tuple, fast_math: bool, gradient: int | Sequence[int] | None,
          what: str, written_out: bool = False) -> Closed:
    """The program of a call of `fn`; with `gradient`, of its value and the gradient with respect to
    these positional arguments. `what` is who asks, for messages; `written_out`: with the text of
    all kernels.

    Raises what the function raises, and RuntimeError for what only Python can do.
    """
    if mode.trace is not None:
        raise RuntimeError(f"{what}: not allowed inside a compiled function")
    args = map_leaves(partial(_example, what=what), args)
    named = [list(paths(*pair)) for pair in zip(args, parameters_of(fn, len(args)), strict=True)]
    called, own_names = fn, None
    if gradient is not None:
        numbers = _argnums(gradient, args, what)
        called = value_and_grad(fn, numbers)
        numbers = (numbers,) if isinstance(numbers, int) else numbers
        own_names = ["value", *(f"grad_{name}" for k in numbers for name in named[k])]

    @wraps(called)  # so the function is watched while it is traced
    def flat(*inside: Any) -> Any:
        return map_leaves(_own, called(*inside))

    with exchanging.lock:
        if exchanging.busy[0]:
            raise RuntimeError(f"{what}: called by a signal handler, while a function is traced")
        exchanging.busy[0] = True
        try:
            entry = _recorded(flat, args, fast_math, f"{what}: {name_of(fn)}")
        finally:
            exchanging.busy[0] = False
    names = identifiers(name for several in named for name in several)
    program = entry.low.written_out() if written_out else entry.program
    return _closed(fn, entry, program, args, names, own_names, f"{what}: {name_of(fn)}")


def _argnums(gradient: int | Sequence[int], args: tuple, what: str) -> int | tuple[int, ...]:
    numbers = tuple(gradient) if isinstance(gradient, (tuple, list)) else (gradient,)
    for k in numbers:
        if isinstance(k, bool) or not isinstance(k, int) or not -len(args) <= k < len(args):
            raise ValueError(
                f"{what}: gradient={gradient!r} must name positional arguments, of which there are "
                f"{len(args)}"
            )
    numbers = tuple(k % len(args) for k in numbers)
    return numbers[0] if isinstance(gradient, int) else numbers


def _recorded(flat: Callable, args: tuple, fast_math: bool, what: str) -> Entry:
    tensors: list[Tensor] = []
    structure = flatten((args, {}), tensors, [], {})
    if len(tensors) != sum(isinstance(leaf, Tensor) for leaf in flatten_tree(args)[0]):
        raise TypeError(
            f"{what}: tensors may be among the arguments, and in tuples, lists and dicts there; "
            "not in other containers"
        )
    promoted = PromotedInputs()
    while True:
        try:
            return record(
                flat, args, {}, structure, promoted, _REPORTING, fullgraph=False,
                fast_math=fast_math, may_run_uncompiled=True,
            )
        except TraceAgain as again:
            if not again.more and not promoted.static.issuperset(again.fewer):
                promoted.static.update(again.fewer)
                continue
            why = f"it sets {', '.join(location.label for location in again.more)}"
        except RunUncompiled:
            why = "it makes state at its first call, or sets something"
        raise RuntimeError(
            f"{what}: {why}, and reads it too: only Python can do that. Keep what changes from "
            "call to call in tensors, and change those in place; if it is state that a first call "
            "makes, call the function once before"
        ) from None


def _closed(fn: Callable, entry: Entry, program: Program, args: tuple, names: list[str],
            own_names: list[str] | None, what: str) -> Closed:
    if entry.low.place is not HOST:
        raise RuntimeError(
            f"{what}: the function computes on {entry.low.place.name}, and what is made of it runs "
            "on the CPU: move the tensors that it uses there"
        )
    _refuse(entry, what)
    written = set(entry.written)
    slots = dict(zip(entry.inputs, program.inputs, strict=True))
    by_key = {i.key: i for i in entry.inputs if i.kind == "argument"}
    leaves, structure = flatten_tree(args)
    ports, number = list[Any](), 0
    for name, leaf in zip(names, leaves, strict=True):
        if isinstance(leaf, Tensor):
            i = by_key[number]
            leaf = Port(name, tuple(leaf.shape), leaf._dtype, slots[i], i in written)
            number += 1
        ports.append(leaf)
    labels = state_names(fn, [i.tensor for i in entry.inputs if i.tensor is not None])
    state = [
        _held(i, slots[i], i in written, labels, entry)
        for i in entry.inputs if i.kind != "argument"
    ]
    results = _results(entry, own_names, names)
    return Closed(c_name(fn), program, Tree(tuple(ports), structure), results, _renamed(state))


def _refuse(entry: Entry, what: str) -> None:
    """Raise for what a call does that needs Python."""
    state = [i for i in entry.inputs if i.kind != "argument"]
    if entry.stages or entry.looked.outputs():
        line = f" (line {entry.first_look})" if entry.first_look else ""
        raise RuntimeError(
            f"{what}: it looks at the value of a tensor{line}: only Python can do that. Use "
            "where(), cond() or while_loop(); one that is differentiated needs max_iterations"
        )
    if entry.effects:
        labels = ", ".join(location.label for location in entry.effects)
        raise RuntimeError(
            f"{what}: it sets {labels}: only Python can do that. Return the new value, or keep it "
            "in a tensor that is changed in place"
        )
    if entry.result[2]:
        raise RuntimeError(f"{what}: it prints: only Python can do that")
    if any(i.kind == "scalar" for i in state):
        raise RuntimeError(f"{what}: it reads a Python number anew at each call; use a 0-d tensor")
    if entry.derivative is not None or any(i in entry.written for i, _ in entry.flags):
        raise RuntimeError(
            f"{what}: it leaves a history in a tensor that it changes in place: change it under "
            "no_grad(), or by a detached value"
        )
    if any(i.kind != "argument" for i, _ in entry.flags):
        raise RuntimeError(f"{what}: it sets requires_grad of a tensor: set it before")
    replaced = {i: k for i, k in entry.graded if i.kind != "argument"}
    for i, present in entry.grad_presence:
        if i in replaced and present is (replaced[i] is None):
            raise RuntimeError(
                f"{what}: it adds to .grad, which is {'there' if present else 'None'} before the "
                "call and not after it: call the function once before, or let it begin with "
                "zero_grad()"
            )
    if any(i.kind == "grad" and i.key in replaced for i in entry.inputs):
        raise RuntimeError(
            f"{what}: it replaces a .grad that it also reads: change it in place, or let the "
            "function begin with zero_grad()"
        )


def _held(i: Input, slot: int, written: bool, names: dict[int, str], entry: Entry) -> Held:
    if i.kind == "hyper":
        group, key = i.key
        names_of_group = names.get(id(group), "optimizer")
        value = np.array(float(dict.__getitem__(group, key)), np.float64)
        return Held(f"{names_of_group}.{key}", "setting", value, float64, slot, False)
    if i.kind == "random":
        value = np.array([signed(v) for v in i.key._state], np.int64)
        taken = next((s.count for s in entry.streams if s.source is i), 0)
        return Held("generator", "generator", value, int64, slot, False, taken)
    owner = i.key.tensor if i.kind == "grad" else i.tensor
    name = names.get(id(owner), "tensor") + (".grad" if i.kind == "grad" else "")
    return Held(name, "tensor", i.tensor._array, i.tensor._dtype, slot, written)


def _renamed(state: list[Held]) -> tuple[Held, ...]:
    """The same, without two of one name."""
    seen: dict[str, int] = {}
    out = []
    for held in state:
        count = seen[held.name] = seen.get(held.name, -1) + 1
        name = f"{held.name}.{count}" if count else held.name
        out.append(Held(name, *list(vars(held).values())[1:]))
    return tuple(out)


def _results(entry: Entry, names: list[str] | None, taken: Iterable[str]) -> Tree:
    """The results of a traced call; `taken` are the names of its arguments."""
    leaves, structure = flatten_tree(entry.result[0])
    names = identifiers(names or paths(entry.result[0], "result"), taken)
    made = []
    for name, leaf in zip(names, leaves, strict=True):
        if isinstance(leaf, Returned):
            node = entry.outputs[leaf.index]
            slot = entry.program.outputs[leaf.index]
            leaf = Port(name, tuple(node.shape), node.dtype, slot, True)
        made.append(leaf)
    return Tree(tuple(made), structure)
