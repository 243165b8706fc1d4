"""Observer: notes what one traced call of a function reads and changes outside of itself.

Reads of attributes are seen as they happen: instrument.py makes classes report them, once an object
of theirs was discovered. Objects that the function itself makes are never discovered, so nothing is
noted about them.
"""

from __future__ import annotations

from builtins import id  # Python's own, also while a trace has the user's calls of it watched
from collections.abc import Callable, Iterable
from threading import get_ident
from types import MemberDescriptorType, ModuleType
from typing import Any

import numpy as np

from ..change_counter import WatchedDict
from ..mode import mode
from ..tensor.tensor import Tensor
from . import code_names, impure
from .discovery import Discovery
from .instrument import Instrumentation
from .locations import ABSENT, PLAIN, Location, contents_of
from .object_kinds import HIDDEN, asked_by_us, attributes_of
from .scalar import ScalarLog
from .side_effects import Effect, Refused, refusal


class Observer(Discovery):
    """A context manager. Within it, calls that a program cannot repeat are refused. At its end,
    what the function has changed is put back.
    """

    def __init__(self, reports: tuple[type, ...], promoted: Iterable[tuple], log: ScalarLog):
        super().__init__(reports, promoted)
        self.log, self.printed = log, log.later
        self.grown: Any = None  # a list that became longer
        self.exchange = Instrumentation(self)
        self._on, self._thread = False, get_ident()

    # ---- the time of the trace
    def __enter__(self) -> Observer:
        self._guard = impure.guarded(self._active, self.log, self._refuse)
        self._guard.__enter__()
        return self

    def watch(self, function: Callable, arguments: Iterable[Any], kinds: Iterable[type]) -> None:
        """Discover the function and its arguments, before it runs. `kinds` are the classes of
        containers among the arguments; the function gets copies of those.
        """
        self.discover("the function", function)
        for kind in kinds:
            self._class(f"the class {kind.__qualname__}", kind)
        for leaf in arguments:
            if isinstance(leaf, Tensor):  # all else is in the signature of the call
                self._parts("a hook of an argument", (leaf._hooks or {}).values())
                self.copied("the attributes of an argument", leaf.__dict__)
                self.sealed.add(id(leaf.__dict__))
            elif not isinstance(leaf, np.ndarray):
                self.discover(f"an argument of type {type(leaf).__name__}", leaf)
        self._on = True

    def pause(self) -> None:
        """The function has returned."""
        self._on = False

    def resume(self) -> None:
        """The function's hooks run."""
        self._on = True

    def __exit__(self, *error: Any) -> None:
        self._on = False
        self._guard.__exit__(*error)
        self.exchange.undo()
        self.restore()
        self.met.clear()  # do not keep objects alive

    def _active(self) -> bool:
        """Whether the traced function runs, and not a signal handler or another thread."""
        return self._on and get_ident() == self._thread and mode.trace is not None

    def noted(self, note: Callable, *args: Any) -> None:
        """Note what the function does. Reads by the note itself are not observed."""
        if self._on and get_ident() == self._thread:
            self._on = False
            try:
                note(*args)
            finally:
                self._on = True

    def effects(self) -> list[Effect]:
        try:
            return super().effects()
        except Refused as refused:
            self.grown = getattr(refused, "holder", None)
            label = str(refused)
            line = code_names.where(self.functions, label, changed=True)
            raise RuntimeError(refusal(label, line)) from None

    def changes(self) -> dict[tuple, str]:
        """What the function has changed so far: a key for each location and value, and its name."""
        was, self._on = self._on, False
        try:
            return {(e.location.id, id(e.after)): e.location.label for e in self.effects()}
        finally:
            self._on = was

    # ---- seen as it happens: exchange.Listener
    def attribute(self, value: Any, name: str) -> None:
        """An attribute of an object is about to be read."""
        cls = type(value)
        self._class(cls.__name__, cls)
        label = f"attribute {name!r} of {cls.__name__}"
        descriptor = next((vars(one)[name] for one in cls.__mro__ if name in vars(one)), ABSENT)
        if name not in HIDDEN:
            if isinstance(value, type) and value in self.classes:
                self.classes[value].add(name)
                self._parts(label, contents_of(value, (name,))[len(value.__mro__) :])
            if name not in self.classes[cls]:
                self.classes[cls].add(name)
                self.discover(f"{cls.__qualname__}.{name}", descriptor)
        if id(value) in self.shared:
            inside = attributes_of(value) or {}
            if type(inside.get(name)) in PLAIN:
                self.relies(Location(label, "item", inside, name), inside.get(name))
            return
        if id(value) not in self.met or isinstance(value, type):
            return
        if isinstance(descriptor, MemberDescriptorType):
            location = Location(label, "slot", value, descriptor)
            self.read(location, location.now())
        elif (attributes := attributes_of(value)) is None:
            return
        elif name == "__dict__":
            if not asked_by_us():
                self._content(f"the attributes of {cls.__name__}", attributes)
        elif not hasattr(type(descriptor), "__set__") and name not in HIDDEN - attributes.keys():
            location = Location(label, "item", attributes, name)
            self.read(location, location.now())

    def set_attribute(self, value: Any, name: str) -> None:
        """An attribute of an object is about to be set."""
        cls = type(value)
        if id(value) in self.shared:
            what = f"an object of {cls.__module__} that is set, which other threads see"
            self._refuse_act(self.shared[id(value)], what)
        if id(value) not in self.met or isinstance(value, type):
            return
        label = f"attribute {name!r} of {cls.__name__}"
        descriptor = next((vars(one)[name] for one in cls.__mro__ if name in vars(one)), None)
        if isinstance(descriptor, MemberDescriptorType):
            self.sets(Location(label, "slot", value, descriptor))
        elif hasattr(descriptor, "__set__"):
            return
        elif (attributes := attributes_of(value)) is not None:
            self.sets(Location(label, "item", attributes, name))

    def module_attribute(self, module: ModuleType, name: str) -> None:
        """An attribute of a module is about to be read."""
        space = ModuleType.__getattribute__(module, "__dict__")
        shown = space.get("__name__")
        if name == "__dict__":
            self._namespace(f"the module {shown}", space)
        elif name in space or not name.startswith("__"):
            self._named(Location(f"{shown}.{name}", "item", space, name))
            if name not in space and "__getattr__" in space:
                self._named(Location(f"{shown}.__getattr__", "item", space, "__getattr__"))

    def item(self, table: Any, key: Any) -> None:
        """An item of a Watched table is about to be read."""
        if id(table) in self.met:
            location = self._entry(table, key)
            self.read(location, location.now())

    def items(self, table: Any) -> None:
        """All of a Watched table is about to be read."""
        if id(table) in self.met:
            self._content(self.tables[id(table)].label, table)

    def put(self, table: Any, key: Any, value: Any, ours: bool) -> None:
        """An entry of a Watched table is about to be set. What the library makes there outside of
        the trace stays: an optimizer's state, when it is first asked for.
        """
        made = ours or (isinstance(value, WatchedDict) and not dict.__len__(value))
        if made and id(table) in self.met and not dict.__contains__(table, key):
            self.kept.add(Location("", "item", table, key).id)
            if isinstance(value, WatchedDict):
                self._container("an optimizer's state", value)
        elif id(table) in self.met:
            self.sets(self._entry(table, key))

    def _entry(self, table: Any, key: Any) -> Location:
        """An item of a Watched table. A class of its own says what it is, as `Group` does."""
        shown = repr(key) if isinstance(key, str) else "an entry"
        entry = self.tables.get(id(table))
        table_label = type(table).__name__.lower()
        if entry is not None and type(table) is WatchedDict:
            table_label = entry.label
        return Location(f"{shown} in {table_label}", "item", table, key)
