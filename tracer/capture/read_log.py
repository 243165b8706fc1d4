"""Notes on one traced call: the places that the function read and what was there, and copies of
what it may have changed.

Which places there are is observer.py's affair. Here they become guards of the program and effects
that it has at every call, and what the function changed is put back.
"""

from __future__ import annotations

from builtins import id  # Python's own, also while a trace has the user's calls of it watched
from collections.abc import Iterable
from typing import Any

from . import code_names, function_caches
from .locations import ABSENT, Location, alike
from .side_effects import Effect, Refused, Table, restore_summary, table

# summaries that tell of acts, which a program would not repeat
_ACTS = {"array", "bytes", "set", "random", "context"}


# static methods of an autograd.Function, which we call by name
_CALLED = ("forward", "backward", "setup_context", "jvp", "vmap")


class ReadLog:
    """`reports` are the classes whose objects report changes of their attributes to
    change_counter.py;
    `given` are the ids of places whose value is read at every call, which are not compared.
    """

    def __init__(self, reports: tuple[type, ...], given: Iterable[tuple] = ()):
        self.reports, self.given = reports, frozenset(given)
        self.reads: dict[tuple, tuple[Location, Any]] = {}  # and what was there at first
        self.before: dict[tuple, tuple[Location, Any]] = {}  # single places that may be set
        self.tables: dict[int, Table] = {}
        self.written: dict[tuple, Location] = {}  # places that were seen to be set
        self.sealed: set[int] = set()  # ids of holders that the function must not change
        self.reporting: set[int] = set()  # ids of holders that report their changes
        self.kept: set[tuple] = set()  # items that stay: an optimizer's state, when it is made
        self.classes: dict[type, set[str]] = {}  # and the names that are read of them
        self.attributes = set(_CALLED)  # names of attributes in the code
        self.any_attribute = self.asks_type = self.asks_identity = False

    # ---- taking notes
    def first(self, location: Location, otherwise: Any) -> Any:
        """What was at a place before the function ran, if that is known."""
        if location.id in self.before:
            return self.before[location.id][1]
        known = self.tables.get(id(location.holder)) if location.kind == "item" else None
        return otherwise if known is None else known.first(location.key, otherwise)

    def relies(self, location: Location, value: Any) -> None:
        """The outcome depends on what is at a place, unless the program reads it at every call."""
        at = location.id
        if at not in self.given:
            self.reads.setdefault(at, (location, value))

    def given_in(self, holder: Any) -> frozenset:
        """The keys of a container under which values are read at every call."""
        if not any(how == "item" and there == id(holder) for how, there, _ in self.given):
            return frozenset()
        keys = dict.keys(holder) if isinstance(holder, dict) else range(len(holder))
        return frozenset(k for k in keys if Location("", "item", holder, k).id in self.given)

    def summary(self, words: str, how: str, holder: Any, key: Any = None) -> None:
        """The outcome depends on something that has no value of its own."""
        location = Location(words, how, holder, key)
        at = location.id
        if at not in self.reads:
            self.reads[at] = location, location.now()

    def may_set(self, location: Location) -> None:
        """The function may set what is at a place."""
        at = location.id
        if at not in self.before:
            self.before[at] = location, location.now()

    def sets(self, location: Location) -> None:
        """The function sets what is at a place."""
        self.written.setdefault(location.id, location)

    def has_set(self, holder: Any, key: Any) -> bool:
        """Whether the function has set an item."""
        return Location("", "item", holder, key).id in self.written

    def copied(self, words: str, holder: Any) -> None:
        """The function may change what is in a holder."""
        if id(holder) not in self.tables:
            self.tables[id(holder)] = table(words, holder)

    # ---- what became of it
    def effects(self) -> list[Effect]:
        """What the function has changed, at places that a program can set; raises Refused for what
        it must not change.
        """
        found: list[Effect] = []
        for location, before in self.before.values():
            if not alike(before, after := location.now()):
                found.append(Effect(location, before, after))
        for known in list(self.tables.values()):
            changed = known.effects()
            if changed and id(known.holder) in self.sealed:
                raise Refused(known.label)
            found += changed
        moved = {e.location.id for e in found}
        for location in self.written.values():  # set to what it was: only this program may do so
            if location.id not in moved and (value := location.now()) is not ABSENT:
                self.relies(location, value)
        for location, then in self.reads.values():
            if location.kind in _ACTS and not location.same(then, location.now()):
                raise Refused(location.label)
            if location.kind == "cache":
                function_caches.refuse_traced(location.label, location.holder)
        return [e for e in found if e.location.id not in self.kept]

    def relied_on(self, effect: Effect) -> bool:
        """Whether the outcome depends on what the function has changed."""
        location = effect.location
        if location.id in self.reads:
            return True
        whole = self.reads.get(Location("", "content", location.holder).id)
        return whole is not None and location.key not in (whole[0].key or ())

    def restore(self) -> None:
        """Put back what was there."""
        for location, before in self.before.values():
            if location.now() is not before:
                location.put(before)
        for known in self.tables.values():
            known.restore(self._stays)
        for location, then in self.reads.values():
            restore_summary(location, then)

    def _stays(self, holder: Any, key: Any) -> bool:
        return Location("", "item", holder, key).id in self.kept

    # ---- guards
    def reported(self, location: Location) -> bool:
        """Whether a change there moves the counter of change_counter.py."""
        if location.kind in ("item", "content"):
            return id(location.holder) in self.reporting
        return location.kind == "like" or (
            location.kind == "type" and isinstance(location.holder, self.reports)
        )

    def guards(self) -> list[tuple[Location, Any]]:
        """The places that decide whether the program fits, and what must be there."""
        filled = {holder for _, holder, _ in self.kept}
        found = []
        for location, then in self.reads.values():
            stays = location.id in self.kept or location.kind == "cache"
            inside = location.kind == "content" and id(location.holder) in filled
            found.append((location, location.now() if stays or inside else then))
        for cls, names in self.classes.items():
            read = self._names(cls, names)
            if read != ():
                location = Location(f"class {cls.__qualname__}", "class", cls, (read, self.given))
                found.append((location, location.now()))
        return found

    def _names(self, cls: type, names: set[str]) -> tuple[str, ...] | None:
        """The names of a class that count; None: all. One that is in the code, and not in the
        class, may be there later.
        """
        if code_names.fixed(cls.__module__):
            return tuple(sorted(names))
        return None if self.any_attribute else tuple(sorted(names | self.attributes))


