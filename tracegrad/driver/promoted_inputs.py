"""Which values the programs of a compiled function read at every call.

A number, a tensor or an array that is another one at each call should not make a program each time:
where it is found becomes an input, unless the function turns out to need the value when it is
traced.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dis import opname
from typing import Any

import numpy as np

from ..tracer.capture import unread
from ..tracer.capture.code_names import fixed
from ..tracer.capture.guards import Guard
from ..tracer.capture.locations import PLAIN, Place, alike, items_of, places_in
from ..tracer.capture.scalar import Scalar, is_number
from ..tracer.tensor.tensor import Tensor
from .entry import Entry


class Argument:
    """Number `index` among those of calls with one structure of arguments, as the origin of a
    Scalar.
    """

    def __init__(self, structure: Any, index: int):
        self.id = ("argument", structure, index)


class Lifts:
    """The places whose values programs read at every call, by id; `static` are the ids of those
    whose value turned out to be needed when the function is traced.
    """

    def __init__(self) -> None:
        self.places: dict[tuple, Place | Argument] = {}
        self.static: set[tuple] = set()

    def add(self, places: Iterable[Place | Argument]) -> bool:
        """Read these at every call from now on; whether there was any that was not tried before."""
        new = {p.id: p for p in places if p.id not in self.static and p.id not in self.places}
        self.places |= new
        return bool(new)

    def drop(self, ids: Iterable[tuple]) -> bool:
        """Make these constants again; whether any was not one."""
        found = [self.places.pop(i) for i in list(ids) if i in self.places]
        self.static.update(p.id for p in found)
        return bool(found)


def raised_by_user(error: BaseException) -> bool:
    """Whether a `raise` or an `assert` in the user's code raised it. Otherwise it was a library or
    a function in C, which may not take a Scalar, or a tensor, where it takes a number or an array.
    """
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    if tb is None or fixed(tb.tb_frame.f_globals.get("__name__", "")):
        return False
    return opname[tb.tb_frame.f_code.co_code[tb.tb_lasti]] in ("RAISE_VARARGS", "RERAISE")


def liftable(then: Any, now: Any) -> bool:
    """Whether one value instead of another need not make another program."""
    if isinstance(then, Tensor):
        return isinstance(now, Tensor)
    if isinstance(then, np.ndarray):
        return isinstance(now, np.ndarray)
    if type(then) is tuple:
        return _tuple_liftable(then, now)
    then, now = (x._value if type(x) is Scalar else x for x in (then, now))
    return is_number(then) and type(now) is type(then)


def _tuple_liftable(then: tuple, now: Any) -> bool:
    """The same for tuples: tensors may be others, plain values are as they were."""
    if type(now) is not tuple or len(now) != len(then) or not any(parts_of(then)):
        return False
    return all(
        liftable(a, b) if isinstance(a, (Tensor, tuple)) else isinstance(a, PLAIN) and alike(a, b)
        for a, b in zip(then, now, strict=True)
    )


def tuples_of(value: Any) -> Iterator[tuple]:
    """A tuple, and those in it."""
    if type(value) is tuple:
        yield value
        for inside in value:
            yield from tuples_of(inside)


def parts_of(value: Any, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """The tensors in a tuple, and where they are in it."""
    if isinstance(value, Tensor):
        yield path, value
    elif type(value) is tuple:
        for index, inside in enumerate(value):
            yield from parts_of(inside, (*path, index))


def moved(structure: Any, entry: Entry, numbers: list) -> Iterator[Place | Argument]:
    """The places whose values are others than for an entry of the same key, and need not make
    another program.
    """
    for i, (then, now) in enumerate(zip(entry.numbers, numbers, strict=True)):
        if type(then) is not Scalar and not alike(then, now):
            yield Argument(structure, i)
    guards = (*entry.surroundings.quick, *entry.surroundings.slow)
    for place, then in entry.surroundings.changes():
        now = place.now()
        if place.settable() and liftable(then, now):
            yield place
        elif place.how == "array":  # where it stands
            yield from (g.place for g in guards if g.then is place.holder and g.place.settable())
        elif place.how == "class" and len(then) == len(now):
            inside = places_in(place.holder, place.key[0])
            before, after = then[len(then) - len(inside) :], now[len(now) - len(inside) :]
            for one, a, b in zip(inside, before, after, strict=True):
                if not alike(a, b) and liftable(a, b):
                    yield one
        elif place.how in ("content", "set"):
            if isinstance(place.holder, (dict, list, deque)):
                yield from _moved_inside(place, then, now)
            if type(place.holder) in unread.KINDS:
                yield from _around(place.holder, guards)


def _moved_inside(place: Place, then: tuple, now: tuple) -> Iterator[Place]:
    """The same within a container that has as many items as it had."""
    holder = place.holder
    if len(then) != len(now):
        return
    half = len(then) // 2 if isinstance(holder, dict) else 0
    keys = now[:half] if half else tuple(range(len(now)))
    for key, a, b in zip(keys, then[half:], now[half:], strict=True):
        if not alike(a, b) and (liftable(a, b) or type(a) is type(b) in unread.KINDS):
            yield Place(f"{place.words}[{key!r}]", "item", holder, key)


def _around(inner: Any, guards: Iterable[Guard]) -> Iterator[Place]:
    """Where a container stands in other ones."""
    for place, _ in guards:
        if place.how == "content" and isinstance(place.holder, (dict, list, deque)):
            for key, value in items_of(place.holder):
                if value is inner:
                    yield Place(f"{place.words}[{key!r}]", "item", place.holder, key)
