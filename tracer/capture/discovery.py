"""Discovery: for each kind of object that a traced function gets from outside, what to guard and
which other objects it leads to.

What the code names (globals, closure variables, defaults) is discovered with the function, by
code_names.py. Of containers all items are guarded. Of other objects the attributes that are read
are guarded: their classes are made to report reads.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import weakref
from abc import ABCMeta
from array import array
from builtins import id  # Python's own, also while a trace has the user's calls of it watched
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from threading import local
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from ..change_counter import WatchedDict, WatchedList
from ..tensor.tensor import Tensor
from . import code_names, function_caches, impure
from .instrument import Instrumentation
from .locations import ABSENT, SUMMARIES, Location, items_of
from .object_kinds import (
    BETWEEN_THREADS,
    CONTAINERS,
    HEAP,
    HIDDEN,
    HOLDERS,
    attributes_of,
    builtins_of,
    is_atom,
    is_users,
    parts_of,
    slots_of,
)
from .read_log import ReadLog

_CData: type = ctypes._SimpleCData.__mro__[1]  # the base class of all objects of ctypes


class Discovery(ReadLog):
    """The notes about an object at its discovery. `exchange` makes its class report reads."""

    exchange: Instrumentation

    def __init__(self, reports: tuple[type, ...], promoted: Iterable[tuple] = ()):
        super().__init__(reports, promoted)
        self.met: dict[int, Any] = {}  # by id; the reference keeps the id unique
        self.functions: list[FunctionType] = []
        self.refusal: RuntimeError | None = None
        self._queue: deque[tuple[str, Any]] = deque()
        self._lenient = False
        self.shared: dict[int, str] = {}  # labels of objects that other threads may change
        self.weakly: dict[int, weakref.ref] = {}  # objects reached by weak references alone

    def _refuse(self, why: str) -> None:
        """Raise for what a program cannot repeat; once more at the end, if the function catches it.
        """
        if not self._lenient:
            self.refusal = self.refusal or RuntimeError(why)
            raise self.refusal

    def _refuse_act(self, label: str, what: str) -> None:
        line = code_names.where(self.functions, label)
        self._refuse(
            f"{label} is {what}{line and f', line {line}'}: a compiled function runs its Python "
            "once, when it is traced; use it outside and pass the result as an argument"
        )

    def read(self, location: Location, value: Any) -> None:
        """The result depends on the value at a location, unless the function has set it."""
        if self.first(location, value) is value:
            self.relies(location, value)
            self.discover(location.label, value)

    def discover(self, label: str, value: Any) -> None:
        """The function gets an object from outside."""
        self._queue.append((label, value))
        if len(self._queue) > 1:
            return  # an outer call works through the queue
        while self._queue:
            one = self._queue[0]
            try:
                self._discover(*one)
            finally:
                self._queue.popleft()

    def _discover(self, label: str, value: Any) -> None:
        if (name := impure.refused(value)) is not None:
            self._refuse_act(label, f"the function {name}()")
        if is_atom(value) or value is ABSENT or id(value) in self.met:
            return
        self.met[id(value)] = value
        cls = type(value)
        for kinds, discover in _BY_KIND:
            if issubclass(cls, kinds):
                discover(self, label, value)
                return
        if cls in SUMMARIES:
            self.summary(label, SUMMARIES[cls], value)
            if SUMMARIES[cls] == "context":
                self.discover(label, Location(label, "context", value).now())
        elif (parts := parts_of(value)) is not None:
            self._parts(label, parts)
        else:
            self._object(label, value)

    # ---- values of Python's and of NumPy's types
    def _array(self, label: str, value: np.ndarray) -> None:
        self.summary(f"the array in {label}", "array", value)

    def _bytes(self, label: str, value: Any) -> None:
        self.summary(label, "bytes", value)

    def _set(self, label: str, value: set | frozenset) -> None:
        self.summary(label, "set", value)
        self._parts(label, value)
        if isinstance(value, set):
            self.copied(label, value)

    def _reference(self, label: str, value: weakref.ref) -> None:
        self.summary(label, "weak", value)
        self._behind(label, value, weakref.ref.__call__(value))
        self.discover(label, value())  # a method, of a WeakMethod

    def _proxy(self, label: str, value: Any) -> None:
        self._behind(label, None, value.__dir__.__self__)

    def _cached(self, label: str, value: Any) -> None:
        self.summary(f"the cache of {label}", "cache", value)
        self._parts(label, function_caches.inside(value))

    def _parts(self, label: str, values: Iterable[Any]) -> None:
        for value in values:
            self.discover(label, value)

    def _behind(self, label: str, reference: Any, value: Any) -> None:
        """An object behind a weak reference. A program must not keep it alive."""
        if reference is not None and id(value) not in self.met:
            self.weakly[id(value)] = reference
        self.discover(label, value)

    def _tensor(self, label: str, t: Tensor) -> None:
        self.summary(f"the tensor in {label}", "like", t)
        self._parts(f"a hook of {label}", (t._hooks or {}).values())
        self._attributes(label, t.__dict__)
        if t.__dict__:
            self._content(f"the attributes of {label}", t.__dict__)

    def _attributes(self, label: str, attributes: dict) -> None:
        self.met[id(attributes)] = attributes
        self.copied(f"the attributes of {label}", attributes)

    # ---- functions, modules and classes: what code names
    def _function(self, label: str, f: FunctionType) -> None:
        space = f.__globals__
        if f is os.getenv:
            self.discover("os.environ", os.environ)
        if code_names.fixed(space.get("__name__", "")):
            inner = getattr(f, "__wrapped__", None)
            if inner is not None and not code_names.fixed(getattr(inner, "__module__", None) or ""):
                # a function of the user that a library decorated
                self._content(f"the attributes of {f.__name__}", f.__dict__)
                cells = [Location(label, "cell", c).now() for c in f.__closure__ or ()]
                self._parts(label, cells)
            return
        if f.__dict__:
            self._attributes(f.__name__, f.__dict__)
            self._content(f"the attributes of {f.__name__}", f.__dict__)
        self.summary(f"the code or the defaults of {f.__name__}", "function", f)
        self._parts(f"a default argument of {f.__name__}",
                    (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()))
        self.functions.append(f)
        code = code_names.reads(f.__code__)
        self.exchange.observe_calls(f)
        self.asks_type |= code.asks_type
        self.asks_identity |= code.asks_identity or any(
            code_names.may_be_plain(space, names) for names in code.compared
        )
        if not code.attributes <= self.attributes or code.any_attribute > self.any_attribute:
            self.attributes |= code.attributes
            self.any_attribute |= code.any_attribute
            self._look_into_classes()
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            self._named(Location(f"the closure variable {name!r}", "cell", cell))
        for name in code.globals:
            if name in space or name not in builtins_of(space):
                self._named(Location(f"the global {name!r}", "item", space, name))
        for name in code.imports:
            if name in sys.modules:
                self.read(Location(f"the module {name!r}", "item", sys.modules, name),
                          sys.modules[name])
        if code.any_global:
            self._namespace(f"the globals of {space.get('__name__')}", space)

    def _named(self, location: Location) -> None:
        self.may_set(location)
        self.read(location, location.now())

    def _module(self, label: str, module: ModuleType) -> None:
        if not code_names.fixed(module.__name__):
            self.exchange.observe_module(module)
        elif module is os and self.attributes & {"environ", "environb", "getenv"}:
            self.discover("os.environ", os.environ)
        elif module in impure.CLOCKS and self.attributes & impure.CLOCKS[module]:
            self._refuse_act(label, "the clock")

    def _namespace(self, label: str, space: dict) -> None:
        """Any name of a module may be read. It is not known what is used, so nothing is refused."""
        self.copied(label, space)
        lenient, self._lenient = self._lenient, True
        self._content(label, space, frozenset(k for k in space if k.startswith("__")))
        self._lenient = lenient

    def _class(self, label: str, cls: type) -> None:
        if cls in self.classes:
            return
        self.classes[cls] = set()
        for one in cls.__mro__:
            if not code_names.fixed(one.__module__):
                self.copied(f"class {one.__qualname__}", one)
        if type(cls) is not type:
            self.exchange.observe(type(cls))
            self._class(label, type(cls))
            if isinstance(cls, ABCMeta) and not code_names.fixed(cls.__module__):
                self.summary(f"what is registered with {cls.__qualname__}", "registered", cls)
        if impure.CLOCKS.get(cls, frozenset()) & self.attributes:
            self._refuse_act(label, f"the clock of {cls.__name__}")
        if "__subclasses__" in self.attributes:
            self.summary(f"the subclasses of {cls.__qualname__}", "subclasses", cls)
            self._parts(label, type.__subclasses__(cls))
        if not code_names.fixed(cls.__module__):
            self.exchange.observe(cls)
        self._look_into_classes()

    def _look_into_classes(self) -> None:
        """The attributes of classes that may be read: names in the code, and special methods."""
        for cls, names in list(self.classes.items()):
            for one in cls.__mro__:
                if code_names.fixed(one.__module__):
                    continue
                for name, value in list(vars(one).items()):
                    special = name.startswith("__") and name.endswith("__")
                    if name not in names and name not in HIDDEN and (
                        name in self.attributes or self.any_attribute or special
                    ):
                        names.add(name)
                        if not special or isinstance(value, (FunctionType, classmethod)):
                            self.discover(f"{one.__qualname__}.{name}", value)

    # ---- containers and objects
    def _container(self, label: str, value: Any) -> None:
        if not isinstance(value, tuple):
            self.copied(label, value)
        if isinstance(value, (WatchedDict, WatchedList)):
            self.reporting.add(id(value))
        if isinstance(value, WatchedDict):  # it reports its own reads
            self.met[id(value)] = value
            self.exchange.observe_tables()
            return
        self._content(label, value)
        cls = type(value)
        if cls.__module__ not in ("builtins", "collections") and cls is not WatchedList:
            self._object(label, value)

    def _content(self, label: str, value: Any, without: frozenset = frozenset()) -> None:
        """Guard all items of a container, except those under the keys `without`."""
        location = Location(label, "content", value, without | self.promoted_in(value) or None)
        if location.id in self.reads or location.id in self.promoted_ids:
            return
        self.reads[location.id] = location, location.now()
        for key, inside in items_of(value):
            if key not in without and not is_atom(inside):
                self.discover(f"{label}[{key!r}]" if is_atom(key) else label, inside)
            if isinstance(value, dict) and not (is_atom(key) or isinstance(key, Tensor)):
                self.discover(f"a key of {label}", key)

    def _object(self, label: str, value: Any) -> None:
        cls = type(value)
        package = cls.__module__.split(".")[0]
        if isinstance(value, HOLDERS):
            if isinstance(value, local):
                self.summary(f"the thread of {label}", "space", value)
            self._attributes(label, vars(value))
            self._content(f"the attributes of {label}", vars(value))
            return
        for kind, what in impure.ACTING.items():
            if isinstance(value, kind):
                self._refuse_act(label, what)
        if isinstance(value, Iterator) and not isinstance(
            getattr(cls, "__next__", None), FunctionType
        ):
            what = f"an iterator ({cls.__name__}), which each call would take more from"
            self._refuse_act(label, what)
        from_python = package == "builtins" or package in sys.stdlib_module_names
        if not cls.__flags__ & HEAP and from_python:
            held = gc.get_referents(value)
            self._parts(label, [x for x in held if not isinstance(x, (type, ModuleType))])
        elif package in BETWEEN_THREADS:
            self._shared(label, value, cls)
        elif is_users(value, cls, package, self.reports):
            self._instance(label, value, cls)

    def _shared(self, label: str, value: Any, cls: type) -> None:
        """An object that other threads may change: nothing of it is copied or put back."""
        self._class(label, cls)
        self.exchange.observe(cls)
        self.summary(f"the class of {label}", "type", value)
        self.shared[id(value)] = label

    def _instance(self, label: str, value: Any, cls: type) -> None:
        self._class(label, cls)
        getter = self.exchange.observe(cls)
        if id(value) in self.weakly:
            self.summary(f"the class of {label}", "type behind", self.weakly[id(value)])
        else:
            self.summary(f"the class of {label}", "type", value)
        for name, slot in slots_of(cls):
            self.may_set(Location(f"{label}.{name}", "slot", value, slot))
        if (attributes := attributes_of(value)) is None:
            return
        self._attributes(f"{cls.__name__} ({label})", attributes)
        if isinstance(getter, FunctionType) or "__getattribute__" in self.attributes:
            self.discover(label, getter)  # the user's __getattribute__ is not observed
            self._content(f"the attributes of {label}", attributes)
        if isinstance(value, self.reports):
            self.reporting.add(id(attributes))
            for inside in attributes.values():
                if issubclass(type(inside), WatchedDict):
                    self._container(label, inside)


# the first row that fits counts; a value that fits none is an object
_BY_KIND: tuple[tuple[Any, Callable[[Discovery, str, Any], None]], ...] = (
    (Tensor, Discovery._tensor),
    (np.ndarray, Discovery._array),
    (weakref.ref, Discovery._reference),
    (weakref.ProxyTypes, Discovery._proxy),
    (FunctionType, Discovery._function),
    (type, Discovery._class),
    (ModuleType, Discovery._module),
    (CONTAINERS, Discovery._container),
    ((set, frozenset), Discovery._set),
    ((array, _CData), Discovery._bytes),
    (function_caches.CACHED, Discovery._cached),
)
