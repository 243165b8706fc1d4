"""What a compiled call asks about its tensors when they are not those of the call before.

Small closures for the replay: each remembers what it last found in order, and is called only
where a look at an identity or a counter does not settle the matter. They hold no array: the tensors
of a call are its caller's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

import numpy as np

from ...functions.torch.creation import from_numpy
from ...runtime.cpu.executable import address
from ...tracer.capture.locations import Location
from ...tracer.capture.signature import aval
from ...tracer.capture.trace import Stream
from ...tracer.change_counter import WatchedDict, change_count, changed, guarded_locations
from ...tracer.mode import get_default_dtype
from ...tracer.tensor.inplace import is_read_only
from ...tracer.tensor.tensor import Tensor
from ..entry import Entry
from ..overlaps import overlap
from ..scene import elsewhere


def nobody() -> None:
    """A reference to an array that is gone."""


def staleness(entry: Entry) -> Callable[[], bool]:
    seen = entry.seen

    def stale() -> bool:
        """The counter moved: look at everything that reports to it."""
        now = change_count[0]
        if elsewhere() or entry.guard_set.stale():
            return True
        if get_default_dtype() is not entry.default_dtype:
            return True
        if any(
            i.kind == "tensor" and aval(i.tensor) != a
            for i, a in zip(entry.inputs, entry.avals, strict=True)
        ):
            return True
        if any(i.kind == "tensor" and is_read_only(i.tensor) for i in entry.written):
            return True
        for slot, i in zip(entry.program.inputs, entry.inputs, strict=True):
            if i.kind == "tensor":
                entry.executable.table[slot] = address(i.tensor._array)
        entry.executable.warm()
        if change_count[0] != now:  # a tensor may have been elsewhere
            return True
        seen[0] = now
        return False

    return stale


def drawing(stream: Stream, state: np.ndarray) -> tuple[Callable[[], None], Callable[[], None]]:
    """For the random numbers that a program uses of one generator: what takes them, and leaves the
    place they begin at in `state`, and what gives them back when the call did not happen.
    """
    generator, cell = stream.generator, state.view(np.uint64)
    states: tuple[Any, Any] = (None, None)

    def draw() -> None:
        nonlocal states
        states = generator.advance(stream.count, stream.seed)
        seed, used = states[0]
        cell[0], cell[1] = seed % 2**64, used

    def undo() -> None:
        generator.undo_advance(*states)

    return draw, undo


def finder(location: Location, array: bool) -> Callable[[], Tensor | None]:
    """What looks for the tensor at a place: one is there, or an array, whose memory it shares."""
    last: list[Any] = [nobody, None]

    def find() -> Tensor | None:
        value = location.now()
        if not array:
            return value if isinstance(value, Tensor) else None
        if not isinstance(value, np.ndarray):
            return None
        if value is not last[0]():
            last[:] = ref(value), from_numpy(value)
        return last[1]

    return find


def placer(location: Location) -> Callable[[Any], None]:
    """What sets the value at a place, and reports it where somebody relies on it."""
    holder, key = location.holder, location.key
    marks = {location.id, Location("", "content", holder).id}

    def put(value: Any) -> None:
        location.put(value)
        relied = (
            holder.relied_on(key) if isinstance(holder, WatchedDict) else marks & guarded_locations
        )
        if relied:
            changed()

    return put


def together() -> Callable[[Tensor, Tensor], bool]:
    """Whether two tensors share memory; remembers the last that did not."""
    apart: list[Any] = [nobody, nobody]

    def overlapping(x: Tensor, y: Tensor) -> bool:
        if x._array is not apart[0]() or y._array is not apart[1]():
            if overlap(x._array, y._array):
                return True
            apart[:] = ref(x._array), ref(y._array)
        return False

    return overlapping


def rebinder(entry: Entry, k: int, last: list) -> Callable[[Any], bool]:
    """For input k; a reference to its array at the last call is in `last`."""
    table, slot, me = entry.executable.table, entry.program.inputs[k], entry.inputs[k]
    shape, strides, dtype, _ = entry.avals[k]
    mine = any(i is me for i in entry.written)
    related = [
        i
        for i in entry.inputs
        if i is not me and i.kind == "tensor" and (mine or any(i is w for w in entry.written))
    ]

    def owners() -> set[int]:
        """Whose memory an in-place change concerns: ids of the arrays that own it."""
        arrays = (i.tensor._array for i in related)
        return {id(a if a.base is None else a.base) for a in arrays}

    known: list[Any] = [change_count[0], owners()]

    def bind(t: Any) -> bool:
        """A tensor that was not here at the last call: the same kind of one?"""
        array = t._array
        if (
            array is None
            or array.shape != shape
            or array.strides != strides
            or t._dtype is not dtype
            or (mine and not array.flags.writeable)
        ):
            return False
        if related:  # an in-place change must not be seen through another tensor
            if known[0] != change_count[0]:
                known[:] = change_count[0], owners()
            if (array.base is not None or id(array) in known[1]) and any(
                overlap(array, i.tensor._array) for i in related
            ):
                return False
        pointer = t._ptr or address(array)
        if elsewhere() or t._array is not array:
            return False
        table[slot] = t._ptr = pointer
        last[0] = ref(array)
        return True

    return bind
