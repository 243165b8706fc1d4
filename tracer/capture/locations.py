"""Locations: where Python keeps a value that a function depends on; how to read and how to set it.

One table lists the kinds. Those that hold one value (an item, a slot, a closure cell) can be set,
so a program can write and read them at every call. For the others a summary is compared.
"""

from __future__ import annotations

import random
import weakref
import zlib
from _abc import _get_dump
from builtins import id  # Python's own, also while a trace has the user's calls of it watched
from collections import OrderedDict, deque
from collections.abc import Callable
from contextvars import ContextVar
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from .scalar import Scalar

PLAIN = (type(None), bool, int, float, complex, str, bytes)


MOST_COPIED = 64 << 20  # bytes of an array that is compared; larger ones by a checksum
_BASES = (OrderedDict, dict, list, tuple, deque)
PROGRAMS = "__tracegrad_programs__"  # the attribute of an object that holds its compiled methods'


class _Absent:
    """Nothing is there."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT = _Absent()


class Location(NamedTuple):
    """Where a value is: `holder[key]`, `holder.key`, a cell, an object.

    `label` names it in messages.
    """

    label: str
    kind: str
    holder: Any
    key: Any = None

    @property
    def id(self) -> tuple:
        """Equal for the same location."""
        key = self.key
        return self.kind, id(self.holder), key if isinstance(key, PLAIN) else id(key)

    def now(self) -> Any:
        """The value there, or a summary."""
        return _KINDS[self.kind].look(self.holder, self.key)

    def settable(self) -> bool:
        return _KINDS[self.kind].put is not None

    def put(self, value: Any) -> None:
        """Set the value; ABSENT removes it."""
        put = _KINDS[self.kind].put
        assert put is not None
        put(self.holder, self.key, value)

    def same(self, then: Any, now: Any) -> bool:
        """Whether a value or summary counts as unchanged."""
        return _KINDS[self.kind].same(then, now)


class _Kind(NamedTuple):
    look: Callable[[Any, Any], Any]
    same: Callable[[Any, Any], bool]
    put: Callable[[Any, Any, Any], None] | None = None


def alike(then: Any, now: Any) -> bool:
    """Whether both are one object, or equal plain values of one type."""
    if now is then:
        return True
    if type(then) is Scalar or type(now) is not type(then):
        return False
    if not isinstance(then, (*PLAIN, np.generic)):
        return False
    if isinstance(then, (float, complex, np.inexact)):
        return repr(now) == repr(then)  # 0.0 differs from -0.0, and NaN equals NaN
    return bool(now == then)


def _all_alike(then: tuple, now: tuple) -> bool:
    return len(then) == len(now) and (
        all(map(is_, then, now)) or all(map(alike, then, now))
    )


def _equal(then: Any, now: Any) -> bool:
    return type(now) is type(then) and now == then


def base_of(holder: Any) -> Any:
    """The built-in class of a container. Its methods read the content, whatever a subclass of the
    user overrides.
    """
    kind = type(holder)
    return kind if kind in _BASES else next(base for base in _BASES if isinstance(holder, base))


def items_of(holder: Any) -> list[tuple[Any, Any]]:
    """The keys or positions of a container with their values, in its order."""
    base = base_of(holder)
    return list(
        base.items(holder) if isinstance(holder, dict) else enumerate(base.__iter__(holder))
    )


def _content(holder: Any, without: Any = None) -> tuple:
    """The values of a container in its order, those of a dict after its keys. None replaces the
    values under the keys in `without`.
    """
    kept = [(k, v) for k, v in items_of(holder) if k != PROGRAMS]
    values = [None if without and k in without else v for k, v in kept]
    return tuple([*[k for k, _ in kept], *values] if isinstance(holder, dict) else values)


def _get_item(holder: Any, key: Any) -> Any:
    if isinstance(holder, dict):
        return dict.get(holder, key, ABSENT)
    base = base_of(holder)
    return base.__getitem__(holder, key) if 0 <= key < base.__len__(holder) else ABSENT


def _put_item(holder: Any, key: Any, value: Any) -> None:
    if value is not ABSENT:
        base_of(holder).__setitem__(holder, key, value)
    elif isinstance(holder, dict) and dict.__contains__(holder, key):
        base_of(holder).__delitem__(holder, key)


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
    shape = ("no shape yet",) if hasattr(t, "materialize") else t.shape
    return (*shape, t._dtype, t._requires_grad, t._grad_fn is None, *map(id, hooks))


def _array(a: np.ndarray, _: Any) -> tuple:
    small = a.nbytes <= MOST_COPIED
    data = a.tobytes() if small else zlib.crc32(np.ascontiguousarray(a).view(np.uint8).data)
    return (a.dtype.str, a.shape, a.strides, data)


def _function(f: Any, _: Any) -> tuple:
    named = f.__kwdefaults__ or {}
    return (f.__code__, *(f.__defaults__ or ()), *named, *named.values())


def locations_in(cls: type, names: tuple[str, ...] | None) -> list[Location]:
    """The attributes of a class and its bases, in the order of inheritance: those with the given
    names, or all.
    """
    return [
        Location(f"{one.__qualname__}.{name}", "attribute", one, name)
        for one in cls.__mro__[: None if names else -1]
        for name in (vars(one) if names is None else names)
        if names is None or name in vars(one)
    ]


def contents_of(
    cls: type, names: tuple[str, ...] | None, promoted: frozenset = frozenset()
) -> tuple:
    """The values there, except at locations whose ids are in `promoted`."""
    locations = locations_in(cls, names)
    named = (p.key for p in locations) if names is None else ()
    return (*cls.__mro__, *named, *(ABSENT if p.id in promoted else p.now() for p in locations))


def _put_attribute(cls: type, name: str, value: Any) -> None:
    type.__delattr__(cls, name) if value is ABSENT else type.__setattr__(cls, name, value)


# generators of random numbers, and how to read their state
GENERATORS: dict[type, Callable[[Any], Any]] = {
    random.Random: lambda r: r.getstate(),
    np.random.Generator: lambda r: repr(r.bit_generator.state),
    np.random.RandomState: lambda r: repr(r.get_state(legacy=False)),
}

def _part(location: Location, path: tuple[int, ...]) -> Any:
    """An element of a tuple at a location."""
    value = location.now()
    for index in path:
        value = value[index]
    return value


def _form(location: Location, _: Any) -> str:
    """The structure of a tuple at a location, without the identity of its tensors."""

    def text(value: Any) -> str:
        if type(value) is tuple:
            return f"({', '.join(map(text, value))})"
        return repr(value) if isinstance(value, PLAIN) else f"a {type(value).__qualname__}"

    return text(location.now())


_KINDS: dict[str, _Kind] = {
    "item": _Kind(_get_item, alike, _put_item),
    "cell": _Kind(_get_cell, alike, _put_cell),
    "slot": _Kind(_get_slot, alike, _put_slot),
    "content": _Kind(_content, _all_alike),
    "set": _Kind(lambda s, _: tuple(sorted(map(id, s))) if _by_id(s) else tuple(
        sorted(map(repr, s))), _equal),
    "part": _Kind(_part, alike),
    "form": _Kind(_form, _equal),
    "type": _Kind(lambda x, _: type(x), is_),
    "attribute": _Kind(lambda cls, name: vars(cls).get(name, ABSENT), alike, _put_attribute),
    "class": _Kind(lambda cls, key: contents_of(cls, *key), _all_alike),
    "function": _Kind(_function, _all_alike),
    "like": _Kind(_likeness, _equal),
    "array": _Kind(_array, _equal),
    "bytes": _Kind(lambda b, _: bytes(b), _equal),
    "random": _Kind(lambda r, _: GENERATORS[type(r)](r), _equal),
    "weak": _Kind(lambda r, _: weakref.ref.__call__(r) is None, is_),
    "type behind": _Kind(lambda r, _: type(weakref.ref.__call__(r)), is_),
    "subclasses": _Kind(lambda cls, _: tuple(type.__subclasses__(cls)), _all_alike),
    "space": _Kind(lambda x, _: vars(x), is_),
    "registered": _Kind(lambda cls, _: frozenset(_get_dump(cls)[0]), _equal),
    "context": _Kind(lambda v, _: v.get(ABSENT), alike),
    "cache": _Kind(lambda f, _: f.cache_info()[1::2], _equal),
}


def _by_id(s: Any) -> bool:
    return not all(isinstance(x, PLAIN) for x in s)


# objects in C whose state is a summary of another kind
SUMMARIES: dict[type, str] = {
    bytearray: "bytes", ContextVar: "context", **dict.fromkeys(GENERATORS, "random"),
}
