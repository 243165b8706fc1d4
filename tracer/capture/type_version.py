"""The number by which CPython tells versions of a class: it changes when the class, or one that it
inherits from, is changed in any way.

Where it stands in a class object is found out by trying; on an interpreter where trying does not
find it, classes are compared attribute by attribute at every call.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

_FROM, _TO = 40 * 8, 60 * 8  # bytes of a class object in which the number may stand


def _read(cls: type, offset: int) -> int:
    return ctypes.c_uint.from_address(id(cls) + offset).value


def _try(offsets: list[int]) -> list[int]:
    """Those of the offsets whose number changes just when a class or its base does."""

    class Base:
        x = 1

    class Sub(Base):
        pass

    one = Sub()
    kept = []
    for offset in offsets:
        tags = []
        for change in (None, "base", None, "sub", None):
            if change == "base":
                Base.x += 1
            elif change == "sub":
                Sub.y = 1  # type: ignore[attr-defined]
            _ = [one.x for _ in range(3)]  # a look-up gives a changed class its new number
            tags.append(_read(Sub, offset))
        if 0 not in tags and tags[0] != tags[1] == tags[2] != tags[3] == tags[4]:
            kept.append(offset)
    return kept


@cache
def _offset() -> int | None:
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    found = _try(list(range(_FROM, _TO, 4)))
    return found[0] if found else None  # behind it, later Pythons count the versions of each class


def tag(cls: type) -> Any:
    """A view whose one element is the number of `cls`, which must be kept alive; None where it is
    not known.
    """
    offset = _offset()
    if offset is None:
        return None
    return memoryview((ctypes.c_uint * 1).from_address(id(cls) + offset)).cast("B").cast("I")


def rechecked(cls: type, seen: list[int], holds: Callable[[], bool]) -> Callable[[], bool]:
    """What to ask when the number of `cls` is not in `seen`: `holds`, whose yes is remembered."""
    view = tag(cls)

    def ask() -> bool:
        if not holds():
            return False
        if view is not None:
            getattr(cls, "__init__", None)  # a look-up gives a changed class its new number
            seen[0] = view[0] or -1
        return True

    return ask
