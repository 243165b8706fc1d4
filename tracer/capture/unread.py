"""Unread: replaces a container that the function is expected not to read: a history in the dict of
settings, or a list that it only appends to. So a change of it needs no other program.

What is appended to a list is noted, and appended at each call. Any other use of an Unread raises
NeedsValue, and the function is traced again with the container itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import Any

from .locations import Location
from .scalar import NeedsValue, ScalarLog

KINDS = (list, dict, set, deque)


class Unread:
    """`value` is the container at `location`; uses are noted in `log`. For other threads it behaves
    as the container.
    """

    __slots__ = ("_location", "_log", "_origin", "_thread", "_value")

    def __init__(self, log: ScalarLog, value: Any, location: Location):
        self._log, self._value, self._location = log, value, location
        self._origin, self._thread = location.id, get_ident()

    __class__ = property(lambda self: self._refuse_use() or type(self._value))

    def _refuse_use(self) -> None:
        if get_ident() == self._thread:
            self._log.needed.add(self._origin)
            raise NeedsValue("a container that was expected to be unread is used")

    def __getattr__(self, name: str) -> Any:
        if name in ("append", "extend") and type(self._value) in (list, deque):
            if get_ident() == self._thread:
                return partial(self._note, name)
        else:
            self._refuse_use()
        return getattr(self._value, name)

    def _note(self, name: str, value: Any) -> None:
        """The function appends to the container."""
        if name == "extend":
            value = list(value)
        self._log.later.append((partial(_append, self._location, name), (value,), {}))


def _append(location: Location, name: str, value: Any) -> None:
    getattr(location.now(), name)(value)


def _refusing(name: str) -> Callable:
    def method(self: Unread, *args: Any, **kwargs: Any) -> Any:
        self._refuse_use()
        return getattr(self._value, name)(*args, **kwargs)

    return method


# the special methods that an operator, a built-in function or a statement may call
_OPERATIONS = {name for kind in (int, str, *KINDS) for name in dir(kind) if name.startswith("__")}
_OPERATIONS -= {
    "__class__", "__new__", "__init__", "__init_subclass__", "__subclasshook__", "__doc__",
    "__class_getitem__", "__getattribute__", "__setattr__",
}
_OPERATIONS |= {
    "__call__", "__enter__", "__exit__", "__next__", "__await__", "__aiter__", "__matmul__",
    "__rmatmul__", "__fspath__", "__copy__",
}
for _name in _OPERATIONS:
    setattr(Unread, _name, _refusing(_name))
