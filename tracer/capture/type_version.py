"""CPython's version number of a class: it changes when the class or one of its bases changes.

Its offset in a class object is found by experiment. If that fails, classes are compared attribute
by attribute at every call.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

_FROM, _TO = 40 * 8, 60 * 8  # range of offsets, in bytes


def _read(cls: type, offset: int) -> int:
    return ctypes.c_uint.from_address(id(cls) + offset).value


def _try(offsets: list[int]) -> list[int]:
    """The offsets at which a number changes exactly when a class or its base does."""

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
            _ = [one.x for _ in range(3)]  # CPython renews the number at a look-up
            tags.append(_read(Sub, offset))
        if 0 not in tags and tags[0] != tags[1] == tags[2] != tags[3] == tags[4]:
            kept.append(offset)
    return kept


@cache
def _offset() -> int | None:
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    offsets = _try(list(range(_FROM, _TO, 4)))
    return offsets[0] if offsets else None  # later Pythons have another counter behind it


def tag(cls: type) -> Any:
    """A view of the version number of `cls`, which must be kept alive; None if the offset is
    unknown.
    """
    offset = _offset()
    if offset is None:
        return None
    return memoryview((ctypes.c_uint * 1).from_address(id(cls) + offset)).cast("B").cast("I")


def rechecked(cls: type, seen: list[int], holds: Callable[[], bool]) -> Callable[[], bool]:
    """A check for when the number of `cls` is not in `seen`. It calls `holds`, and remembers the
    number if that is true.
    """
    view = tag(cls)

    def ask() -> bool:
        if not holds():
            return False
        if view is not None:
            getattr(cls, "__init__", None)  # CPython renews the number at a look-up
            seen[0] = view[0] or -1
        return True

    return ask
