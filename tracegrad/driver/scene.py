"""What a call of a compiled function found in the world, so that the function can be run again as
at that call: its numbers, the tensors at places, what it changed in place, gradients, generators.

A Scene says what is to be known of a call; replay/memory.py has each call keep it. `again` puts
it there for one run and takes it away, with all that the run changed.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from operator import is_
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..ir.graph import postorder
from ..ir.locks import Turn
from ..ir.node import Node
from ..tracer.capture.guards import Guard
from ..tracer.capture.locations import Location, alike
from ..tracer.capture.scalar import Scalar
from ..tracer.capture.trace import Input, Stream, Trace
from ..tracer.change_counter import changed
from ..tracer.mode import get_default_dtype, set_default_dtype
from ..tracer.tensor.tensor import Tensor, wrap
from ..tracer.tensor.views import memory_location

exchanging = Turn()  # one thread at a time has Python's own state be another for a while
_holder: list[int | None] = [None]  # the thread in which tensors stand over other memory
_ENTERED = ("argument", "tensor", "place")


def elsewhere() -> bool:
    """Whether another thread has tensors stand over other memory just now: they are not to be bound
    to a program. Whoever asks looks at the tensors before it does, and once more afterwards.
    """
    return _holder[0] is not None and _holder[0] != get_ident()


class Found(NamedTuple):
    """What one call found, in the order in which its Scene names it."""

    numbers: tuple  # at the places of Scene.numbers
    settings: tuple  # of optimizers
    placed: tuple[Tensor, ...]
    before: tuple[np.ndarray, ...]  # copies of what it changed
    gradients: tuple[np.ndarray | None, ...]
    states: tuple[np.ndarray, ...]  # of generators
    read: tuple[tuple[Tensor, np.ndarray, int], ...]  # of Scene.watched: memory and version


class Scene:
    """Of a trace in which the function has just returned."""

    def __init__(self, trace: Trace, numbers: list[tuple[Location, Scalar]], sets: list[Location],
                 prints: bool):
        self.numbers, self.sets, self.prints = numbers, sets, prints
        self.default_dtype = get_default_dtype()
        self.settings = [i for i in trace.inputs if i.kind == "hyper"]
        self.placed = [i for i in trace.inputs if i.kind == "place"]
        self.written = self.kept = [i for i in trace.mutated() if i.kind != "grad"]
        self.read = [
            i for i in trace.inputs
            if i.kind in _ENTERED and i not in self.written and i.node in trace.operands
        ]
        self.watched = self.read
        looked_at = (*trace.regraded(), *trace.used_grads(),
                     *(i.key for i in trace.inputs if i.kind == "grad"))
        self.graded = list(dict.fromkeys(looked_at))
        self.streams: list[Stream] = list(trace.streams.values())

    def changed_later(self, inputs: Iterable[Input]) -> None:
        """Backward changes these in place: the next one must find what the call found."""
        more = [i for i in inputs if i in self.read]
        self.written, self.kept = [*self.written, *more], [*self.kept, *more]
        self.read = [i for i in self.read if i not in more]

    def ignores(self, location: Location) -> bool:
        """Whether it is about a tensor that the function has met and computed nothing from."""
        used = (i.tensor for i in (*self.read, *self.written) if i.kind == "tensor")
        return location.kind == "like" and all(location.holder is not t for t in used)

    def only(self, matter: Iterable[Node]) -> None:
        """Nothing but these values is asked for, or checked. Where they do not need what a tensor
        held before it was changed, what it holds later will do.
        """
        needed = set(postorder(matter))
        self.kept = [i for i in self.kept if i.node in needed]
        self.read = [i for i in self.read if i.node in needed]

    def watched_by_backward(self, inputs: Iterable[Input]) -> None:
        """The versions of these are looked at before every backward."""
        self.watched = [i for i in self.read if i not in inputs]

    @contextmanager
    def again(self, call: Any, changes: Iterable[Guard]) -> Iterator[dict[Input, Tensor]]:
        """Within it the world is as a CompiledCall found it, `changes` since then undone; gives the
        tensors of the inputs.
        """
        found = Found(*call.found)
        placed = dict(zip(self.placed, found.placed, strict=True))

        def tensor(i: Input) -> Tensor:
            return call.arguments[i.key] if i.kind == "argument" else placed.get(i, i.tensor)

        kept = ((tensor(i), array) for i, array in call.kept() if i.kind in _ENTERED)
        _refuse_changed([*found.read, *((t, array, t._version[0]) for t, array in kept)])
        with exchanging.lock, ExitStack() as stack:
            stack.callback(_stand_in, _holder[0])
            stack.callback(changed)
            _stand_in(get_ident())
            changed()
            if (default := get_default_dtype()) is not self.default_dtype:
                stack.callback(set_default_dtype, default)
                set_default_dtype(self.default_dtype)
            for location in self.sets:
                stack.callback(_put, location, location.now())
            for guard in changes:
                for location, then in parts(guard):
                    _instrument(stack, location, then)
            for (location, _), number in zip(self.numbers, found.numbers, strict=True):
                _instrument(stack, location, number)
            for i, t in placed.items():
                _instrument(stack, i.key, t)
            for i, number in zip(self.settings, found.settings, strict=True):
                group, key = i.key
                _instrument(stack, Location("", "item", group, key), number)
            for stream, state in zip(self.streams, found.states, strict=True):
                stack.enter_context(stream.generator.thread_state(state.view(np.uint64).tolist()))
            before = dict(zip(self.kept, found.before, strict=True))
            for i in self.written:
                stack.enter_context(_on_a_copy(tensor(i), before.get(i)))
            for i, array in zip(self.graded, found.gradients, strict=True):
                stack.enter_context(_with_gradient(tensor(i), array))
            if self.prints:
                stack.enter_context(_silent())
            changed()  # also for programs that this thread runs within
            yield {i: tensor(i) for i in (*self.placed, *self.read)}


def parts(guard: Guard) -> list[tuple[Location, Any]]:
    """The single places that make good a guard which no longer holds, and what was there; none if
    that cannot be.
    """
    (words, how, holder, without), then = guard
    if guard.location.settable():
        return [(guard.location, then)]
    if how != "content" or type(holder) not in (dict, list):
        return []
    now, half = guard.location.now(), len(then) // 2 if type(holder) is dict else 0
    if len(now) != len(then) or not all(map(is_, now[:half], then[:half])):
        return []
    keys = then[:half] if type(holder) is dict else range(len(then))
    there = zip(keys, then[half:], strict=True)
    return [(Location(words, "item", holder, k), v) for k, v in there if k not in (without or ())]


def _refuse_changed(read: Iterable[tuple[Tensor, np.ndarray, int]]) -> None:
    for t, array, version in read:
        if t._array is not array or t._version[0] != version:
            how = "got another memory" if t._array is not array else (
                f"is at version {t._version[0]}; expected version {version} instead")
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an "
                f"inplace operation: a tensor of shape {list(t.shape)}, used by a compiled "
                f"function that backward runs again, {how}."
            )


def _stand_in(thread: int | None) -> None:
    _holder[0] = thread


def _put(location: Location, value: Any) -> None:
    if location.now() is not value:
        location.put(value)


def _instrument(stack: ExitStack, location: Location, value: Any) -> None:
    """Have a value at a place, if another one is there, until the stack is left."""
    now = location.now()
    if isinstance(now, np.ndarray) and isinstance(value, Tensor):
        value = value._array
        if value.__array_interface__ == now.__array_interface__:
            return
    if not alike(now, value):
        stack.callback(_put, location, now)
        location.put(value)


@contextmanager
def _on_a_copy(t: Tensor, array: np.ndarray | None) -> Iterator[None]:
    """Within it the tensor stands over memory of its own, which holds what `array` does."""
    kept = t._array, t._version, t._ptr, t._base, t._view, t._memory_location
    found = memory_location(t)
    begin = 0 if found is None else found[1]
    memory = _memory_like(t._array, begin)
    copy = as_strided(memory[begin:], t._array.shape, t._array.strides)
    np.copyto(copy, t._array if array is None else array)
    t._array, t._version, t._ptr, t._base, t._view = copy, [0], 0, None, None
    t._memory_location = None if found is None else (memory, begin)
    try:
        yield
    finally:
        t._array, t._version, t._ptr, t._base, t._view, t._memory_location = kept


def _memory_like(array: np.ndarray, begin: int) -> np.ndarray:
    """New memory in which an array can lie from `begin` on, with the same strides."""
    last = sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True))
    return np.empty(begin + (last // array.itemsize + 1 if array.size else 0), array.dtype)


@contextmanager
def _with_gradient(t: Tensor, array: np.ndarray | None) -> Iterator[None]:
    kept = t._grad
    t._grad = None if array is None else wrap(array.copy(), t._dtype)
    try:
        yield
    finally:
        t._grad = kept


@contextmanager
def _silent() -> Iterator[None]:
    """Within it this thread prints nothing."""
    original, me = builtins.print, get_ident()

    def printed(*args: Any, **kwargs: Any) -> None:
        if get_ident() != me:
            original(*args, **kwargs)

    builtins.print = printed
    try:
        yield
    finally:
        builtins.print = original
