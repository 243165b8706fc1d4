"""The signature of a call of a compiled function: its tensors, and a key of everything else.

Two calls with equal keys may share a program. Tensors may be inside tuples, lists, dicts and
dataclasses. NumPy arrays count as tensors. The key has the types of numbers, the values of other
plain values, and the ids of other objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ...ir.dtype import DType
from ..tensor.device import CPU
from ..tensor.device_memory import place_of
from ..tensor.dispatch import from_numpy
from ..tensor.tensor import Tensor
from .scalar import is_number

_PLAIN = (type(None), bool, int, float, complex, str, bytes, DType, type(Ellipsis))


class Parts(NamedTuple):
    """A container taken apart: its items, a function that makes a copy with other items, and the
    rest of its key.
    """

    inside: list
    filled: Callable[[list], Any]
    shape: tuple


def parts(value: Any) -> Parts | None:
    """A tuple, list, dict or dataclass taken apart; None for anything else. A copy of a subclass
    keeps its other attributes.
    """
    kind = type(value)
    if isinstance(value, _PLAIN):  # a DType is a tuple, too
        return None
    if isinstance(value, tuple):
        make = (lambda new: kind(*new)) if hasattr(value, "_fields") else kind
        return _with_attributes(value, Parts(list(value), make, (kind,)))
    if isinstance(value, list):
        make = list if kind is list else partial(_refilled, value)
        return _with_attributes(value, Parts(list(value), make, (kind,)))
    if isinstance(value, dict):
        keys = tuple(value)
        make = (lambda new: dict(zip(keys, new, strict=True))) if kind is dict else partial(
            _reset, dict.__setitem__, value, keys)
        shape = (kind, *((type(k), k) for k in keys))  # 1 and True are one key
        return _with_attributes(value, Parts(list(value.values()), make, shape))
    if is_dataclass(value) and not isinstance(value, type) and not callable(value):
        named = [f.name for f in fields(value) if hasattr(value, f.name)]
        names = tuple(dict.fromkeys((*named, *getattr(value, "__dict__", ()))))
        inside = [getattr(value, name) for name in names]
        return Parts(inside, partial(_reset, object.__setattr__, value, names), (kind, names))
    return None


def _with_attributes(value: Any, container: Parts) -> Parts:
    """The parts of a container, with the values of its attributes as further items."""
    attributes = getattr(value, "__dict__", None)
    if not attributes:
        return container
    count, names = len(container.inside), tuple(attributes)

    def filled(new: list) -> Any:
        copy_ = container.filled(new[:count])
        copy_.__dict__.update(zip(names, new[count:], strict=True))
        return copy_

    return Parts([*container.inside, *attributes.values()], filled, (*container.shape, names))


def _refilled(like: list, new: list) -> list:
    made = copy(like)
    made[:] = new
    return made


def _reset(put: Callable, like: Any, names: tuple, new: list) -> Any:
    made = copy(like)
    for name, value in zip(names, new, strict=True):
        put(made, name, value)
    return made


def flatten(value: Any, tensors: list[Tensor], numbers: list, held: dict[int, Any]) -> Any:
    """The key of a value. Its tensors are appended to `tensors`, its Python and NumPy numbers to
    `numbers`; the key has their types. Objects that count by identity are put into `held`, which
    must live as long as the key.
    """
    if isinstance(value, Tensor):
        tensors.append(value)
        if not value.__dict__:
            return Tensor
        held.update((id(x), x) for x in value.__dict__.values())
        return (Tensor, *((name, _key_of(x)) for name, x in value.__dict__.items()))
    if isinstance(value, np.ndarray):
        tensors.append(from_numpy(value))
        return Tensor
    if is_number(value):
        numbers.append(value)
        return (value.__class__,)  # of a Scalar, the type of its number
    if isinstance(value, _PLAIN):
        return _key_of(value)
    if (container := parts(value)) is not None:
        return (*container.shape, *(flatten(v, tensors, numbers, held) for v in container.inside))
    held[id(value)] = value
    return _key_of(value)


def _key_of(value: Any) -> Any:
    """The key of a plain value, or of an object by its identity."""
    if isinstance(value, (float, complex)):
        return (type(value), repr(value))  # 0.0 differs from -0.0
    return (type(value), value if isinstance(value, _PLAIN) else id(value))


def rebuild(
    value: Any, leaf: Callable[[Tensor], Any], number: Callable[[Any], Any] | None = None
) -> Any:
    """The same structure with every tensor, and every number of `is_number`, replaced."""
    if isinstance(value, Tensor):
        return leaf(value)
    if isinstance(value, np.ndarray):
        return leaf(from_numpy(value))
    if number is not None and is_number(value):
        return number(value)
    if (container := parts(value)) is not None:
        return container.filled([rebuild(v, leaf, number) for v in container.inside])
    return value


def leaves(value: Any) -> list:
    """The leaves of a structure, from left to right."""
    container = parts(value)
    return [value] if container is None else [leaf for v in container.inside for leaf in leaves(v)]


def containers(value: Any) -> Iterator[type]:
    """The classes of the containers in a structure."""
    if (container := parts(value)) is not None:
        yield type(value)
        for inside in container.inside:
            yield from containers(inside)


def aval(t: Tensor) -> tuple:
    """The abstract value of a tensor: shape, strides in bytes, dtype, requires_grad, device."""
    a = t._array
    if a is None:
        return (t.shape, None, t._dtype, t._requires_grad, CPU)
    return (a.shape, a.strides, t._dtype, t._requires_grad, place_of(a))


def repetition(tensors: list[Tensor]) -> tuple[int, ...]:
    """For each tensor, the index of the first that is the same object."""
    first: dict[int, int] = {}
    return tuple(first.setdefault(id(t), i) for i, t in enumerate(tensors))
