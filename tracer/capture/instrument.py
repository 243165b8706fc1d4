"""Instrumentation: methods that report, during a trace, reads and writes of attributes of objects
and modules, and of items of Watched tables; code that calls stand-ins.

`observe` instruments a class. `undo` puts everything back at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any, Protocol

from ..change_counter import WatchedDict
from ..mode import mode
from ..tensor.tensor import Tensor
from .locations import ABSENT
from .number_calls import with_stand_ins


class Listener(Protocol):
    """Receives the reports. `noted` calls one of the other methods, in the thread that traces."""

    def noted(self, note: Callable, *args: Any) -> None: ...
    def attribute(self, value: Any, name: str) -> None: ...
    def set_attribute(self, value: Any, name: str) -> None: ...
    def module_attribute(self, module: ModuleType, name: str) -> None: ...
    def item(self, table: Any, key: Any) -> None: ...
    def items(self, table: Any) -> None: ...
    def put(self, table: Any, key: Any, value: Any, ours: bool) -> None: ...


class Instrumentation:
    """The exchanged methods and classes, with the originals."""

    def __init__(self, listener: Listener):
        self.listener = listener
        self._methods: dict[tuple[type, str], Any] = {}
        self._modules: list[ModuleType] = []
        self._codes: list[tuple[FunctionType, CodeType, CodeType]] = []

    def observe(self, cls: type) -> Callable:
        """From now on, reads and writes of attributes of objects of this class are reported.
        Returns the `__getattribute__` of the class, which may be the user's.
        """
        own = self._methods.get((cls, "__getattribute__"), ABSENT)
        plain = _original_method(cls, "__getattribute__") if own is ABSENT else own
        if (cls, "__getattribute__") not in self._methods and not issubclass(cls, Tensor):
            self._instrument(cls, "__getattribute__", _getattribute(self.listener, plain))
            setter = _original_method(cls, "__setattr__")
            self._instrument(cls, "__setattr__", _setattr(self.listener, setter))
        return plain

    def observe_module(self, module: ModuleType) -> None:
        """From now on, reads of attributes of this module are reported."""
        if type(module) is ModuleType:
            module.__class__ = _observed_module(self.listener)
            self._modules.append(module)

    def observe_tables(self) -> None:
        """From now on, reads and writes of Watched tables are reported."""
        if (WatchedDict, "__getitem__") not in self._methods:
            for name, method in _table_methods(self.listener).items():
                self._instrument(WatchedDict, name, method)

    def observe_calls(self, f: FunctionType) -> None:
        """From now on, calls of `float` and `int` in a function may give Scalars."""
        code, instead = f.__code__, with_stand_ins(f)
        if instead is not code:
            self._codes.append((f, code, instead))
            f.__code__ = instead

    def _instrument(self, cls: type, name: str, method: Any) -> None:
        own = vars(cls).get(name, ABSENT)
        try:
            type.__setattr__(cls, name, method)
        except TypeError:  # a class in C
            return
        self._methods[cls, name] = own

    def undo(self) -> None:
        for f, code, instead in self._codes:
            if f.__code__ is instead:
                f.__code__ = code
        for module in self._modules:
            module.__class__ = ModuleType
        for (cls, name), own in self._methods.items():
            if own is ABSENT:
                type.__delattr__(cls, name)
            else:
                type.__setattr__(cls, name, own)


def _original_method(cls: type, name: str) -> Callable:
    """The method of a class by this name that is not instrumented."""
    methods = (vars(one).get(name) for one in cls.__mro__)
    return next(f for f in methods if f is not None and not hasattr(f, "tells"))


def _getattribute(listener: Listener, plain: Callable) -> Callable:
    def __getattribute__(self: Any, name: str) -> Any:
        listener.noted(listener.attribute, self, name)
        return plain(self, name)

    __getattribute__.tells = True  # type: ignore[attr-defined]
    return __getattribute__


def _setattr(listener: Listener, plain: Callable) -> Callable:
    def __setattr__(self: Any, name: str, value: Any) -> None:
        listener.noted(listener.set_attribute, self, name)
        plain(self, name, value)

    __setattr__.tells = True  # type: ignore[attr-defined]
    return __setattr__


def _observed_module(listener: Listener) -> type:
    class ObservedModule(ModuleType):
        def __getattribute__(self, name: str) -> Any:
            listener.noted(listener.module_attribute, self, name)
            return ModuleType.__getattribute__(self, name)

    return ObservedModule


def _table_methods(listener: Listener) -> dict[str, Callable]:
    def one(name: str) -> Callable:
        method = getattr(dict, name)

        def look(self: Any, key: Any, *rest: Any) -> Any:
            listener.noted(listener.item, self, key)
            return method(self, key, *rest)

        return look

    def whole(name: str) -> Callable:
        method = getattr(dict, name)

        def look(self: Any) -> Any:
            listener.noted(listener.items, self)
            return method(self)

        return look

    set_item = vars(WatchedDict)["__setitem__"]

    def put(self: Any, key: Any, value: Any) -> None:
        listener.noted(listener.put, self, key, value, mode.trace is None)
        set_item(self, key, value)

    return {
        **{name: one(name) for name in ("__getitem__", "get", "__contains__")},
        **{name: whole(name) for name in ("__iter__", "keys", "values", "items", "__len__")},
        "__setitem__": put,
    }
