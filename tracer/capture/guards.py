"""What a program relies on besides its arguments: the places that the function read when it was
traced, and what was there.

Places in objects that report their changes to change_counter.py are looked at only when its counter
has moved; the rest is looked at every time. Which places there are is observer.py's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import is_
from typing import Any, NamedTuple

from ..change_counter import ALL_KEYS, WatchedDict, guarded_locations
from .locations import ABSENT, PLAIN, Place, base_of
from .read_log import Notes


class Guard(NamedTuple):
    """A place, and what must be there."""

    place: Place
    then: Any

    def holds(self) -> bool:
        return self.place.same(self.then, self.place.now())

    def check(self) -> Callable[[], bool]:
        """`holds`, for every call."""
        place, then = self
        if place.how != "content" or place.key:
            return self.holds
        holder, slow, base = place.holder, self.holds, base_of(place.holder)
        size, inside = base.__len__, base.__iter__
        if isinstance(holder, dict):
            half, values_of = len(then) // 2, base.values
            keys, values = then[:half], then[half:]
            return lambda: (
                size(holder) == half
                and all(map(is_, inside(holder), keys))
                and all(map(is_, values_of(holder), values))
            ) or slow()
        return lambda: (size(holder) == len(then) and all(map(is_, inside(holder), then))) or slow()

    def __str__(self) -> str:
        """In words, what is no longer as it was."""
        then, now = self.then, self.place.now()
        short = all(
            v is ABSENT or (isinstance(v, PLAIN) and len(repr(v)) < 60) for v in (then, now)
        )
        return f"{self.place.words} was changed" + (f": was {then!r}, is {now!r}" if short else "")


class Surroundings:
    """The guards of one trace: `quick` ones are checked at every call, `slow` ones when something
    was reported.
    """

    def __init__(self, notes: Notes):
        self.quick: list[Guard] = []
        self.slow: list[Guard] = []
        for place, then in notes.guards():
            guard = Guard(place, then)
            if notes.reported(place):
                self.slow.append(guard)
                if isinstance(place.holder, WatchedDict):  # an id may be another's later
                    place.holder.mark_read(ALL_KEYS if place.how == "content" else place.key)
                else:
                    guarded_locations.add(place.id)
            else:
                self.quick.append(guard)

    def changes(self) -> Iterator[Guard]:
        """What is no longer as it was."""
        return (g for g in (*self.quick, *self.slow) if not g.holds())

    def stale(self) -> bool:
        """Whether something that reports is no longer as it was."""
        return not all(g.holds() for g in self.slow)
