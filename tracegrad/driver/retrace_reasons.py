"""Why a call of a compiled function is traced: the guard that failed, or the difference between the
signatures, in words for `explain()` and for the warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..tracer.capture.locations import alike
from ..tracer.capture.scalar import Scalar
from ..tracer.capture.signature import aval
from ..tracer.tensor.device import CPU
from ..tracer.tensor.tensor import Tensor
from .entry import Entry

_FIELDS = (
    "the structure of the arguments",
    "the tensors",
    "which tensors are one and the same",
    "grad mode",
    "the default dtype",
    "the default device",
    "autocast",
)  # of the key of a call


ANOTHER_WAY = "a value that Python branched on changed"


class Reason(NamedTuple):
    """`kind` is equal for two traces with the same reason; None for a first call."""

    kind: Any
    words: str


def reason(last: Entry | None, traces: int, key: tuple, entries: Sequence[Entry],
           tensors: Sequence[Tensor], numbers: Sequence[Any], parted: Sequence[str] = ()) -> Reason:
    """Why a call with this key is traced. `last` is the program of the last call, if it still
    exists. `entries` have the same key, and none of them fits; `parted` are the lines where the
    call went another way than some of them.
    """
    if parted:
        return Reason(("value", parted[-1]), f"{ANOTHER_WAY}: {parted[-1]}")
    if last is None:
        return Reason(None, "the object it was called on is gone" if traces else "the first call")
    if entries:
        return failed_guard(entries[-1], tensors, numbers)
    return other_signature(last.key, key)


def failed_guard(entry: Entry, tensors: Sequence[Tensor], numbers: Sequence[Any]) -> Reason:
    """The guard of a program that does not hold at a call with its signature."""
    for k, (then, now) in enumerate(zip(entry.numbers, numbers, strict=True)):
        if type(then) is not Scalar and not alike(then, now):
            text = f"a number among the arguments: {then!r} became {now!r}"
            return Reason(("number", k), text)
    changed = next(entry.guard_set.changes(), None)
    if changed is not None:
        return Reason(changed.location.id, str(changed))
    for source, then in zip(entry.inputs, entry.avals, strict=True):
        if source.kind == "location":
            location, now = source.key, source.key.now()
            if not isinstance(now, Tensor):
                return Reason(location.id, f"{location.label} is of type {type(now).__name__}")
            if aval(now) != then:
                return Reason(location.id, f"{location.label}: {_changed(then, aval(now))}")
    for i, present in entry.grad_presence:
        if i.kind in ("argument", "tensor"):
            t = tensors[i.key] if i.kind == "argument" else i.tensor
            if (t._grad is not None) != present:
                which = f"tensor argument {i.key}" if i.kind == "argument" else "a captured tensor"
                text = f"whether .grad of {which} ({_shown(aval(t))}) is None changed"
                return Reason("grad", text)
    if entry.way or entry.decisions:
        lines = ", ".join(dict.fromkeys(entry.lines))
        return Reason("value", f"{ANOTHER_WAY}: {lines}" if lines else ANOTHER_WAY)
    return Reason("aval", "the shape, dtype or requires_grad of a tensor it uses changed")


def other_signature(then: tuple, now: tuple) -> Reason:
    """The first difference between the keys of two calls."""
    for name, a, b in zip(_FIELDS, then, now, strict=True):
        if a != b:
            if name == "the tensors" and len(a) == len(b):
                i = next(i for i, (p, q) in enumerate(zip(a, b, strict=True)) if p != q)
                return Reason((name, i), f"tensor argument {i}: {_changed(a[i], b[i])}")
            text = _unlike(a, b) if name == _FIELDS[0] else f"{a} became {b}"
            return Reason(name, f"{name}: {text}")
    return Reason(None, "another signature")


def _unlike(a: Any, b: Any) -> str:
    """The first difference between two keys of `flatten`, in words without ids of objects."""
    sizes = _size(a), _size(b)
    if None not in sizes and sizes[0] != sizes[1] and a[0] is b[0]:
        name = a[0].__qualname__
        return f"a {name} of {sizes[0]} became a {name} of {sizes[1]}"
    if not (isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b) and a[:1] == b[:1]):
        return f"{_kind(a)} became {_kind(b)}"
    k = next(k for k, (p, q) in enumerate(zip(a, b, strict=True)) if p != q)
    if len(a) == 2 and isinstance(a[1], int) and isinstance(a[0], type) and a[0] is not bool:
        return f"another {a[0].__qualname__}"
    return _unlike(a[k], b[k])


def _size(key: Any) -> int | None:
    """The number of items of the container with this key."""
    if not (isinstance(key, tuple) and key and isinstance(key[0], type)):
        return None
    if issubclass(key[0], dict):
        return len(key) // 2  # a key and a value for each
    return len(key) - 1 if issubclass(key[0], (tuple, list)) else None


def _kind(key: Any) -> str:
    if isinstance(key, tuple) and key:
        key = key[0]
    return key.__qualname__ if isinstance(key, type) else repr(key)


def _shown(a: tuple) -> str:
    shape, _, dtype, requires_grad, where = a
    graded = " requires_grad" if requires_grad else ""
    return f"{dtype.name}{list(shape)}{graded}{'' if where == CPU else f' on {where}'}"


def _changed(then: tuple, now: tuple) -> str:
    """The difference between two avals; the strides if all else is equal."""
    if _shown(then) != _shown(now):
        return f"{_shown(then)} became {_shown(now)}"
    return f"{_shown(then)} with strides {_strides(then)} became one with strides {_strides(now)}"


def _strides(a: tuple) -> list[int]:
    """In elements, as `stride()` gives them."""
    _, strides, dtype, *_ = a
    return [s // dtype.itemsize for s in strides]
