"""The change counter: a number that grows when something changes on which a compiled program may
rely.

Modules report changes of their attributes, optimizers changes of their groups and state. A compiled
function compares this number at each call. It evaluates all guards again only if the number
changed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from weakref import ref


class Tensors(dict):
    """Tensors by their ids, until they die: an id may be that of another tensor later."""

    def note(self, t: Any) -> None:
        key = id(t)
        self[key] = ref(t, lambda _: self.pop(key, None))


change_count = [0]
# ids (Place.id) of the locations with a guard whose owner reports changes
guarded_locations: set[tuple] = set()
captured_tensors = Tensors()  # those that compiled programs captured
differentiated_tensors = Tensors()  # those whose gradients they compute


def changed() -> None:
    """Report a change."""
    change_count[0] += 1


def tensor_changed(t: Any) -> None:
    """Report that tensor `t` got another array, `requires_grad` or shape."""
    if id(t) in captured_tensors:
        changed()


class WatchedList(list):
    """A list that reports changes."""

    def __reduce__(self) -> tuple:
        return (WatchedList, (list(self),))


def _reporting(name: str) -> Callable:
    method = getattr(list, name)

    @wraps(method)
    def change(self: list, *args: Any, **kwargs: Any) -> Any:
        changed()
        return method(self, *args, **kwargs)

    return change


for _name in ("__setitem__", "__delitem__", "__iadd__", "__imul__", "append", "extend", "insert",
              "pop", "remove", "clear", "sort", "reverse"):
    setattr(WatchedList, _name, _reporting(_name))

_NUMBERS = (int, float)
ALL_KEYS = object()  # stands for all keys


class WatchedDict(dict):
    """A dict that reports changes.

    Compiled programs read the numbers under the keys in `read_at_calls` at every call. A change of
    such a number is reported only if a program also has a guard on its key.
    """

    read_at_calls: frozenset[str] = frozenset()

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self._changes_number(key, value) or self.relied_on(key):
            changed()
        super().__setitem__(key, value)

    def _changes_number(self, key: Any, value: Any) -> bool:
        """Whether a number under a key of `read_at_calls` is replaced by a number."""
        if key not in self.read_at_calls or not isinstance(value, _NUMBERS):
            return False
        return isinstance(self.get(key), _NUMBERS)

    def mark_read(self, key: Any) -> None:
        """A program has a guard on an item, or on all items for ALL_KEYS."""
        self.__dict__.setdefault("read_keys", set()).add(key)

    def relied_on(self, key: Any) -> bool:
        """Whether a program has a guard on this item."""
        read = self.__dict__.get("read_keys", ())
        return key in read or ALL_KEYS in read

    def __delitem__(self, key: Any) -> None:
        changed()
        super().__delitem__(key)

    def update(self, *args: Any, **kwargs: Any) -> None:
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: Any, *default: Any) -> Any:
        changed()
        return super().pop(key, *default)

    def clear(self) -> None:
        changed()
        super().clear()

    def __reduce__(self) -> tuple:
        return (type(self), (dict(self),))
