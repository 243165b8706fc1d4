"""Numbers kept within bounds."""

from __future__ import annotations

import math
from typing import Any

from ...ir.dtype import bool_
from ...ir.ops import elementwise as ops, kinks
from ...tracer.autograd.graph import composite
from ...tracer.tensor.promotion import common_dtype
from ...tracer.tensor.tensor import Tensor
from ..tensors.broadcasting import broadcast_tensors
from .dtype_limits import finfo
from .scaled_operands import refuse

__all__ = ["clamp", "clamp_max", "clamp_min", "clip", "nan_to_num"]


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """The nearest number in [min, max]; either bound may be missing, a number or a tensor.

    Shape: (*), and bounds that broadcast with it. Dtype: the promoted one of all.
    Raises RuntimeError if both bounds are missing, or if the shapes do not broadcast.

    >>> torch.clamp(torch.tensor([-2.0, 0.5, 2.0]), min=-1, max=1)
    tensor([-1.0000,  0.5000,  1.0000])
    """
    if min is None and max is None:
        raise RuntimeError("clamp: At least one of 'min' or 'max' must not be None")
    return _clamp(input, min, max)


@composite("ClampBackward1")
def _clamp(input: Tensor, low: Any, high: Any) -> Tensor:
    # maximum and minimum give the value alone: at a bound the whole gradient goes to the input,
    # and where a NaN is compared nothing does
    dtype = common_dtype([x for x in (input, low, high) if x is not None])
    if dtype is bool_ and [isinstance(b, Tensor) for b in (low, high) if b is not None] != [True]:
        raise refuse("clamp_cpu", dtype)
    x = input.to(dtype)
    low, high = (b.to(dtype) if isinstance(b, Tensor) else b for b in (low, high))
    y, inside = ops.stop_gradient(x), ops.eq(x, x)
    for bound, cut, within in ((low, ops.maximum, ops.ge), (high, ops.minimum, ops.le)):
        if bound is not None:
            inside = inside & within(x, bound)
            y = cut(y, ops.stop_gradient(bound) if isinstance(bound, Tensor) else bound)
    y = passing(y, inside, x)
    if isinstance(low, Tensor):
        below = ops.lt(x, low)
        y = passing(y, below if high is None else below & ops.lt(low, high), low)
    if isinstance(high, Tensor):
        above = ops.gt(x, high)
        y = passing(y, above if low is None else above | ops.gt(low, high), high)
    return y


def passing(value: Tensor, condition: Tensor, x: Tensor) -> Tensor:
    """The value, of which x gets the gradient where the condition holds."""
    if not x.is_floating_point():
        return value
    return kinks.passing(*broadcast_tensors(value, condition, x))


clip = clamp


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """The elements, none smaller than `min`.

    Shape: two that broadcast. Dtype: the promoted one. Raises RuntimeError if they do not.

    >>> torch.clamp_min(torch.tensor([-1.0, 2.0]), 0)
    tensor([0., 2.])
    """
    return clamp(input, min=min)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """The elements, none greater than `max`.

    Shape: two that broadcast. Dtype: the promoted one. Raises RuntimeError if they do not.

    >>> torch.clamp_max(torch.tensor([-1.0, 2.0]), 0)
    tensor([-1.,  0.])
    """
    return clamp(input, max=max)


def nan_to_num(
    input: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """NaN and the infinities replaced by numbers.

    Shape: (*) -> (*). Dtype: that of input. The infinities become the largest finite numbers by
    default.
    Raises TypeError without a tensor.

    >>> torch.nan_to_num(torch.tensor([1.0, float("nan"), float("inf")]), posinf=9.0)
    tensor([1., 0., 9.])
    """
    if not input.is_floating_point():
        return input.clone()
    largest = finfo(input.dtype).max
    # what takes a NaN's or an infinity's place may be one of them itself
    y = ops.where(ops.isnan(input), nan, input)
    y = ops.where(ops.eq(input, math.inf), largest if posinf is None else posinf, y)
    return ops.where(ops.eq(input, -math.inf), -largest if neginf is None else neginf, y)
