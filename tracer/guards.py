"""What a function's outcome may depend on besides its arguments: closure cells, globals, modules,
optimizers.

`Surroundings` remembers what they were when the function was traced and tells whether they still
are. Objects that report their changes to world.py are looked at only when its counter has moved;
the rest is looked at every time.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from .tensor import Tensor
from .world import Watched

PLAIN = (type(None), bool, int, float, complex, str, bytes)
_MOST = 2000  # entries of a container that are looked at; of a larger one only the length is


class Guard(NamedTuple):
    """A place and what was there: `holder[key]`, the content of a cell, a length, or what a tensor
    is like.
    """

    words: str
    how: str  # 'item' | 'cell' | 'len' | 'like'
    holder: Any
    key: Any
    then: Any

    def now(self) -> Any:
        """What is there now; None where nothing is."""
        try:
            if self.how == "item":
                return self.holder[self.key]
            if self.how == "like":
                t = self.holder
                return (*t.shape, t._dtype, t._requires_grad, *(t._hooks or {}).values())
            return self.holder.cell_contents if self.how == "cell" else len(self.holder)
        except (KeyError, IndexError, ValueError):
            return None

    def holds(self) -> bool:
        now, then = self.now(), self.then
        comparable = isinstance(then, PLAIN) or self.how == "like"
        return now is then or (comparable and type(now) is type(then) and now == then)


def _ours(module: str) -> bool:
    """Whether a module is one that does not change while a program runs."""
    room = module.split(".")[0]
    fixed = sys.stdlib_module_names | {"tracegrad", "numpy", "numba", "scipy"}
    return room in fixed and room != "__main__"


def _attributes_read(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _attributes_read(constant)


def _globals_read(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME") and instruction.argval.isidentifier():
            yield instruction.argval  # other names are not the user's: pytest rewrites `assert`
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals_read(constant)


class Surroundings:
    """The guards of one trace. `quick` ones are checked at every call; `slow` ones stand in objects
    that report their changes, and so do those of `state`, which a trace may fill (an optimizer's).
    """

    def __init__(self, fn: Callable, arguments: Any, reports: Callable[[Any], bool]):
        self.reports = reports  # whether an object reports its changes to world.py
        self.quick: list[Guard] = []
        self.slow: list[Guard] = []
        self.state: list[Guard] = []
        self._seen: set[int] = set()
        self._attributes: frozenset[str] = frozenset()  # that the code being looked at may read
        self._function(fn)
        self._argument(arguments)

    def _function(self, fn: Any) -> None:
        if isinstance(fn, MethodType):
            self._content("self", fn.__self__, self.quick)
            fn = fn.__func__
        fn = getattr(fn, "__wrapped__", fn)
        if not isinstance(fn, FunctionType) or id(fn) in self._seen:
            return
        self._seen.add(id(fn))
        outer, self._attributes = self._attributes, frozenset(_attributes_read(fn.__code__))
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            self._place(f"the closure variable {name!r}", "cell", cell, None, self.quick)
        space = fn.__globals__
        for name in dict.fromkeys(_globals_read(fn.__code__)):
            if name in space:
                self._place(f"the global {name!r}", "item", space, name, self.quick)
        for k, value in enumerate(fn.__defaults__ or ()):
            self._content(f"the default argument {k} of {fn.__name__}", value, self.quick)
        self._attributes = outer

    def _argument(self, value: Any) -> None:
        """Containers are part of a call's signature; what other objects hold is not."""
        if isinstance(value, (list, tuple)):
            for v in value:
                self._argument(v)
        elif isinstance(value, dict):
            self._argument(list(value.values()))
        else:
            self._content(f"an argument of type {type(value).__name__}", value, self.quick)

    def _place(self, words: str, how: str, holder: Any, key: Any, into: list[Guard]) -> None:
        value = Guard(words, how, holder, key, None).now()
        into.append(Guard(words, how, holder, key, value))
        self._content(words, value, into)

    def _content(self, words: str, value: Any, into: list[Guard]) -> None:
        """Guard what an object holds."""
        if isinstance(value, ModuleType):
            if not _ours(value.__name__):
                for name in sorted(self._attributes & vars(value).keys()):
                    self._place(f"{words}.{name}", "item", vars(value), name, into)
            return
        if isinstance(value, (*PLAIN, type)) or id(value) in self._seen:
            return
        if isinstance(value, Tensor):  # its array and hooks may be exchanged, which it reports
            guard = Guard(f"the tensor in {words}", "like", value, None, None)
            self.slow.append(guard._replace(then=guard.now()))
            self._seen.add(id(value))
            return
        if isinstance(value, (FunctionType, MethodType)):
            if not _ours(value.__module__ or ""):
                self._function(value)
            return
        self._seen.add(id(value))
        if isinstance(value, (list, tuple, dict)):
            self._container(words, value, into)
            return
        attributes = getattr(value, "__dict__", None)
        if attributes is None or type(value).__module__.split(".")[0] in (
            "numpy",
            "numba",
            "builtins",
        ):
            return
        into = self.slow if self.reports(value) else into
        into.append(Guard(f"the attributes of {words}", "len", attributes, None, len(attributes)))
        for name in list(attributes):
            if not name.startswith("__"):
                self._place(f"{words}.{name}", "item", attributes, name, into)

    def _container(self, words: str, value: Any, into: list[Guard]) -> None:
        into = self.state if isinstance(value, Watched) else into
        free = value.free if isinstance(value, Watched) else ()
        keys = list(value) if isinstance(value, dict) else range(len(value))
        if not isinstance(value, tuple):
            into.append(Guard(f"the length of {words}", "len", value, None, len(value)))
        for key in keys if len(keys) <= _MOST else ():
            if not isinstance(key, str) or key not in free:
                shown = "..." if isinstance(key, Tensor) else repr(key)
                self._place(f"{words}[{shown}]", "item", value, key, into)

    def changed(self, state: bool = True) -> str | None:
        """In words, the first thing that is not what it was; None when all is."""
        for guards in (self.quick, self.slow, self.state if state else []):
            for guard in guards:
                if not guard.holds():
                    then = guard.then
                    what = f": was {then!r}, is {guard.now()!r}" if isinstance(then, PLAIN) else ""
                    return f"{guard.words} was changed{what}"
        return None
