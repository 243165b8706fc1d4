"""A counter that moves whenever something changes that a compiled program may have relied on.

Modules report attribute changes, optimizers changes of their groups and state. A compiled function
compares one number per call; only when it has moved does it look at every guard again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

epoch = [0]
relied_on: set[tuple] = set()  # ids (places.Place.id) of reporting places that programs look at
captured: set[int] = set()  # ids of the tensors that compiled programs hold on to
differentiated: set[int] = set()  # ids of those whose gradients compiled programs compute


def changed() -> None:
    epoch[0] += 1


def tensor_changed(t: Any) -> None:
    """The tensor `t` got another array or another requires_grad."""
    if id(t) in captured:
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
              "pop", "remove", "clear", "sort", "reverse"):  # fmt: skip
    setattr(WatchedList, _name, _reporting(_name))

_NUMBERS = (int, float)
ALL = object()  # the key that stands for all keys


class Watched(dict):
    """A dict that reports changes, save those of numbers under the keys in `free`, which compiled
    programs read at every call, but for those that have looked at them otherwise.
    """

    free: frozenset[str] = frozenset()

    def __setitem__(self, key: Any, value: Any) -> None:
        if key not in self.free or not isinstance(value, _NUMBERS) \
                or not isinstance(self.get(key), _NUMBERS) or self.relied_on(key):  # fmt: skip
            changed()
        super().__setitem__(key, value)

    def looked_at(self, key: Any) -> None:
        """A program has looked at an item, or for ALL at all of them."""
        self.__dict__.setdefault("looked", set()).add(key)

    def relied_on(self, key: Any) -> bool:
        looked = self.__dict__.get("looked", ())
        return key in looked or ALL in looked

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
