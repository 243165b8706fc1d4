"""What a function's outcome may depend on besides its arguments: closure cells, globals, modules, optimizers.

`Surroundings` remembers what they were when the function was traced and tells whether they still are. Objects that
report their changes to world.py are looked at only when its counter has moved; the rest is looked at every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from .tensor import Tensor
from .world import Watched

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_MOST = 2000  # entries of containers that are looked at; beyond, only the container's identity is


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


class Surroundings:
    """Guards as (place in words, read, value at trace time). `quick` ones are checked at every call."""

    def __init__(self, fn: Callable, arguments: Any, reports: Callable[[Any], bool]):
        self.reports = reports  # whether an object reports its changes to world.py
        self.quick: list[tuple[str, Callable[[], Any], Any]] = []
        self.slow: list[tuple[str, Callable[[], Any], Any]] = []
        self.state: list[tuple[str, Callable[[], Any], Any]] = []  # of Watched dicts, which a trace may fill
        self._seen: set[int] = set()
        self._count = 0
        self._function(fn)
        self._content("an argument", arguments, None)

    def _function(self, fn: Any) -> None:
        if isinstance(fn, MethodType):
            self._content("self", fn.__self__, None)
            fn = fn.__func__
        fn = getattr(fn, "__wrapped__", fn)
        if not isinstance(fn, FunctionType) or id(fn) in self._seen:
            return
        self._seen.add(id(fn))
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            self._place(f"the closure variable {name!r}", lambda c=cell: c.cell_contents, self.quick)
        space = fn.__globals__
        for name in dict.fromkeys(_names(fn.__code__)):
            if name in space and not isinstance(space[name], ModuleType):
                self._place(f"the global {name!r}", lambda s=space, n=name: s.get(n), self.quick)
        for k, value in enumerate(fn.__defaults__ or ()):
            self._content(f"the default argument {k} of {fn.__name__}", value, None)

    def _place(self, words: str, read: Callable[[], Any], into: list) -> None:
        try:
            value = read()
        except ValueError:  # an empty cell
            return
        into.append((words, read, value))
        self._content(words, value, into)

    def _content(self, words: str, value: Any, into: list | None) -> None:
        """Guard what an object holds."""
        into = self.quick if into is None else into
        if isinstance(value, (*_PLAIN, Tensor, ModuleType, type)) or id(value) in self._seen:
            return
        if isinstance(value, (FunctionType, MethodType)):
            if getattr(value, "__module__", "").split(".")[0] not in ("tracegrad", "numpy", "math"):
                self._function(value)
            return
        self._seen.add(id(value))
        if isinstance(value, (list, tuple, dict)):
            into = self.state if isinstance(value, Watched) else into
            free = value.free if isinstance(value, Watched) else ()
            items = list(value.items() if isinstance(value, dict) else enumerate(value))
            if len(items) > _MOST:
                return
            into.append((f"the length of {words}", lambda v=value: len(v), len(value)))
            for key, _ in items:
                if key not in free if isinstance(key, str) else True:
                    read = (lambda v=value, k=key: v.get(k)) if isinstance(value, dict) else (
                        lambda v=value, k=key: v[k] if k < len(v) else None)  # fmt: skip
                    self._place(f"{words}[{key!r}]" if not isinstance(key, Tensor) else f"{words}[...]", read, into)
            return
        attributes = getattr(value, "__dict__", None)
        if attributes is None or type(value).__module__.split(".")[0] in ("numpy", "numba", "builtins"):
            return
        into = self.slow if self.reports(value) else into
        for name in list(attributes):
            if not name.startswith("__"):
                self._place(f"{words}.{name}", lambda d=attributes, n=name: d.get(n), into)

    @staticmethod
    def _same(now: Any, then: Any) -> bool:
        return now is then or (isinstance(then, _PLAIN) and type(now) is type(then) and now == then)

    def changed(self, state: bool = True) -> str | None:
        """In words, the first thing that is not what it was; None when all is."""
        for guards in (self.quick, self.slow, self.state if state else []):
            for words, read, then in guards:
                if not self._same(now := read(), then):
                    what = f": was {then!r}, is {now!r}" if isinstance(then, _PLAIN) else ""
                    return f"{words} was changed{what}"
        return None
