"""Where a function may find what its outcome depends on: everything that its code can reach.

The code says which globals, closure variables and attribute names are read, also in the functions
and methods that it may call. Of a module or a class only the names that are read count; of other
objects, what they hold. Installed packages are taken to stay as they are.
"""

from __future__ import annotations

import dis
import random
import sys
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cache, cached_property, partial, partialmethod
from types import CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from .signature import leaves
from .tensor import Tensor
from .world import Watched

# words, how, holder, key (as in guards.Guard), and the kind of guard: see guards.Surroundings
Place = tuple[str, str, Any, Any, str]

_PLAIN = (type(None), bool, int, float, complex, str, bytes, Enum)
_MOST = 2000  # entries of a container that are looked at; of a larger one only the length is
_FIXED = sys.stdlib_module_names | {"tracegrad", "numpy", "numba", "scipy"}
_OPEN = (SimpleNamespace, Namespace)  # classes of the standard library whose objects hold settings
# those of random numbers, and where they stand
GENERATORS: dict[type, Callable[[Any], Any]] = {
    random.Random: lambda r: hash(r.getstate()),
    np.random.Generator: lambda r: repr(r.bit_generator.state),
    np.random.RandomState: lambda r: repr(r.get_state(legacy=False)),
}
_EVERYBODY_S = {"Python's random": random._inst, "numpy.random": np.random.mtrand._rand}
_CALLED = {"forward", "backward", "setup_context", "jvp", "vmap"}  # methods that we call by name
_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "IMPORT_FROM"}
_GLOBALS = {"LOAD_GLOBAL", "LOAD_NAME"}


@cache
def _fixed(module: str) -> bool:
    """Whether a module is one that does not change while a program runs."""
    if module.split(".")[0] in _FIXED - {"__main__"}:
        return True
    where = getattr(sys.modules.get(module), "__file__", None) or ""
    return "site-packages" in where or "dist-packages" in where


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


@cache
def _reads(code: CodeType) -> tuple[tuple[str, ...], frozenset[str]]:
    """The globals that a code reads, and names that it may read of objects: attributes, and what
    `getattr` may be given.
    """
    spaces: dict[str, None] = {}
    attributes: set[str] = set()
    for part in _codes(code):
        for instruction in dis.get_instructions(part):
            name = instruction.argval
            if instruction.opname in _ATTRIBUTES:
                attributes.add(name)
            elif instruction.opname in _GLOBALS and name.isidentifier():
                spaces[name] = None  # other names are not the user's: pytest rewrites `assert`
        attributes.update(c for c in part.co_consts if isinstance(c, str) and c.isidentifier())
    return tuple(spaces), frozenset(attributes)


