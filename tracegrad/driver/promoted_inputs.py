"""Which values the programs of a compiled function read at every call.

A number, a tensor or an array that differs at each call should not make a program each time. Its
location becomes an input, unless the trace turns out to need the value.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dis import opname
from typing import Any

import numpy as np

from ..tracer.capture import unread
from ..tracer.capture.code_names import fixed
from ..tracer.capture.locations import PLAIN, Location, alike, items_of, locations_in
from ..tracer.capture.scalar import Scalar, is_number
from ..tracer.tensor.tensor import Tensor
from .entry import Entry


class Argument:
    """A number among the arguments: number `index` in calls with one structure of arguments."""

    def __init__(self, structure: Any, index: int):
        self.id = ("argument", structure, index)


class PromotedInputs:
    """The locations that programs read at every call, by id. `static` are the ids of locations
    whose value a trace needs.
    """

    def __init__(self) -> None:
        self.locations: dict[tuple, Location | Argument] = {}
        self.static: set[tuple] = set()

    @property
    def constants(self) -> frozenset:
        """The origins of numbers of the program that the function needs as constants."""
        return frozenset(i for i in self.static if i[0] == "value")

    def add(self, locations: Iterable[Location | Argument]) -> bool:
        """Read these at every call from now on. Returns whether any of them is new."""
        new = {p.id: p for p in locations if p.id not in self.static and p.id not in self.locations}
        self.locations |= new
        return bool(new)

    def drop(self, ids: Iterable[tuple]) -> bool:
        """Make these constants again. Returns whether any of them was promoted."""
        ids = set(ids)
        dropped = [self.locations.pop(i) for i in ids & self.locations.keys()]
        new = {p.id for p in dropped} | {i for i in ids - self.static if i[0] == "value"}
        self.static |= new
        return bool(new)


def raised_by_user(error: BaseException) -> bool:
    """Whether a `raise` or an `assert` in the user's code raised it. Otherwise it was a library or
    a function in C. That may refuse a Scalar where it takes a number, or a tensor for an array.
    """
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    if tb is None or fixed(tb.tb_frame.f_globals.get("__name__", "")):
        return False
    return opname[tb.tb_frame.f_code.co_code[tb.tb_lasti]] in ("RAISE_VARARGS", "RERAISE")


def promotable(then: Any, now: Any) -> bool:
    """Whether both values can be one promoted input."""
    if isinstance(then, Tensor):
        return isinstance(now, Tensor)
    if isinstance(then, np.ndarray):
        return isinstance(now, np.ndarray)
    if type(then) is tuple:
        return _tuple_promotable(then, now)
    then, now = (x._value if type(x) is Scalar else x for x in (then, now))
    return is_number(then) and type(now) is type(then)


def _tuple_promotable(then: tuple, now: Any) -> bool:
    """The same for tuples: tensors may differ, plain values may not."""
    if type(now) is not tuple or len(now) != len(then) or not any(parts_of(then)):
        return False
    return all(
        promotable(a, b) if isinstance(a, (Tensor, tuple)) else isinstance(a, PLAIN) and alike(a, b)
        for a, b in zip(then, now, strict=True)
    )


def tuples_of(value: Any) -> Iterator[tuple]:
    """A tuple, and those in it."""
    if type(value) is tuple:
        yield value
        for inside in value:
            yield from tuples_of(inside)


def parts_of(value: Any, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """The tensors in a tuple, each with its path."""
    if isinstance(value, Tensor):
        yield path, value
    elif type(value) is tuple:
        for index, inside in enumerate(value):
            yield from parts_of(inside, (*path, index))


def moved(structure: Any, entry: Entry, numbers: list) -> Iterator[Location | Argument]:
    """The locations that differ from those of an entry with the same key, and that can be promoted
    inputs.
    """
    for i, (then, now) in enumerate(zip(entry.numbers, numbers, strict=True)):
        if type(then) is not Scalar and not alike(then, now):
            yield Argument(structure, i)
    guards = (*entry.guard_set.every_call, *entry.guard_set.on_report)
    for location, then in entry.guard_set.changes():
        now = location.now()
        if location.settable() and promotable(then, now):
            yield location
        elif location.kind == "array":  # the location that holds the array
            locations = (g.location for g in guards if g.then is location.holder)
            yield from (settable for settable in locations if settable.settable())
        elif location.kind == "class" and len(then) == len(now):
            inside = locations_in(location.holder, location.key[0])
            before, after = then[len(then) - len(inside) :], now[len(now) - len(inside) :]
            for one, a, b in zip(inside, before, after, strict=True):
                if not alike(a, b) and promotable(a, b):
                    yield one
        elif location.kind in ("content", "set"):
            if isinstance(location.holder, (dict, list, deque)):
                yield from _moved_inside(location, then, now)
            if type(location.holder) in unread.KINDS:
                yield from locations_of(location.holder, guards)


def _moved_inside(location: Location, then: tuple, now: tuple) -> Iterator[Location]:
    """The same within a container, if its size is unchanged."""
    holder = location.holder
    if len(then) != len(now):
        return
    half = len(then) // 2 if isinstance(holder, dict) else 0
    keys = now[:half] if half else tuple(range(len(now)))
    for key, a, b in zip(keys, then[half:], now[half:], strict=True):
        if not alike(a, b) and (promotable(a, b) or type(a) is type(b) in unread.KINDS):
            yield Location(f"{location.label}[{key!r}]", "item", holder, key)


def locations_of(inner: Any, guards: Iterable[tuple[Location, Any]]) -> Iterator[Location]:
    """The locations of a container: those that were read, and those in other containers."""
    for location, then in guards:
        if then is inner and inner is not None and location.settable():
            yield location
        if location.kind == "content" and isinstance(location.holder, (dict, list, deque)):
            for key, value in items_of(location.holder):
                if value is inner:
                    yield Location(f"{location.label}[{key!r}]", "item", location.holder, key)
