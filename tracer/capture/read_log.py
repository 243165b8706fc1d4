"""ReadLog: the locations that a traced call read, with their values, and copies of what it may have
changed.

observer.py says which locations these are. Here they become guards and effects of the program, and
what the function changed is put back.
"""

from __future__ import annotations

from builtins import id  # Python's own, also while a trace has the user's calls of it watched
from collections.abc import Iterable
from typing import Any

from . import code_names, function_caches
from .locations import ABSENT, Location, alike
from .side_effects import Effect, Refused, Table, restore_summary, table

# kinds of summaries whose change is a side effect that a program does not repeat
_ACTS = {"array", "bytes", "set", "random", "context"}


# methods of an autograd.Function that are called by name
_CALLED = ("forward", "backward", "setup_context", "jvp", "vmap")


class ReadLog:
    """`reports` are the classes whose objects report changes of their attributes to
    change_counter.py. `promoted` are the ids of promoted inputs, which need no guard.
    """

    def __init__(self, reports: tuple[type, ...], promoted: Iterable[tuple] = ()):
        self.reports, self.promoted_ids = reports, frozenset(promoted)
        self.reads: dict[tuple, tuple[Location, Any]] = {}  # with the value before the call
        self.before: dict[tuple, tuple[Location, Any]] = {}  # single locations that may be set
        self.tables: dict[int, Table] = {}  # copies of containers
        self.written: dict[tuple, Location] = {}  # locations that were set
        self.sealed: set[int] = set()  # ids of holders that the function must not change
        self.reporting: set[int] = set()  # ids of holders that report their changes
        self.kept: set[tuple] = set()  # items that are not put back: new state of an optimizer
        self.classes: dict[type, set[str]] = {}  # with the attributes that are read
        self.attributes = set(_CALLED)  # names of attributes in the code
        self.any_attribute = self.asks_type = self.asks_identity = False

    # ---- taking notes
    def first(self, location: Location, default: Any) -> Any:
        """The value at a location before the function ran, if that was noted."""
        if location.id in self.before:
            return self.before[location.id][1]
        entry = self.tables.get(id(location.holder)) if location.kind == "item" else None
        return default if entry is None else entry.first(location.key, default)

    def relies(self, location: Location, value: Any) -> None:
        """The result depends on the value at a location, unless that is a promoted input."""
        at = location.id
        if at not in self.promoted_ids:
            self.reads.setdefault(at, (location, value))

    def promoted_in(self, holder: Any) -> frozenset:
        """The keys of a container whose items are promoted inputs."""
        ids = self.promoted_ids
        if not any(kind == "item" and holder_id == id(holder) for kind, holder_id, _ in ids):
            return frozenset()
        keys = dict.keys(holder) if isinstance(holder, dict) else range(len(holder))
        return frozenset(k for k in keys if Location("", "item", holder, k).id in ids)

    def summary(self, label: str, kind: str, holder: Any, key: Any = None) -> None:
        """The result depends on something of which a summary is compared."""
        location = Location(label, kind, holder, key)
        at = location.id
        if at not in self.reads:
            self.reads[at] = location, location.now()

    def may_set(self, location: Location) -> None:
        """The function may set a location."""
        at = location.id
        if at not in self.before:
            self.before[at] = location, location.now()

    def sets(self, location: Location) -> None:
        """The function sets a location."""
        self.written.setdefault(location.id, location)

    def has_set(self, holder: Any, key: Any) -> bool:
        """Whether the function has set an item."""
        return Location("", "item", holder, key).id in self.written

    def copied(self, label: str, holder: Any) -> None:
        """The function may change a container: copy it."""
        if id(holder) not in self.tables:
            self.tables[id(holder)] = table(label, holder)

    # ---- after the call
    def effects(self) -> list[Effect]:
        """The changed locations that a program can set. Raises Refused for other changes."""
        effects: list[Effect] = []
        for location, before in self.before.values():
            if not alike(before, after := location.now()):
                effects.append(Effect(location, before, after))
        for entry in list(self.tables.values()):
            changes = entry.effects()
            if changes and id(entry.holder) in self.sealed:
                raise Refused(entry.label)
            effects += changes
        changed_ids = {e.location.id for e in effects}
        for location in self.written.values():  # set to the value that it had: needs a guard
            if location.id not in changed_ids and (value := location.now()) is not ABSENT:
                self.relies(location, value)
        for location, then in self.reads.values():
            if location.kind in _ACTS and not location.same(then, location.now()):
                raise Refused(location.label)
            if location.kind == "cache":
                function_caches.refuse_traced(location.label, location.holder)
        return [e for e in effects if e.location.id not in self.kept]

    def relied_on(self, effect: Effect) -> bool:
        """Whether the result depends on what the function has changed."""
        location = effect.location
        if location.id in self.reads:
            return True
        whole = self.reads.get(Location("", "content", location.holder).id)
        return whole is not None and location.key not in (whole[0].key or ())

    def restore(self) -> None:
        """Put everything back."""
        for location, before in self.before.values():
            if location.now() is not before:
                location.put(before)
        for entry in self.tables.values():
            entry.restore(self._stays)
        for location, then in self.reads.values():
            restore_summary(location, then)

    def _stays(self, holder: Any, key: Any) -> bool:
        return Location("", "item", holder, key).id in self.kept

    # ---- guards
    def reported(self, location: Location) -> bool:
        """Whether a change of a location is reported to change_counter.py."""
        if location.kind in ("item", "content"):
            return id(location.holder) in self.reporting
        return location.kind == "like" or (
            location.kind == "type" and isinstance(location.holder, self.reports)
        )

    def guards(self) -> list[tuple[Location, Any]]:
        """The locations to guard, with the required values."""
        filled = {holder for _, holder, _ in self.kept}
        guards = []
        for location, then in self.reads.values():
            stays = location.id in self.kept or location.kind == "cache"
            inside = location.kind == "content" and id(location.holder) in filled
            guards.append((location, location.now() if stays or inside else then))
        for cls, names in self.classes.items():
            read = self._names(cls, names)
            if read != ():
                key = read, self.promoted_ids
                location = Location(f"class {cls.__qualname__}", "class", cls, key)
                guards.append((location, location.now()))
        return guards

    def _names(self, cls: type, names: set[str]) -> tuple[str, ...] | None:
        """The attributes of a class to guard; None for all. A name in the code that the class does
        not have yet counts, too.
        """
        if code_names.fixed(cls.__module__):
            return tuple(sorted(names))
        return None if self.any_attribute else tuple(sorted(names | self.attributes))


