"""The programs of one compiled function: where they are kept, how many, and what memory they may
keep between calls.

A program for calls on a Module, or on an object whose method was compiled, refers to that object
and lives in it: it goes when the object goes. Knows nothing of how programs are made or run.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary, ref

from ..nn.module import Module
from ..tracer.capture.locations import PROGRAMS
from .entry import Entry, nobody
from .promoted_inputs import PromotedInputs
from .stages import Ways

# programs of one signature that differ only in values Python branched on, or in what surrounds them
MOST_VARIANTS = 32
MOST_SIGNATURES = 256  # of one function, whose programs are kept,
MOST_LAUNCHES = 1 << 14  # which have at most so many launches, with some 10 kB for each,
FEWEST_SIGNATURES = 8  # unless there are only so many
MOST_IDLE = 64 << 20  # bytes of arenas and buffers of programs that are not the last that ran


@dataclass(eq=False)
class _Kept:
    entries: list[Entry]
    held: dict[int, Any]  # the objects whose ids are in the key
    used: int  # when they were last asked for

    def launches(self) -> int:
        return sum(len(entry.program.launches) for entry in list(self.entries))


class _Table(dict[Any, _Kept]):
    """Key of the calls -> programs; and what they read at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.promoted = PromotedInputs()
        self.ways = Ways()


def _drop_unused(table: _Table, key: Any) -> None:
    """Let programs go, except those of `key`, from that on which was not used for longest."""
    kept = sorted(table.items(), key=lambda item: item[1].used)
    launches = {k: one.launches() for k, one in kept}
    left, total = len(launches), sum(launches.values())
    for k, _ in kept:
        few = left <= FEWEST_SIGNATURES or total <= MOST_LAUNCHES
        if few and left <= MOST_SIGNATURES:
            break
        if k != key:
            left, total = left - 1, total - launches[k]
            table.pop(k, None)


_AROUND = ("__wrapped__", "__func__", "fget")  # where decorators keep what they decorate


class _Inside:
    """The programs that live in an object, by the functions they are of; a copy of the object has
    none.
    """

    def __init__(self, owner: Any = None):
        self.owner = nobody if owner is None else ref(owner)
        self.of: WeakKeyDictionary[Programs, _Table] = WeakKeyDictionary()

    def __reduce__(self) -> tuple:
        return (_Inside, ())


def _bare(value: Any) -> Any:
    """The programs of a compiled function; None for anything else."""
    while isinstance(value, (FunctionType, staticmethod, classmethod, property)):
        state = getattr(value, "tracegrad_state", None)
        if state is not None:
            return state.programs
        value = next((f for name in _AROUND if (f := getattr(value, name, None)) is not None), None)
    return None


class Programs:
    """`last` is a weak reference to the entry that served the last call. `fast_entry` is the same
    if the fast path may try it.
    """

    def __init__(self) -> None:
        self.clock = count(1)
        self.methods: WeakKeyDictionary[type, bool] = WeakKeyDictionary()
        self.own = _Table()
        self.last: Callable[[], Entry | None] = nobody
        self.fast_entry: Callable[[], Entry | None] = nobody
        # looked at in one step each, for threads and signal handlers come in between
        self.all: dict[ref[Entry], None] = {}
        self.idle: OrderedDict[ref[Entry], int] = OrderedDict()  # see `used`; oldest first

    def __iter__(self) -> Iterator[Entry]:
        return (entry for one in list(self.all) if (entry := one()) is not None)

    def _gone(self, one: ref[Entry]) -> None:
        self.all.pop(one, None)
        self.idle.pop(one, None)

    def _table(self, held: dict[int, Any]) -> _Table:
        for value in held.values():
            if isinstance(value, Module) or self._method_of(type(value)):
                space = getattr(value, "__dict__", None)
                if space is None:
                    continue
                inside = space.get(PROGRAMS)
                if inside is None or inside.owner() is not value:
                    space[PROGRAMS] = inside = _Inside(value)
                return inside.of.setdefault(self, _Table())
        return self.own

    def _method_of(self, kind: type) -> bool:
        """Whether the function is a method of this class, maybe under decorators."""
        if kind not in self.methods:
            inside = chain.from_iterable(vars(c).values() for c in kind.__mro__)
            self.methods[kind] = any(_bare(value) is self for value in inside)
        return self.methods[kind]

    def under(self, key: Any, held: dict[int, Any]) -> list[Entry]:
        """The programs for calls of this key."""
        kept = self._table(held).get(key)
        if kept is None:
            return []
        kept.used = next(self.clock)
        return kept.entries

    def keys(self, held: dict[int, Any]) -> list[Any]:
        """The keys of all programs that live where those for such calls do."""
        return list(self._table(held))

    def promoted(self, held: dict[int, Any]) -> PromotedInputs:
        """What the programs that live where those for such calls do read at every call."""
        return self._table(held).promoted

    def ways(self, held: dict[int, Any]) -> Ways:
        """The ways that such calls went."""
        return self._table(held).ways

    def add(self, key: Any, held: dict[int, Any], entry: Entry) -> None:
        """Keep one more, and let those go that were not used for longest, where they are too
        many.
        """
        table = self._table(held)
        kept = table.setdefault(key, _Kept([], held, 0))
        entries, kept.used = kept.entries, next(self.clock)
        if len(entries) >= MOST_VARIANTS:
            entries.pop(0)
        entries.append(entry)
        entry.siblings = entries
        _drop_unused(table, key)
        self.all[ref(entry, self._gone)] = None

    def used(self, entry: Entry) -> None:
        """`entry` has answered a call. The memory of those that answered earlier is bounded."""
        last, self.last = self.last(), ref(entry)
        if last is entry:
            return
        self.idle.pop(ref(entry), None)
        if last is not None:
            self.idle[ref(last, self._gone)] = last.memory()
            with suppress(KeyError):  # another thread has taken the last one
                while sum(self.idle.values()) > MOST_IDLE:
                    oldest, _ = self.idle.popitem(last=False)
                    if (idle := oldest()) is not None:
                        idle.release_memory()