class Reach:
    """Iterates over the places that the outcome of a function may depend on. `reports` says what
    an object reports to world.py: "" for nothing, "own" for its attributes, "all" for everything
    below it.
    """

    def __init__(self, function: Callable, arguments: Any, reports: Callable[[Any], str]):
        self.reports = reports
        self.places: dict[tuple, Place] = {}
        self.names = set(_CALLED)
        self.spaces: dict[int, tuple[str, Any]] = {}  # modules and classes
        self.seen: dict[int, Any] = {}  # kept, so that no id is used twice
        self.waiting: deque[tuple[str, Any, str]] = deque()
        self.waiting.append(("the function", function, "quick"))
        for leaf in leaves(arguments):
            if not isinstance(leaf, Tensor):  # the call looks at its tensors, and at containers
                self.waiting.append((f"an argument of type {type(leaf).__name__}", leaf, "quick"))
        for words, generator in _EVERYBODY_S.items():
            self._place(words, "random", generator, None, "once")
        while self.waiting:
            while self.waiting:
                self._content(*self.waiting.popleft())
            self._look_into_spaces()

    def __iter__(self) -> Iterator[Place]:
        return iter(self.places.values())

    def _place(self, words: str, how: str, holder: Any, key: Any, kind: str) -> None:
        name = key if isinstance(key, (str, int)) else id(key)
        self.places.setdefault((how, id(holder), name), (words, how, holder, key, kind))

    def _item(self, words: str, holder: Any, key: Any, kind: str, below: str = "") -> None:
        self._place(words, "item", holder, key, kind)
        self.waiting.append((words, holder[key], below or kind))

    def _content(self, words: str, value: Any, kind: str) -> None:
        """Find the places in an object."""
        if isinstance(value, _PLAIN) or id(value) in self.seen:
            return
        self.seen[id(value)] = value
        if isinstance(value, Tensor):  # its array and hooks may be exchanged, which it reports
            self._place(f"the tensor in {words}", "like", value, None, "slow")
        elif isinstance(value, ModuleType):
            if value.__name__.split(".")[0] not in _FIXED or value.__name__ == "__main__":
                self.spaces[id(value)] = (words, value)
        elif isinstance(value, type):
            self._class(words, value)
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, MethodType):
            self.waiting.append(("self", value.__self__, kind))
            self.waiting.append((words, value.__func__, kind))
        elif (parts := _parts(value)) is not None:
            self.waiting.extend((words, part, kind) for part in parts)
        elif isinstance(value, (list, tuple, dict, deque, set, frozenset)):
            self._container(words, value, kind)
        else:
            self._object(words, value, kind)

    def _function(self, function: FunctionType) -> None:
        around = getattr(function, "__wrapped__", None)
        if around is not None:
            self.waiting.append(("the function", around, "quick"))
        space, code = function.__globals__, function.__code__
        if _fixed(space.get("__name__", "")):
            return
        found, attributes = _reads(code)
        self.names |= attributes
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            words = f"the closure variable {name!r}"
            self._place(words, "cell", cell, None, "quick")
            try:
                self.waiting.append((words, cell.cell_contents, "quick"))
            except ValueError:  # not bound yet
                pass
        for name in found:
            if name in space:
                self._item(f"the global {name!r}", space, name, "quick")
        for k, value in enumerate(function.__defaults__ or ()):
            words = f"the default argument {k} of {function.__name__}"
            self.waiting.append((words, value, "quick"))
        named = function.__kwdefaults__ or {}
        for name in named:
            self._item(f"the default of {name!r} of {function.__name__}", named, name, "quick")

    def _class(self, words: str, kind: type) -> None:
        for one in kind.__mro__:
            if not _fixed(one.__module__) and not issubclass(one, Enum):
                self.spaces[id(one)] = (f"the class {one.__qualname__}", one)

    def _look_into_spaces(self) -> None:
        """What is read of modules and classes; operators find methods without a name."""
        for words, space in list(self.spaces.values()):
            inside = vars(space)
            for name in sorted(self.names & inside.keys()):
                if ("item", id(space), name) not in self.places:
                    place = (f"{words}.{name}", "item", inside, name, "quick")
                    self.places["item", id(space), name] = place
                    self.waiting.append((f"{words}.{name}", inside[name], "quick"))
            if isinstance(space, type):
                for name, value in inside.items():
                    if name.startswith("__") and isinstance(value, FunctionType):
                        self.waiting.append((words, value, "quick"))
        self.waiting = deque(one for one in self.waiting if id(one[1]) not in self.seen)

    def _object(self, words: str, value: Any, kind: str) -> None:
        cls = type(value)
        if cls in GENERATORS:
            self._place(words, "random", value, None, "once")
            return
        room = cls.__module__.split(".")[0]
        if room in ("numpy", "numba") or room in sys.stdlib_module_names - {"__main__"}:
            if cls not in _OPEN:
                return
        self._class(words, cls)
        reported = self.reports(value)
        own = "slow" if reported and kind == "quick" else kind
        below = {"own": "quick", "all": "state"}.get(reported, own)
        if (attributes := getattr(value, "__dict__", None)) is not None:
            self._place(f"the attributes of {words}", "len", attributes, None, own)
            for name in list(attributes):
                if not name.startswith("__"):
                    table = reported == "own" and isinstance(attributes[name], Watched)
                    self._item(f"{words}.{name}", attributes, name, own, own if table else below)
        for one in cls.__mro__:
            slots = vars(one).get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if not name.startswith("__") and hasattr(value, name):
                    self._place(f"{words}.{name}", "slot", value, name, own)
                    self.waiting.append((f"{words}.{name}", getattr(value, name), below))

    def _container(self, words: str, value: Any, kind: str) -> None:
        if isinstance(value, set):
            self._place(words, "set", value, None, kind)
            return
        if isinstance(value, (tuple, frozenset)):
            self.waiting.extend((f"{words}[{k}]", v, kind) for k, v in enumerate(value))
            return
        watched = isinstance(value, Watched)
        if watched and kind == "quick":
            kind = "state"
        free = value.free if watched else ()
        keys = list(value) if isinstance(value, dict) else range(len(value))
        self._place(f"the length of {words}", "len", value, None, kind)
        for key in keys if len(keys) <= _MOST else ():
            shown = "..." if isinstance(key, Tensor) else repr(key)
            number = isinstance(key, str) and key in free and not isinstance(value[key], Tensor)
            now = "once" if number else kind
            self._item(f"{words}[{shown}]", value, key, now)


def _parts(value: Any) -> tuple | None:
    """What a callable or a descriptor is made of; None for other objects."""
    if isinstance(value, (partial, partialmethod)):
        return (value.func, value.args, value.keywords)
    if isinstance(value, (staticmethod, classmethod)):
        return (value.__func__,)
    if isinstance(value, property):
        return (value.fget,)
    return (value.func,) if isinstance(value, cached_property) else None
