"""Type promotion by torch's rules, and torch's names of dtypes.

A dtype belongs to a category (bool < integer < float). Tensors with dimensions decide within a
category. 0-d tensors, and then Python numbers, count only if their category is higher.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ...ir.dtype import (
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    of_scalar,
    promote,
    uint8,
)
from ..mode import get_default_dtype

# dtype -> the name in error messages and in `tensor.type()`
SCALAR_TYPE = {
    float64: "Double", float32: "Float", float16: "Half", bfloat16: "BFloat16", int64: "Long",
    int32: "Int", int16: "Short", int8: "Char", uint8: "Byte", bool_: "Bool",
}

# public name -> dtype
NAMES = {
    "float64": float64, "double": float64, "float32": float32, "float": float32,
    "float16": float16, "half": float16, "bfloat16": bfloat16, "int64": int64, "long": int64,
    "int32": int32, "int": int32, "int16": int16, "short": int16, "int8": int8, "uint8": uint8,
    "bool": bool_,
}

# the names of C++ types in torch's messages
_C_TYPE_NAMES = {
    float64: "double", float32: "float", float16: "c10::Half", bfloat16: "c10::BFloat16",
    int64: "int64_t", int32: "int", int16: "int16_t", int8: "int8_t", uint8: "uint8_t",
}
_LARGEST = {float64: np.inf, float32: 3.4028234663852886e38, float16: 65504.0,
             bfloat16: 3.3895313892515355e38}

_CATEGORY = {"bool": 0, "uint": 1, "int": 1, "float": 2}
_PYTHON = {bool: bool_, int: int64, float: float64}


def as_dtype(d: Any) -> DType:
    """The DType for a user's argument: a DType, `float`, `int` or `bool`."""
    if isinstance(d, DType):
        return d
    if d in _PYTHON:
        return _PYTHON[d]
    raise TypeError(f"dtype must be a dtype of tracegrad, not {d!r}")


def checked_number(value: bool | int | float, dtype: DType) -> bool | int | float:
    """A Python number as `dtype` stores it: truncated for integers, wrapped for a negative one in
    uint8.

    Raises RuntimeError if the number does not fit.
    """
    if dtype is bool_:
        return bool(value)
    refuse_overflow(value, dtype)
    if dtype.kind == "float":
        return value
    return int(value) % 256 if dtype is uint8 else int(value)


def refuse_overflow(value: Any, dtype: DType) -> None:
    """Raise RuntimeError if a Python number does not fit into `dtype`, which is not bool."""
    if dtype.kind == "float":
        lost = not (abs(value) <= _LARGEST[dtype] or abs(value) == np.inf or value != value)
    else:
        ends = np.iinfo(dtype.storage)
        least = ends.min or (0 if isinstance(value, (float, np.floating)) else -ends.max)
        lost = value - value != 0 or not least <= value <= ends.max
    if lost:
        raise RuntimeError(
            f"value cannot be converted to type {_C_TYPE_NAMES[dtype]} without overflow"
        )


def category(d: DType) -> int:
    return _CATEGORY[d.kind]


def _promote_weak(strong: DType | None, weak: DType | None) -> DType | None:
    """`strong`, unless `weak` is of a higher category."""
    if strong is None or weak is None:
        return weak if strong is None else strong
    if strong.kind == "float":
        return strong
    return promote(strong, weak) if strong is bool_ or weak.kind == "float" else strong


def common_dtype(values: Iterable[Any]) -> DType:
    """The dtype that Tensors and Python numbers are promoted to."""
    # of tensors with dimensions, of 0-d tensors, of Python numbers
    ranks: list[DType | None] = [None, None, None]
    for x in values:
        if isinstance(x, (bool, int, float, np.number, np.bool_)):
            value: Any = x
            rank, d = 2, of_scalar(value, get_default_dtype())
        else:
            rank, d = (0 if x.ndim else 1), x.dtype
        seen = ranks[rank]
        ranks[rank] = d if seen is None else promote(seen, d)
    dtype = _promote_weak(ranks[0], _promote_weak(ranks[1], ranks[2]))
    assert dtype is not None
    return dtype


def result_type(tensor1: Any, tensor2: Any) -> DType:
    """The dtype of an arithmetic operation on the two arguments, tensors or numbers.

    >>> torch.result_type(torch.tensor([1]), 2.5)
    tracegrad.float32
    """
    return common_dtype((tensor1, tensor2))


def promote_types(type1: DType, type2: DType) -> DType:
    """The smallest dtype that can hold both.

    >>> torch.promote_types(torch.int64, torch.float16)
    tracegrad.float16
    """
    return promote(type1, type2)


def can_cast(from_: DType, to: DType) -> bool:
    """Whether an in-place operation may store a `from_` result in a `to` tensor.

    >>> torch.can_cast(torch.float32, torch.int64), torch.can_cast(torch.int64, torch.float32)
    (False, True)
    """
    return category(from_) <= category(to)
