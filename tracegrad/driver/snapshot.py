"""The state that a call of a compiled function started from, so that the function can be run again
from it: promoted inputs, tensors that it changed in place, gradients, generators.

A SnapshotPlan lists what a snapshot holds. replay/memory.py takes one at each call. `restored` puts
that state in place for one run of the function, and undoes everything afterwards.
"""

from __future__ import annotations

import builtins
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from operator import is_
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np

from ..ir.graph import postorder
from ..ir.locks import Turn
from ..ir.node import Node
from ..tracer.capture.guards import Guard
from ..tracer.capture.inputs import Input, Stream
from ..tracer.capture.locations import Location, alike
from ..tracer.capture.scalar import Scalar
from ..tracer.capture.trace import Trace
from ..tracer.change_counter import changed
from ..tracer.mode import get_default_dtype, set_default_dtype
from ..tracer.tensor.data_changes import changed_since
from ..tracer.tensor.device_memory import apart, copyto, like_in_memory
from ..tracer.tensor.tensor import Tensor, wrap
from ..tracer.tensor.views import memory_location

exchanging = Turn()  # of the one thread that may exchange Python's state for a while
_restoring_thread: list[int | None] = [None]  # the thread in which tensors have other memory
_ENTERED = ("argument", "tensor", "location")


def restoring_elsewhere() -> bool:
    """Whether another thread has given tensors other memory for a rerun. Such tensors must not be
    bound to a program. A caller reads the memory of a tensor before this check and again after it.
    """
    return _restoring_thread[0] is not None and _restoring_thread[0] != get_ident()


def rerunning() -> bool:
    """Whether this thread runs a function again."""
    return _restoring_thread[0] == get_ident()


class Snapshot(NamedTuple):
    """The state at the start of one call, in the order of its SnapshotPlan."""

    numbers: tuple  # at the locations of `numbers`
    settings: tuple  # of optimizers
    tensors: tuple[Tensor, ...]  # at the locations of `tensors`
    before: tuple[np.ndarray, ...]  # copies of what the call changed
    gradients: tuple[np.ndarray | None, ...]
    states: tuple[np.ndarray, ...]  # of generators
    read: tuple[tuple[Tensor, np.ndarray, list], ...]  # of `watched`: memory and version


class SnapshotPlan:
    """What a rerun needs, from a trace in which the function has just returned.

    written, kept: tensors that the function changes, and those of which a copy is kept; read: other
    tensors that it computes with; watched: those whose version is noted at the call.
    """

    def __init__(self, trace: Trace, numbers: list[tuple[Location, Scalar]], sets: list[Location],
                 prints: bool):
        self.numbers, self.sets, self.prints = numbers, sets, prints
        self.default_dtype = get_default_dtype()
        self.settings = [i for i in trace.inputs if i.kind == "hyper"]
        self.tensors = [i for i in trace.inputs if i.kind == "location"]
        self.written = self.kept = [i for i in trace.mutated() if i.kind != "grad"]
        self.read = [
            i for i in trace.inputs
            if i.kind in _ENTERED and i not in self.written and i.node in trace.operands
        ]
        self.watched = self.read
        owners = (*trace.inputs_with_new_grad(), *trace.inputs_with_read_grad(),
                  *(i.key for i in trace.inputs if i.kind == "grad"))
        self.grad_owners = list(dict.fromkeys(owners))
        self.streams: list[Stream] = list(trace.streams.values())

    def written_by_backward(self, inputs: Iterable[Input]) -> None:
        """Backward changes these in place, so a second backward needs a copy of them."""
        more = [i for i in inputs if i in self.read]
        self.written, self.kept = [*self.written, *more], [*self.kept, *more]
        self.read = [i for i in self.read if i not in more]

    def ignores(self, location: Location) -> bool:
        """Whether it is a guard on a captured tensor that the function does not compute with."""
        used = (i.tensor for i in (*self.read, *self.written) if i.kind == "tensor")
        return location.kind == "like" and all(location.holder is not t for t in used)

    def keep_only(self, nodes: Iterable[Node]) -> None:
        """A rerun is for these values alone. The former value of a changed tensor is not kept if
        they do not depend on it.
        """
        needed = set(postorder(nodes))
        self.kept = [i for i in self.kept if i.node in needed]
        self.read = [i for i in self.read if i.node in needed]

    def watched_by_backward(self, inputs: Iterable[Input]) -> None:
        """CompiledCall.check looks at the versions of these inputs at every backward."""
        self.watched = [i for i in self.read if i not in inputs]

    @contextmanager
    def restored(self, call: Any, changes: Iterable[Guard]) -> Iterator[dict[Input, Tensor]]:
        """Within it the state is that at the start of a CompiledCall. `changes` are guards that no
        longer hold: they are undone, too. Yields the tensors of the inputs.
        """
        snapshot = Snapshot(*call.snapshot)
        tensors = dict(zip(self.tensors, snapshot.tensors, strict=True))

        def tensor(i: Input) -> Tensor:
            return call.arguments[i.key] if i.kind == "argument" else tensors.get(i, i.tensor)

        kept = ((tensor(i), array) for i, array in call.kept() if i.kind in _ENTERED)
        _refuse_changed([*snapshot.read, *((t, array, t._version[:]) for t, array in kept)])
        with exchanging.lock, ExitStack() as stack:
            stack.callback(_set_restoring_thread, _restoring_thread[0])
            stack.callback(changed)
            _set_restoring_thread(get_ident())
            changed()
            if (default := get_default_dtype()) is not self.default_dtype:
                stack.callback(set_default_dtype, default)
                set_default_dtype(self.default_dtype)
            for location in self.sets:
                stack.callback(_put, location, location.now())
            for guard in changes:
                for location, then in restorable_parts(guard):
                    _set_until_exit(stack, location, then)
            for (location, _), number in zip(self.numbers, snapshot.numbers, strict=True):
                _set_until_exit(stack, location, number)
                if isinstance(number, (list, deque)):  # which the function may append to
                    stack.callback(_refill, number, list(number))
            for i, t in tensors.items():
                _set_until_exit(stack, i.key, t)
            for i, number in zip(self.settings, snapshot.settings, strict=True):
                group, key = i.key
                _set_until_exit(stack, Location("", "item", group, key), number)
            for stream, state in zip(self.streams, snapshot.states, strict=True):
                stack.enter_context(stream.generator.thread_state(state.view(np.uint64).tolist()))
            before = dict(zip(self.kept, snapshot.before, strict=True))
            for i in self.written:
                stack.enter_context(_on_a_copy(tensor(i), before.get(i)))
            for i, array in zip(self.grad_owners, snapshot.gradients, strict=True):
                stack.enter_context(_with_gradient(tensor(i), array))
            if self.prints:
                stack.enter_context(_silent())
            changed()  # for compiled functions that the rerun calls
            yield {i: tensor(i) for i in (*self.tensors, *self.read)}


