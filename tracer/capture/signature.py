"""What one call of a compiled function looks like: its tensors, and a key of everything else.

Two calls with equal keys may share a program. Tensors are found inside tuples, lists, dicts and
dataclasses; NumPy arrays count as tensors; of numbers the types are part of the key, of other plain
values the values; other objects count by identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ...ir.dtype import DType
from ..tensor.dispatch import from_numpy
from ..tensor.tensor import Tensor
from .scalar import is_number

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
    if isinstance(value, _PLAIN):  # a DType is a tuple, and none of its numbers is the caller's
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


def _with_attributes(value: Any, found: Parts) -> Parts:
    """The parts of a container, and what its attributes hold besides."""
    attributes = getattr(value, "__dict__", None)
    if not attributes:
        return found
    count, names = len(found.inside), tuple(attributes)

    def filled(new: list) -> Any:
        made = found.filled(new[:count])
        made.__dict__.update(zip(names, new[count:], strict=True))
        return made

    return Parts([*found.inside, *attributes.values()], filled, (*found.shape, names))


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
    """The key of a value. Its tensors are appended to `tensors`, and its Python and NumPy numbers,
    of which the key has the types, to `numbers`; objects that count by identity are put into
    `held`, which must live as long as the key.
    """
    if isinstance(value, Tensor):
        tensors.append(value)
        if not value.__dict__:
            return Tensor
        held.update((id(x), x) for x in value.__dict__.values())
        return (Tensor, *((name, _told(x)) for name, x in value.__dict__.items()))
    if isinstance(value, np.ndarray):
        tensors.append(from_numpy(value))
        return Tensor
    if is_number(value):
        numbers.append(value)
        return (value.__class__,)  # which a Scalar has of its number
    if isinstance(value, _PLAIN):
        return _told(value)
    if (found := parts(value)) is not None:
        return (*found.shape, *(flatten(v, tensors, numbers, held) for v in found.inside))
    held[id(value)] = value
    return _told(value)


def _told(value: Any) -> Any:
    """The key of a plain value, or of an object by its identity."""
    if isinstance(value, (float, complex)):
        return (type(value), repr(value))  # tells 0.0 from -0.0
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
    if (found := parts(value)) is not None:
        return found.filled([rebuild(v, leaf, number) for v in found.inside])
    return value


def leaves(value: Any) -> list:
    """What is in a structure, from left to right."""
    found = parts(value)
    return [value] if found is None else [leaf for v in found.inside for leaf in leaves(v)]


def containers(value: Any) -> Iterator[type]:
    """The classes of the containers in a structure."""
    if (found := parts(value)) is not None:
        yield type(value)
        for inside in found.inside:
            yield from containers(inside)


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
