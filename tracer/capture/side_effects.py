"""The side-effect check: copies from before the call are compared afterwards, and put back.

A Table is a container or the attributes of an object, with a copy from before the function ran.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import is_not
from typing import Any, NamedTuple

import numpy as np

from .locations import ABSENT, Location, alike, base_of, items_of

# attributes of classes that Python sets, or that instrument.py sets during a trace
_OF_PYTHON = {
    "__getattribute__", "__setattr__", "__dict__", "__weakref__", "__slotnames__", "_abc_impl",
    "__annotations__",
}


class Refused(Exception):
    """A change that a program cannot repeat, in words."""


class Grown(Refused):
    """The same, of a list that only became longer."""

    def __init__(self, label: str, holder: Any):
        super().__init__(label)
        self.holder = holder


class Effect(NamedTuple):
    """The function has changed the value at a location."""

    location: Location
    before: Any
    after: Any


class Table(NamedTuple):
    """A dict, list, set, deque or class, with a copy of its content."""

    label: str
    holder: Any
    before: Any

    def first(self, key: Any, default: Any) -> Any:
        """The former value of a dict or list under a key; `default` for other holders."""
        if isinstance(self.before, dict):
            return self.before.get(key, ABSENT)
        return self.before[key] if isinstance(self.before, list) else default

    def effects(self) -> list[Effect]:
        """The items that have changed. Raises Refused for what a program cannot repeat."""
        before, now = self.before, content(self.holder)
        if isinstance(now, set):  # its summary is compared
            return []
        if isinstance(now, list):
            if len(now) > len(before) and not any(map(is_not, now, before)):
                raise Grown(self.label, self.holder)
            if len(now) != len(before):
                raise Refused(self.label)
            return [
                Effect(Location(self.entry(k), "item", self.holder, k), a, b)
                for k, (a, b) in enumerate(zip(before, now, strict=True))
                if not alike(a, b)
            ]
        gone = [k for k in before if k not in now]
        changed = [k for k in now if k not in before or not alike(before[k], now[k])]
        if isinstance(self.holder, type):
            names = [k for k in (*changed, *gone) if k not in _OF_PYTHON]
            if names:
                raise Refused(f"attribute {names[0]!r} of {self.label}")
            return []
        if [k for k in before if k in now] != [k for k in now if k in before]:
            raise Refused(f"the order of {self.label}")
        return [
            Effect(
                Location(self.entry(k), "item", self.holder, k),
                before.get(k, ABSENT), now.get(k, ABSENT),
            )
            for k in (*gone, *changed)
        ]

    def entry(self, key: Any) -> str:
        """An entry in words."""
        shown = repr(key) if isinstance(key, (str, int, float, bytes)) else "..."
        rest = self.label.removeprefix("the attributes of ")
        return f"attribute {shown} of {rest}" if rest != self.label else f"{rest}[{shown}]"

    def restore(self, stays: Callable[[Any, Any], bool]) -> None:
        """Put the content back, except for items of a dict that stay."""
        holder, before = self.holder, self.before
        if isinstance(holder, type):
            _restore_class(holder, before)
        elif isinstance(holder, dict):
            now = content(holder)
            want = {**before, **{k: v for k, v in now.items() if stays(holder, k)}}
            base = base_of(holder)
            for key in now.keys() - want.keys():
                base.__delitem__(holder, key)
            for key, value in want.items():
                if now.get(key, ABSENT) is not value:
                    base.__setitem__(holder, key, value)
            if list(content(holder)) != list(want):  # restore the order
                base.clear(holder)
                for key, value in want.items():
                    base.__setitem__(holder, key, value)
        elif isinstance(holder, set):
            if holder != before:
                holder.clear()
                holder.update(before)
        elif len(now := content(holder)) != len(before) or any(map(is_not, now, before)):
            base = base_of(holder)
            base.clear(holder)
            base.extend(holder, before)


def table(label: str, holder: Any) -> Table:
    return Table(label, holder, content(holder))


def content(holder: Any) -> Any:
    """A copy of the content of a holder: a dict, a set or a list."""
    if isinstance(holder, type):
        return dict(vars(holder))
    if isinstance(holder, dict):
        return dict(items_of(holder))
    return set(holder) if isinstance(holder, set) else [v for _, v in items_of(holder)]


def _restore_class(cls: type, before: dict) -> None:
    for name in set(vars(cls)) - set(before) - _OF_PYTHON:
        type.__delattr__(cls, name)
    for name, value in before.items():
        if name not in _OF_PYTHON and vars(cls).get(name, ABSENT) is not value:
            type.__setattr__(cls, name, value)


def restore_summary(location: Location, then: Any) -> None:
    """Put back what has a summary: the values of an array that is not too large, the state of a
    generator of Python.
    """
    array = location.kind == "array" and isinstance(then[3], bytes)
    is_array = array and not location.holder.dtype.hasobject
    if is_array and location.holder.flags.writeable:
        text, shape, _, data = then
        if location.holder.tobytes() != data:
            location.holder[...] = np.frombuffer(data, text).reshape(shape)
    elif (
        location.kind == "random"
        and hasattr(location.holder, "setstate")
        and location.now() != then
    ):
        location.holder.setstate(then)


def refusal(label: str, line: str = "") -> str:
    return (
        f"{label} was changed by the function itself{line and f', line {line},'} while it was "
        "compiled: such a side effect cannot be replayed. Keep state in attributes, or in tensors "
        "that are changed in place, return the new value, or change it outside the compiled "
        "function."
    )
