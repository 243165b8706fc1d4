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
from .locations import ABSENT, PLAIN, Location, base_of
from .read_log import ReadLog


class Guard(NamedTuple):
    """A place, and what must be there."""

    location: Location
    then: Any

    def holds(self) -> bool:
        return self.location.same(self.then, self.location.now())

    def check(self) -> Callable[[], bool]:
        """`holds`, for every call."""
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
        """In words, what is no longer as it was."""
        then, now = self.then, self.location.now()
        short = all(
            v is ABSENT or (isinstance(v, PLAIN) and len(repr(v)) < 60) for v in (then, now)
        )
        values = f": was {then!r}, is {now!r}" if short else ""
        return f"{self.location.label} was changed{values}"


class GuardSet:
    """The guards of one trace: those in `every_call` are checked at every call, those in
    `on_report` when something was reported.
    """

    def __init__(self, log: ReadLog):
        self.every_call: list[Guard] = []
        self.on_report: list[Guard] = []
        for location, then in log.guards():
            guard = Guard(location, then)
            if log.reported(location):
                self.on_report.append(guard)
                if isinstance(location.holder, WatchedDict):  # an id may be another's later
                    key = ALL_KEYS if location.kind == "content" else location.key
                    location.holder.mark_read(key)
                else:
                    guarded_locations.add(location.id)
            else:
                self.every_call.append(guard)

    def changes(self) -> Iterator[Guard]:
        """What is no longer as it was."""
        return (g for g in (*self.every_call, *self.on_report) if not g.holds())

    def stale(self) -> bool:
        """Whether something that reports is no longer as it was."""
        return not all(g.holds() for g in self.on_report)
