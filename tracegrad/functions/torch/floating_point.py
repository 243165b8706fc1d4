"""What floating point numbers are made of: mantissas and exponents, and their neighbours."""

from __future__ import annotations

import math
from typing import Any

from ...ir.dtype import float32, int32, int64
from ...ir.ops import elementwise as ops
from ...tracer.autograd.graph import composite
from ...tracer.tensor.promotion import common_dtype
from ...tracer.tensor.tensor import Tensor
from ..arguments import of_floats
from ..named_results import TYPES
from .pointwise import clamp
from .tensors import finfo

__all__ = ["frexp", "ldexp", "nextafter"]


def nextafter(input: Tensor, other: Tensor) -> Tensor:
    """The neighbour of a number, as its type has them, on the way to another.

    Shape: two that broadcast -> the shape to which they do. Dtype: the promoted one, floating
    point. Raises RuntimeError if the shapes do not broadcast.

    >>> torch.nextafter(torch.tensor([1.0]), torch.tensor([2.0])) > 1
    tensor([True])
    """
    dtype = common_dtype((input, other))
    if not dtype.is_half:
        return ops.nextafter(input, other)
    limits = finfo(dtype)
    wide = [t.to(dtype).to(float32) for t in (input, other)]
    near = ops.nextafter(*wide)  # has the derivatives
    x, towards = (t.detach() for t in wide)
    top = ops.pow(2.0, (ops.exponent(x, dtype=int32) - 1).to(float32))  # the power of two below |x|
    way = ops.where(ops.gt(towards, x), 1.0, -1.0)
    finer = ops.logical_and(ops.eq(ops.abs(x), top), ops.lt(way * x, 0))
    step = ops.maximum(ops.where(finer, 0.5, 1.0) * top * limits.eps, limits.tiny * limits.eps)
    y = x + way * ops.where(ops.eq(x, 0), limits.tiny * limits.eps, step)
    y = ops.where(ops.eq(ops.abs(x), math.inf), ops.copysign(limits.max, x), y)
    y = ops.where(ops.isnan(towards), towards, y) + (near - near.detach())
    return ops.where(ops.eq(x, towards), towards, y).to(dtype)


@composite("LdexpBackward0")
def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """input * 2 ** other.

    Shape: two that broadcast -> the shape to which they do. Dtype: the promoted one, floating
    point.
    Raises RuntimeError if the shapes do not broadcast.

    >>> torch.ldexp(torch.tensor([1.0, 3.0]), torch.tensor([2, 1]))
    tensor([4., 6.])
    """
    if not isinstance(other, Tensor):
        raise TypeError(
            f"ldexp(): argument 'other' must be Tensor, not {type(other).__name__}; "
            "tracegrad.tensor makes one of a number"
        )
    if other.dtype.kind == "float":
        return input * ops.pow(2.0, other)
    return _shifted(input, clamp(other.to(int64), -4000, 4000))


@of_floats
def _shifted(x: Tensor, k: Tensor) -> Tensor:
    return ops.ldexp(x, k)


def frexp(input: Tensor) -> Any:
    """mantissa * 2 ** exponent: mantissas in [0.5, 1), with the sign, and exponents, int32.

    Shape: (*) -> two of (*). Dtype: that of input, and int32. Raises RuntimeError for integers.

    >>> torch.frexp(torch.tensor([8.0, 3.0]))
    tracegrad.return_types.frexp(
    mantissa=tensor([0.5000, 0.7500]),
    exponent=tensor([4, 2], dtype=tracegrad.int32))
    """
    if not input.is_floating_point():
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    exponent = ops.exponent(input, dtype=int32)
    mantissa = composite("FrexpBackward0")(_shifted)(input, ops.neg(exponent))
    return TYPES["frexp"](mantissa, exponent)
