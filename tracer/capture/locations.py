"""Places: where a function finds what it depends on, how to look there and how to set a value.

The kinds stand in one table. Those with a value of their own (an item, a slot, a closure cell) can
be set, so a program may write there and read there at every call; of the others a summary is
compared.
"""

from __future__ import annotations

import random
import weakref
import zlib
from collections.abc import Callable
from contextvars import ContextVar
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from .scalar import Scalar

PLAIN = (type(None), bool, int, float, complex, str, bytes)


MOST_COPIED = 64 << 20  # bytes of an array that are compared; of a larger one, a checksum
PROGRAMS = "__tracegrad_programs__"  # the attribute of an object that holds its compiled methods'


class _Absent:
    """Nothing is there."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT = _Absent()


class Place(NamedTuple):
    """A place in words, its kind, and where it is: `holder[key]`, `holder.key`, a cell, an object.
    """

    words: str
    how: str
    holder: Any
    key: Any = None

    @property
    def id(self) -> tuple:
        """Equal for one and the same place."""
        key = self.key
        return self.how, id(self.holder), key if isinstance(key, PLAIN) else id(key)

    def now(self) -> Any:
        """What is there: a value, or a summary."""
        return _KINDS[self.how].look(self.holder, self.key)

    def settable(self) -> bool:
        return _KINDS[self.how].put is not None

    def put(self, value: Any) -> None:
        """Set the value; ABSENT removes it."""
        put = _KINDS[self.how].put
        assert put is not None
        put(self.holder, self.key, value)

    def same(self, then: Any, now: Any) -> bool:
        """Whether what is there counts as unchanged."""
        return _KINDS[self.how].same(then, now)


class _Kind(NamedTuple):
    look: Callable[[Any, Any], Any]
    same: Callable[[Any, Any], bool]
    put: Callable[[Any, Any, Any], None] | None = None


def alike(then: Any, now: Any) -> bool:
    """Whether a value is the same object, or a plain one that cannot be told from it."""
    if now is then:
        return True
    if type(then) is Scalar or type(now) is not type(then):
        return False
    if not isinstance(then, (*PLAIN, np.generic)):
        return False
    if isinstance(then, (float, complex, np.inexact)):
        return repr(now) == repr(then)  # tells 0.0 from -0.0, and NaN is like NaN
    return bool(now == then)


def _all_alike(then: tuple, now: tuple) -> bool:
    return len(then) == len(now) and (
        all(map(is_, then, now)) or all(map(alike, then, now))
    )


def _equal(then: Any, now: Any) -> bool:
    return type(now) is type(then) and now == then


def _content(holder: Any, without: Any = None) -> tuple:
    """What is in a container, in its order; of a dict, the items whose key is not in `without`."""
    if isinstance(holder, dict):
        keys = [k for k in dict.__iter__(holder)
                if k != PROGRAMS and (not without or k not in without)]  # fmt: skip
        return (*keys, *[dict.__getitem__(holder, k) for k in keys])
    if without:
        return tuple([None if k in without else v for k, v in enumerate(holder)])
    return tuple(holder)


def _get_item(holder: Any, key: Any) -> Any:
    if isinstance(holder, dict):
        return dict.get(holder, key, ABSENT)
    return holder[key] if 0 <= key < len(holder) else ABSENT


def _put_item(holder: Any, key: Any, value: Any) -> None:
    if value is not ABSENT:
        dict.__setitem__(holder, key, value) if isinstance(holder, dict) else (
            holder.__setitem__(key, value))  # fmt: skip
    elif isinstance(holder, dict):
        dict.pop(holder, key, None)


def _get_cell(holder: Any, _: Any) -> Any:
    try:
        return holder.cell_contents
    except ValueError:  # not bound yet
        return ABSENT


def _put_cell(holder: Any, _: Any, value: Any) -> None:
    if value is ABSENT:
        del holder.cell_contents
    else:
        holder.cell_contents = value


def _get_slot(holder: Any, descriptor: Any) -> Any:
    try:
        return descriptor.__get__(holder)
    except AttributeError:
        return ABSENT


def _put_slot(holder: Any, descriptor: Any, value: Any) -> None:
    if value is not ABSENT:
        descriptor.__set__(holder, value)
    elif _get_slot(holder, descriptor) is not ABSENT:
        descriptor.__delete__(holder)


def _likeness(t: Any, _: Any) -> tuple:
    hooks = (t._hooks or {}).values()
    return (*t.shape, t._dtype, t._requires_grad, t._grad_fn is None, *map(id, hooks))


def _array(a: np.ndarray, _: Any) -> tuple:
    small = a.nbytes <= MOST_COPIED
    data = a.tobytes() if small else zlib.crc32(np.ascontiguousarray(a).view(np.uint8).data)
    return (a.dtype.str, a.shape, a.strides, data)


def _function(f: Any, _: Any) -> tuple:
    named = f.__kwdefaults__ or {}
    return (f.__code__, *(f.__defaults__ or ()), *named, *named.values())


def found_in(cls: type, names: tuple[str, ...] | None) -> tuple:
    """What the classes that `cls` inherits from say of some names, or of all, in the order of
    inheritance.
    """
    spaces = [vars(one) for one in cls.__mro__]
    if names is None:
        return (*cls.__mro__, *(x for space in spaces[:-1] for item in space.items() for x in item))
    return (*cls.__mro__, *(space[n] for n in names for space in spaces if n in space))


# those of random numbers, and where they stand
GENERATORS: dict[type, Callable[[Any], Any]] = {
    random.Random: lambda r: r.getstate(),
    np.random.Generator: lambda r: repr(r.bit_generator.state),
    np.random.RandomState: lambda r: repr(r.get_state(legacy=False)),
}

_KINDS: dict[str, _Kind] = {
    "item": _Kind(_get_item, alike, _put_item),
    "cell": _Kind(_get_cell, alike, _put_cell),
    "slot": _Kind(_get_slot, alike, _put_slot),
    "content": _Kind(_content, _all_alike),
    "set": _Kind(lambda s, _: tuple(sorted(map(id, s))) if _by_id(s) else tuple(
        sorted(map(repr, s))), _equal),
    "type": _Kind(lambda x, _: type(x), is_),
    "class": _Kind(found_in, _all_alike),
    "function": _Kind(_function, _all_alike),
    "like": _Kind(_likeness, _equal),
    "array": _Kind(_array, _equal),
    "bytes": _Kind(lambda b, _: bytes(b), _equal),
    "random": _Kind(lambda r, _: GENERATORS[type(r)](r), _equal),
    "weak": _Kind(lambda r, _: r(), is_),
    "context": _Kind(lambda v, _: v.get(ABSENT), alike),
    "cache": _Kind(lambda f, _: f.cache_info()[1::2], _equal),
}  # fmt: skip


def _by_id(s: Any) -> bool:
    return not all(isinstance(x, PLAIN) for x in s)


# objects in C whose state is a summary of another kind
SUMMARIES: dict[type, str] = {
    bytearray: "bytes", weakref.ref: "weak", weakref.KeyedRef: "weak", ContextVar: "context",
    **dict.fromkeys(GENERATORS, "random"),
}  # fmt: skip
