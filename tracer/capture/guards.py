"""The guard set of a program: the locations that the function read when it was traced, with their
values.

Locations in objects that report changes to change_counter.py are checked only when its counter has
moved. The others are checked at every call. observer.py says which locations there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import is_
from typing import Any, NamedTuple

from ..change_counter import ALL_KEYS, WatchedDict, guarded_locations
from .locations import ABSENT, PLAIN, Location, base_of
from .read_log import ReadLog


class Guard(NamedTuple):
    """A location, and the value that must be there."""

    location: Location
    then: Any

    def holds(self) -> bool:
        return self.location.same(self.then, self.location.now())

    def check(self) -> Callable[[], bool]:
        """A fast function for `holds`, for use at every call."""
        location, then = self
        if location.kind != "content" or location.key:
            return self.holds
        holder, slow, base = location.holder, self.holds, base_of(location.holder)
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
        """In words, what has changed."""
        then, now = self.then, self.location.now()
        short = all(
            v is ABSENT or (isinstance(v, PLAIN) and len(repr(v)) < 60) for v in (then, now)
        )
        values = f": was {then!r}, is {now!r}" if short else ""
        return f"{self.location.label} was changed{values}"


class GuardSet:
    """The guards of one trace. Those in `every_call` are checked at every call, those in
    `on_report` after a reported change.
    """

    def __init__(self, log: ReadLog):
        self.every_call: list[Guard] = []
        self.on_report: list[Guard] = []
        for location, then in log.guards():
            guard = Guard(location, then)
            if log.reported(location):
                self.on_report.append(guard)
                if isinstance(location.holder, WatchedDict):  # an id may be reused
                    key = ALL_KEYS if location.kind == "content" else location.key
                    location.holder.mark_read(key)
                else:
                    guarded_locations.add(location.id)
            else:
                self.every_call.append(guard)

    def changes(self) -> Iterator[Guard]:
        """The guards that no longer hold."""
        return (g for g in (*self.every_call, *self.on_report) if not g.holds())

    def stale(self) -> bool:
        """Whether a guard in `on_report` no longer holds."""
        return not all(g.holds() for g in self.on_report)
