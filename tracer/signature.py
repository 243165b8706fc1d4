"""What one call of a compiled function looks like: its tensors, and a key of everything else.

Two calls with equal keys may share a program. Tensors are found inside tuples, lists and dicts;
NumPy arrays count as tensors; Python values are part of the key; other objects count by identity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.dtype import DType, float64
from .functions.creation import from_numpy
from .tensor import Tensor, wrap

_PLAIN = (type(None), bool, int, float, complex, str, bytes, DType, type(Ellipsis))


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
    if isinstance(value, (tuple, list)):
        return (type(value), *(flatten(v, tensors, held) for v in value))
    if isinstance(value, dict):
        return (type(value), *((k, flatten(v, tensors, held)) for k, v in value.items()))
    if isinstance(value, _PLAIN):
        return (type(value), repr(value) if isinstance(value, float) else value)
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
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(rebuild(v, leaf, number) for v in value))
    if isinstance(value, (tuple, list)):
        return type(value)(rebuild(v, leaf, number) for v in value)
    if isinstance(value, dict):
        return type(value)((k, rebuild(v, leaf, number)) for k, v in value.items())
    return value


def lift(value: Any) -> Any:
    """The same structure with every Python float as a 0-d tensor."""
    return rebuild(value, lambda t: t, lambda x: wrap(np.asarray(x, np.float64), float64))


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
