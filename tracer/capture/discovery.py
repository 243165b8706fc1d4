"""Objects from outside that come into the hands of a traced function, kind by kind: what counts of
each, and what it leads to.

What code names (globals, closure variables, defaults) is met with the function, from code_names.py.
Containers count with all that is in them. Objects are only made to tell what is read of them.
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

_CData: type = ctypes._SimpleCData.__mro__[1]  # all that ctypes has


class Discovery(ReadLog):
    """Notes that are taken of an object when it is met; `exchange` makes its class tell."""

    exchange: Instrumentation

    def __init__(self, reports: tuple[type, ...], given: Iterable[tuple] = ()):
        super().__init__(reports, given)
        self.old: dict[int, Any] = {}  # objects met; kept, so that no id is used twice
        self.functions: list[FunctionType] = []
        self.refusal: RuntimeError | None = None
        self._queue: deque[tuple[str, Any]] = deque()
        self._lenient = False
        self.shared: dict[int, str] = {}  # objects that other threads may change: their labels
        self.weakly: dict[int, weakref.ref] = {}  # objects that only weak references led to

    def _refuse(self, why: str) -> None:
        """What the function does cannot be replayed; said again at the end, should it catch this.
        """
        if not self._lenient:
            self.refusal = self.refusal or RuntimeError(why)
            raise self.refusal

    def _refuse_act(self, words: str, what: str) -> None:
        line = code_names.where(self.functions, words)
        self._refuse(
            f"{words} is {what}{line and f', line {line}'}: a compiled function runs its Python "
            "once, when it is traced; use it outside and pass what it gives as an argument"
        )

    def read(self, location: Location, value: Any) -> None:
        """The outcome depends on what is at a place, unless the function has put it there."""
        if self.first(location, value) is value:
            self.relies(location, value)
            self.discover(location.label, value)

    def discover(self, words: str, value: Any) -> None:
        """An object from outside comes into the function's hands."""
        self._queue.append((words, value))
        if len(self._queue) > 1:
            return  # the call that is under way comes to it
        while self._queue:
            one = self._queue[0]
            try:
                self._discover(*one)
            finally:
                self._queue.popleft()

    def _discover(self, words: str, value: Any) -> None:
        if (name := impure.refused(value)) is not None:
            self._refuse_act(words, f"the function {name}()")
        if is_atom(value) or value is ABSENT or id(value) in self.old:
            return
        self.old[id(value)] = value
        cls = type(value)
        for kinds, discover in _BY_KIND:
            if issubclass(cls, kinds):
                discover(self, words, value)
                return
        if cls in SUMMARIES:
            self.summary(words, SUMMARIES[cls], value)
            if SUMMARIES[cls] == "context":
                self.discover(words, Location(words, "context", value).now())
        elif (parts := parts_of(value)) is not None:
            self._parts(words, parts)
        else:
            self._object(words, value)

    # ---- values of Python's and of NumPy's types
    def _array(self, words: str, value: np.ndarray) -> None:
        self.summary(f"the array in {words}", "array", value)

    def _bytes(self, words: str, value: Any) -> None:
        self.summary(words, "bytes", value)

    def _set(self, words: str, value: set | frozenset) -> None:
        self.summary(words, "set", value)
        self._parts(words, value)
        if isinstance(value, set):
            self.copied(words, value)

    def _reference(self, words: str, value: weakref.ref) -> None:
        self.summary(words, "weak", value)
        self._behind(words, value, weakref.ref.__call__(value))
        self.discover(words, value())  # a method, of a WeakMethod

    def _proxy(self, words: str, value: Any) -> None:
        self._behind(words, None, value.__dir__.__self__)

    def _cached(self, words: str, value: Any) -> None:
        self.summary(f"the cache of {words}", "cache", value)
        self._parts(words, function_caches.inside(value))

    def _parts(self, words: str, values: Iterable[Any]) -> None:
        for value in values:
            self.discover(words, value)

    def _behind(self, words: str, reference: Any, value: Any) -> None:
        """An object behind a weak reference: a program does not keep it alive."""
        if reference is not None and id(value) not in self.old:
            self.weakly[id(value)] = reference
        self.discover(words, value)

    def _tensor(self, words: str, t: Tensor) -> None:
        self.summary(f"the tensor in {words}", "like", t)
        self._parts(f"a hook of {words}", (t._hooks or {}).values())
        self._attributes(words, t.__dict__)
        if t.__dict__:
            self._content(f"the attributes of {words}", t.__dict__)

    def _attributes(self, words: str, attributes: dict) -> None:
        self.old[id(attributes)] = attributes
        self.copied(f"the attributes of {words}", attributes)

    # ---- functions, modules and classes: what code names
    def _function(self, words: str, f: FunctionType) -> None:
        space = f.__globals__
        if f is os.getenv:
            self.discover("os.environ", os.environ)
        if code_names.fixed(space.get("__name__", "")):
            inner = getattr(f, "__wrapped__", None)
            if inner is not None and not code_names.fixed(getattr(inner, "__module__", None) or ""):
                # a decorator of a library around a function of the user's
                self._content(f"the attributes of {f.__name__}", f.__dict__)
                cells = [Location(words, "cell", c).now() for c in f.__closure__ or ()]
                self._parts(words, cells)
            return
        if f.__dict__:
            self._attributes(f.__name__, f.__dict__)
            self._content(f"the attributes of {f.__name__}", f.__dict__)
        self.summary(f"the code or the defaults of {f.__name__}", "function", f)
        self._parts(f"a default argument of {f.__name__}",
                    (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()))
        self.functions.append(f)
        code = code_names.reads(f.__code__)
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

    def _module(self, words: str, module: ModuleType) -> None:
        if not code_names.fixed(module.__name__):
            self.exchange.observe_module(module)
        elif module is os and self.attributes & {"environ", "environb", "getenv"}:
            self.discover("os.environ", os.environ)
        elif module in impure.CLOCKS and self.attributes & impure.CLOCKS[module]:
            self._refuse_act(words, "the clock")

    def _namespace(self, words: str, space: dict) -> None:
        """Any name of a module may be read. What is there need not be used, so nothing is refused.
        """
        self.copied(words, space)
        lenient, self._lenient = self._lenient, True
        self._content(words, space, frozenset(k for k in space if k.startswith("__")))
        self._lenient = lenient

    def _class(self, words: str, cls: type) -> None:
        if cls in self.classes:
            return
        self.classes[cls] = set()
        for one in cls.__mro__:
            if not code_names.fixed(one.__module__):
                self.copied(f"class {one.__qualname__}", one)
        if type(cls) is not type:
            self.exchange.observe(type(cls))
            self._class(words, type(cls))
            if isinstance(cls, ABCMeta) and not code_names.fixed(cls.__module__):
                self.summary(f"what is registered with {cls.__qualname__}", "registered", cls)
        if impure.CLOCKS.get(cls, frozenset()) & self.attributes:
            self._refuse_act(words, f"the clock of {cls.__name__}")
        if "__subclasses__" in self.attributes:
            self.summary(f"the subclasses of {cls.__qualname__}", "subclasses", cls)
            self._parts(words, type.__subclasses__(cls))
        if not code_names.fixed(cls.__module__):
            self.exchange.observe(cls)
        self._look_into_classes()

    def _look_into_classes(self) -> None:
        """What is read of classes: names in the code, and operators, which need no name."""
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
    def _container(self, words: str, value: Any) -> None:
        if not isinstance(value, tuple):
            self.copied(words, value)
        if isinstance(value, (WatchedDict, WatchedList)):
            self.reporting.add(id(value))
        if isinstance(value, WatchedDict):  # which tells of itself
            self.old[id(value)] = value
            self.exchange.observe_tables()
            return
        self._content(words, value)
        cls = type(value)
        if cls.__module__ not in ("builtins", "collections") and cls is not WatchedList:
            self._object(words, value)

    def _content(self, words: str, value: Any, besides: frozenset = frozenset()) -> None:
        """All that is in a container counts, but for what is under the keys `besides`."""
        location = Location(words, "content", value, besides | self.given_in(value) or None)
        if location.id in self.reads or location.id in self.given:
            return
        self.reads[location.id] = location, location.now()
        for key, inside in items_of(value):
            if key not in besides and not is_atom(inside):
                self.discover(f"{words}[{key!r}]" if is_atom(key) else words, inside)
            if isinstance(value, dict) and not (is_atom(key) or isinstance(key, Tensor)):
                self.discover(f"a key of {words}", key)

    def _object(self, words: str, value: Any) -> None:
        cls = type(value)
        room = cls.__module__.split(".")[0]
        if isinstance(value, HOLDERS):
            if isinstance(value, local):
                self.summary(f"the thread of {words}", "space", value)
            self._attributes(words, vars(value))
            self._content(f"the attributes of {words}", vars(value))
            return
        for kind, what in impure.ACTING.items():
            if isinstance(value, kind):
                self._refuse_act(words, what)
        if isinstance(value, Iterator) and not isinstance(
            getattr(cls, "__next__", None), FunctionType
        ):
            what = f"an iterator ({cls.__name__}), which each call would take more from"
            self._refuse_act(words, what)
        if not cls.__flags__ & HEAP and (room == "builtins" or room in sys.stdlib_module_names):
            held = gc.get_referents(value)
            self._parts(words, [x for x in held if not isinstance(x, (type, ModuleType))])
        elif room in BETWEEN_THREADS:
            self._shared(words, value, cls)
        elif is_users(value, cls, room, self.reports):
            self._instance(words, value, cls)

    def _shared(self, words: str, value: Any, cls: type) -> None:
        """An object that other threads may change meanwhile: nothing of it is copied or put back.
        """
        self._class(words, cls)
        self.exchange.observe(cls)
        self.summary(f"the class of {words}", "type", value)
        self.shared[id(value)] = words

    def _instance(self, words: str, value: Any, cls: type) -> None:
        self._class(words, cls)
        getter = self.exchange.observe(cls)
        if id(value) in self.weakly:
            self.summary(f"the class of {words}", "type behind", self.weakly[id(value)])
        else:
            self.summary(f"the class of {words}", "type", value)
        for name, slot in slots_of(cls):
            self.may_set(Location(f"{words}.{name}", "slot", value, slot))
        if (attributes := attributes_of(value)) is None:
            return
        self._attributes(f"{cls.__name__} ({words})", attributes)
        if isinstance(getter, FunctionType) or "__getattribute__" in self.attributes:
            self.discover(words, getter)  # it reads what it likes, unobserved
            self._content(f"the attributes of {words}", attributes)
        if isinstance(value, self.reports):
            self.reporting.add(id(attributes))
            for inside in attributes.values():
                if issubclass(type(inside), WatchedDict):
                    self._container(words, inside)


# the first row that a value is of counts; what is in none of them is an object
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