def restorable_parts(guard: Guard) -> list[tuple[Location, Any]]:
    """The locations to set so that a guard holds again, with their values; empty if that is
    impossible.
    """
    (label, kind, holder, without), then = guard
    if guard.location.settable():
        return [(guard.location, then)]
    if kind != "content" or type(holder) not in (dict, list):
        return []
    now, half = guard.location.now(), len(then) // 2 if type(holder) is dict else 0
    if len(now) != len(then) or not all(map(is_, now[:half], then[:half])):
        return []
    keys = then[:half] if type(holder) is dict else range(len(then))
    items = zip(keys, then[half:], strict=True)
    return [(Location(label, "item", holder, k), v) for k, v in items if k not in (without or ())]


def _refuse_changed(read: Iterable[tuple[Tensor, np.ndarray, list]]) -> None:
    for t, array, version in read:  # of a number of the CPU, `array` is a copy on a GPU
        replaced = t._array is not array and not apart(t._array, array)
        if replaced or t._version != version:
            user = "a compiled function that backward runs again"
            raise changed_since(array.shape, t._version, version, user)


def _set_restoring_thread(thread: int | None) -> None:
    _restoring_thread[0] = thread


def _refill(container: Any, content: list) -> None:
    container.clear()
    container.extend(content)


def _put(location: Location, value: Any) -> None:
    if location.now() is not value:
        location.put(value)


def _set_until_exit(stack: ExitStack, location: Location, value: Any) -> None:
    """Set a location to a value until the stack is left."""
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
    """Within it the tensor has memory of its own, with a copy of `array`, or of its value."""
    saved = t._array, t._version, t._ptr, t._base, t._view, t._memory_location
    location = memory_location(t)
    begin = 0 if location is None else location[1]
    memory, copy = like_in_memory(t._array, begin)
    copyto(copy, t._array if array is None else array)
    t._array, t._version, t._ptr, t._base, t._view = copy, [0], 0, None, None
    t._memory_location = None if location is None else (memory, begin)
    try:
        yield
    finally:
        t._array, t._version, t._ptr, t._base, t._view, t._memory_location = saved


@contextmanager
def _with_gradient(t: Tensor, array: np.ndarray | None) -> Iterator[None]:
    saved = t._grad
    t._grad = None if array is None else wrap(array.copy(), t._dtype)
    try:
        yield
    finally:
        t._grad = saved


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
