"""What one call of a compiled function looks like: its tensors, and a key of everything else.

Two calls with equal keys may share a program. Tensors are found inside tuples, lists, dicts and
dataclasses; NumPy arrays count as tensors; Python values are part of the key; other objects count
by identity.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..ir.dtype import DType, float64
from .dispatch import from_numpy
from .tensor import Number, Tensor, fill_slots

_PLAIN = (type(None), bool, int, float, complex, str, bytes, DType, type(Ellipsis))


class Parts(NamedTuple):
    """A container taken apart: what is in it, how to put other values in their places, and what
    else there is to know of it.
    """

    inside: list
    filled: Callable[[list], Any]
    shape: tuple


def parts(value: Any) -> Parts | None:
    """A tuple, list, dict or dataclass taken apart; None for anything else. Of a class of the
    user's, the copy keeps what else it holds.
    """
    kind = type(value)
    if isinstance(value, tuple):
        make = (lambda new: kind(*new)) if hasattr(value, "_fields") else kind
        return Parts(list(value), make, (kind,))
    if isinstance(value, list):
        return Parts(list(value), list if kind is list else partial(_refilled, value), (kind,))
    if isinstance(value, dict):
        keys = tuple(value)
        make = (lambda new: dict(zip(keys, new, strict=True))) if kind is dict else partial(
            _reset, dict.__setitem__, value, keys)  # fmt: skip
        return Parts(list(value.values()), make, (kind, keys))
    if is_dataclass(value) and not isinstance(value, type) and not callable(value):
        names = tuple(f.name for f in fields(value) if hasattr(value, f.name))
        inside = [getattr(value, name) for name in names]
        return Parts(inside, partial(_reset, object.__setattr__, value, names), (kind, names))
    return None


def _refilled(like: list, new: list) -> list:
    made = copy(like)
    made[:] = new
    return made


def _reset(put: Callable, like: Any, names: tuple, new: list) -> Any:
    made = copy(like)
    for name, value in zip(names, new, strict=True):
        put(made, name, value)
    return made


def flatten(value: Any, tensors: list[Tensor], held: dict[int, Any]) -> Any:
    """The key of a value. Its tensors are appended to `tensors`; objects that count by identity are
    put into `held`, which must live as long as the key.
    """
    if isinstance(value, Tensor):
        tensors.append(value)
        return Tensor
    if isinstance(value, np.ndarray):
        tensors.append(from_numpy(value))
        return Tensor
    if isinstance(value, _PLAIN):
        return (type(value), repr(value) if isinstance(value, float) else value)
    if (found := parts(value)) is not None:
        return (*found.shape, *(flatten(v, tensors, held) for v in found.inside))
    held[id(value)] = value
    return (type(value), id(value))


def loosen(key: Any) -> Any:
    """The key of a value with its Python floats left open."""
    if not isinstance(key, tuple):
        return key
    return (float,) if key and key[0] is float else tuple(loosen(k) for k in key)


def rebuild(
    value: Any, leaf: Callable[[Tensor], Any], number: Callable[[float], Any] = float
) -> Any:
    """The same structure with every tensor, and every Python float, replaced."""
    if isinstance(value, Tensor):
        return leaf(value)
    if isinstance(value, np.ndarray):
        return leaf(from_numpy(value))
    if type(value) is float:
        return number(value)
    if (found := parts(value)) is not None:
        return found.filled([rebuild(v, leaf, number) for v in found.inside])
    return value


def leaves(value: Any) -> list:
    """What is in a structure, from left to right."""
    found = parts(value)
    return [value] if found is None else [leaf for v in found.inside for leaf in leaves(v)]


def lift(value: Any) -> Any:
    """The same structure with every Python float as a Number."""
    return rebuild(value, lambda t: t, _number)


def _number(x: float) -> Number:
    return fill_slots(object.__new__(Number), np.asarray(x, np.float64), None, float64)


def aval(t: Tensor) -> tuple:
    """What a program must know of a tensor beforehand: shape, strides in bytes, dtype,
    requires_grad.
    """
    a = t._array
    if a is None:
        return (t.shape, None, t._dtype, t._requires_grad)
    return (a.shape, a.strides, t._dtype, t._requires_grad)


def repetition(tensors: list[Tensor]) -> tuple[int, ...]:
    """Which of the tensors are one and the same object."""
    first: dict[int, int] = {}
    return tuple(first.setdefault(id(t), i) for i, t in enumerate(tensors))
