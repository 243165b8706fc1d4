"""How far numbers lie from their mean: variances and standard deviations."""

from __future__ import annotations

import math
from typing import Any

from ...ir.ops import elementwise as ops, kinks, reduce as reductions
from ...ir.ops.movement import permute, reshape
from ...ir.ops.reduce import keepdims
from ...ir.ops.source import zeros_like
from ...tracer.autograd.graph import composite
from ...tracer.tensor.dispatch import number
from ...tracer.tensor.tensor import Tensor
from .reduction import Dims, count, mean, numpy_names, reduced, wrap_dims
from .upcast import rounded_once


def _spread(input: Tensor, dim: Dims, unbiased: Any, correction: Any, keepdim: bool) -> Tensor:
    if isinstance(dim, bool):  # var(unbiased)
        dim, unbiased = None, dim
    if unbiased is not None:
        correction = 1 if unbiased else 0
    if correction is None:
        correction = 1
    if not input.dtype.is_floating_point:
        raise RuntimeError("std and var only support floating point and complex dtypes")
    dims = wrap_dims(dim, input.ndim)
    n = count(input, dims)
    rest = n - correction
    x = ops.stop_gradient(input)
    centre = reduced(reductions.sum, x, dims, True) / (n if n else 0.0)
    d = x - centre
    y = reductions.sum(d * d, dims=dims)
    if rest <= 0 and (not isinstance(dim, int) and not dim or not input.ndim):
        # as torch has it, the gradient does not change: it is infinite, and NaN at the mean
        steep = ops.where(ops.eq(x, centre), number(math.nan, d.dtype), math.inf)
        pull = kinks.slope(zeros_like(d, d), input, steep)
        y = y / 0.0 + reductions.sum(pull, dims=dims)
    else:
        last = permute(input, axes=(*(k for k in range(input.ndim) if k not in dims), *dims))
        value, y = y / 0.0, kinks.squares(y, last) / (rest if rest and n else 0.0)
        if rest < 0:  # torch divides the value by 0, and the gradient by what is below
            y = kinks.slope(value, y, number(1.0, y.dtype))
    return reshape(y, shape=keepdims(tuple(input.shape), dims)) if keepdim else y


@numpy_names
@composite("VarBackward0")
@rounded_once
def var(input: Tensor, dim: Dims = None, unbiased: bool | None = None, keepdim: bool = False, *,
        correction: Any = 1) -> Tensor:
    """The variance; divided by n - correction.

    Shape: (*) -> (), or without the dimensions `dim`; `keepdim` leaves them with extent 1.
    Dtype: that of input, which must be floating point. `correction` is 1 by default.
    Raises RuntimeError for integers; IndexError for a dimension out of range.

    >>> torch.var(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    tensor(1.6667)
    """
    return _spread(input, dim, unbiased, correction, keepdim)


@numpy_names
@composite("StdBackward0")
@rounded_once
def std(input: Tensor, dim: Dims = None, unbiased: bool | None = None, keepdim: bool = False, *,
        correction: Any = 1) -> Tensor:
    """The standard deviation; the square root of `var`.

    Shape: (*) -> (), or without the dimensions `dim`; `keepdim` leaves them with extent 1.
    Dtype: that of input, which must be floating point. `correction` is 1 by default.
    Raises RuntimeError for integers; IndexError for a dimension out of range.

    >>> torch.std(torch.tensor([1.0, 2.0, 3.0, 4.0]), correction=0)
    tensor(1.1180)
    """
    return root(_spread(input, dim, unbiased, correction, keepdim))


def root(x: Tensor) -> Tensor:
    """sqrt with gradient zero at zero, where it has its minimum."""
    return kinks.root(ops.sqrt(ops.stop_gradient(x)), x)


@numpy_names
@composite("VarMeanBackward0")
@rounded_once
def var_mean(
    input: Tensor, dim: Dims = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: Any = 1,
) -> tuple[Tensor, Tensor]:
    """Variance and mean.

    Shape and dtype: two, each as of `var`. Raises RuntimeError for integers.

    >>> torch.var_mean(torch.tensor([1.0, 2.0, 3.0]))
    (tensor(1.), tensor(2.))
    """
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    spread = var(input, dim, unbiased, keepdim, correction=correction)
    return spread, mean(input, dim, keepdim)


@numpy_names
@composite("StdMeanBackward0")
@rounded_once
def std_mean(
    input: Tensor, dim: Dims = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: Any = 1,
) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean.

    Shape and dtype: two, each as of `std`. Raises RuntimeError for integers.

    >>> torch.std_mean(torch.tensor([1.0, 2.0, 3.0]))
    (tensor(1.), tensor(2.))
    """
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    spread = std(input, dim, unbiased, keepdim, correction=correction)
    return spread, mean(input, dim, keepdim)


__all__ = ["std", "std_mean", "var", "var_mean"]
