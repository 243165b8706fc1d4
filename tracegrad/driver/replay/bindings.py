"""Closures that a replay calls when the tensors are not those of the call before.

Each remembers what it checked last, and is called only if a comparison of identities or counters
is not enough. They keep no array alive: the tensors of a call belong to its caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

import numpy as np

from ...functions.torch.creation import from_numpy
from ...tracer.capture.inputs import Stream
from ...tracer.capture.locations import Location
from ...tracer.capture.signature import aval
from ...tracer.change_counter import WatchedDict, change_count, changed, guarded_locations
from ...tracer.mode import get_default_dtype
from ...tracer.tensor.device import CPU
from ...tracer.tensor.device_memory import place_of
from ...tracer.tensor.inplace import is_read_only
from ...tracer.tensor.tensor import Tensor
from ..entry import Entry, nobody
from ..overlaps import overlap
from ..places import address
from ..snapshot import restoring_elsewhere


def staleness(entry: Entry) -> Callable[[], bool]:
    seen = entry.checked_at

    def stale() -> bool:
        """The change counter moved: check all guards that depend on it, and the pointers of
        captured tensors. Returns whether one of them no longer holds.
        """
        now = change_count[0]
        if restoring_elsewhere() or entry.guard_set.stale():
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
        for executable, inputs in entry.bound():
            for slot, i in zip(executable.program.inputs, inputs, strict=True):
                if i.kind == "tensor":
                    executable.table[slot] = address(i.tensor._array)
            executable.warm()
        if change_count[0] != now:  # a tensor may have had other memory in the meantime
            return True
        seen[0] = now
        return False

    return stale


def random_reservation(
    stream: Stream, state: np.ndarray
) -> tuple[Callable[[], None], Callable[[], None]]:
    """A function that reserves the random numbers of a call, and writes their start to `state`; a
    function that gives them back if the call fails.
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


def location_reader(location: Location, array: bool) -> Callable[[], Tensor | None]:
    """A function that returns the tensor at a location, or one that shares the memory of the array
    there.
    """
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


def location_writer(location: Location) -> Callable[[Any], None]:
    """A function that sets a location, and reports the change if a guard depends on it."""
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


def overlap_check() -> Callable[[Tensor, Tensor], bool]:
    """A function: whether two tensors share memory. It remembers the last two that did not."""
    last: list[Any] = [nobody, nobody]

    def overlapping(x: Tensor, y: Tensor) -> bool:
        if x._array is not last[0]() or y._array is not last[1]():
            if overlap(x._array, y._array):
                return True
            last[:] = ref(x._array), ref(y._array)
        return False

    return overlapping


def rebinder(entry: Entry, k: int, last: list) -> Callable[[Any], bool]:
    """A function that binds a new tensor to input k, if it fits. `last` has a weak reference to the
    array of the last call.
    """
    table, slot, me = entry.executable.table, entry.program.inputs[k], entry.inputs[k]
    shape, strides, dtype, _, where = entry.avals[k]
    is_written = any(i is me for i in entry.written)
    related = [
        i
        for i in entry.inputs
        if i is not me and i.kind == "tensor" and (is_written or any(i is w for w in entry.written))
    ]

    def owners() -> set[int]:
        """The ids of the arrays that own memory which an in-place change concerns."""
        arrays = (i.tensor._array for i in related)
        return {id(a if a.base is None else a.base) for a in arrays}

    related_owners: list[Any] = [change_count[0], owners()]

    def bind(t: Any) -> bool:
        """Write the pointer of a tensor to the table; False if its aval or memory does not fit."""
        array = t._array
        if (
            array is None
            or array.shape != shape
            or array.strides != strides
            or ((type(array) is not np.ndarray or where is not CPU) and place_of(array) != where)
            or t._dtype is not dtype
            or (is_written and not array.flags.writeable)
        ):
            return False
        if related:  # no in-place change through another tensor
            if related_owners[0] != change_count[0]:
                related_owners[:] = change_count[0], owners()
            if (array.base is not None or id(array) in related_owners[1]) and any(
                overlap(array, i.tensor._array) for i in related
            ):
                return False
        pointer = t._ptr or address(array)
        if restoring_elsewhere() or t._array is not array:
            return False
        table[slot] = t._ptr = pointer
        last[0] = ref(array)
        return True

    return bind
