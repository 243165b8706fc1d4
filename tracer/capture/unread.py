"""Unread: stands for a container that nobody looks into while a function is traced, though it lies
beside values that the function reads: a history in the dict of settings, say. What happens to it
then makes no other program. Whatever uses it raises NeedsValue, and the function is traced again
with the container itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Any

from .scalar import Book, NeedsValue

KINDS = (list, dict, set, deque)


class Unread:
    """`value` is the container, `origin` the id of its place, `book` where uses are noted. To other
    threads it is the container.
    """

    __slots__ = ("_book", "_origin", "_thread", "_value")

    def __init__(self, book: Book, value: Any, origin: Any):
        self._book, self._value, self._origin = book, value, origin
        self._thread = get_ident()

    __class__ = property(lambda self: self._asked() or type(self._value))

    def _asked(self) -> None:
        if get_ident() == self._thread:
            self._book.needed.add(self._origin)
            raise NeedsValue("a container that was taken to be unread is used")

    def __getattr__(self, name: str) -> Any:
        self._asked()
        return getattr(self._value, name)


def _asking(name: str) -> Callable:
    def method(self: Unread, *args: Any, **kwargs: Any) -> Any:
        self._asked()
        return getattr(self._value, name)(*args, **kwargs)

    return method


# all that an operator, a built-in function or a statement may ask for
_ASKED = {name for kind in (int, str, *KINDS) for name in dir(kind) if name.startswith("__")}
_ASKED -= {"__class__", "__new__", "__init__", "__init_subclass__", "__subclasshook__", "__doc__",
           "__class_getitem__", "__getattribute__", "__setattr__"}
_ASKED |= {"__call__", "__enter__", "__exit__", "__next__", "__await__", "__aiter__", "__matmul__",
           "__rmatmul__", "__fspath__", "__copy__"}
for _name in _ASKED:
    setattr(Unread, _name, _asking(_name))
