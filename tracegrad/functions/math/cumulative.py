"""Running sums, products and extremes along a dimension."""

from __future__ import annotations

from typing import Any

from ...ir.ops import elementwise as ops, prefix
from ...ir.ops.elementwise import stop_gradient
from ...ir.ops.index import index as index_
from ...ir.ops.movement import reshape
from ...tracer.autograd.graph import composite
from ...tracer.tensor.tensor import Tensor
from ..named_results import TYPES
from .reduction import accumulating, along, numpy_names, wrap_dim
from .scaled_operands import floats_only
from .upcast import rounded_once


def vector(x: Tensor) -> Tensor:
    """x, or a vector of one where x has no dimensions."""
    return x if x.ndim else reshape(x, shape=(1,))


def taken(x: Tensor, positions: Tensor, dim: int) -> Tensor:
    """x at the positions along `dim`, which must be in range."""
    every = (positions if d == dim else along(positions, d) for d in range(x.ndim))
    return index_(x, *every, axes=tuple(range(x.ndim)))


def _scan(x: Tensor, dim: int, op: Any) -> Tensor:
    y = op(vector(x), axis=wrap_dim(dim, x.ndim), reverse=False)
    return reshape(y, shape=tuple(x.shape))


@numpy_names
@composite("CumsumBackward0")
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The sums of all elements up to each, along a dimension.

    Shape: (*) -> (*). Dtype: that of input; int64 of integers and bools; or `dtype`.
    Raises IndexError for a dimension out of range.

    >>> torch.cumsum(torch.tensor([1.0, 2.0, 3.0]), dim=0)
    tensor([1., 3., 6.])
    """
    return _scan(accumulating(input, dtype), dim, prefix.cumsum)


@numpy_names
@composite("CumprodBackward0")
def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The products of all elements up to each, along a dimension.

    Shape: (*) -> (*). Dtype: that of input; int64 of integers and bools; or `dtype`.
    Raises IndexError for a dimension out of range.

    >>> torch.cumprod(torch.tensor([1.0, 2.0, 3.0]), dim=0)
    tensor([1., 2., 6.])
    """
    return _scan(accumulating(input, dtype), dim, prefix.cumprod)


def _last_hit(x: Tensor, dim: int, op: Any) -> Tensor:
    """Where the extreme element up to each place stands, the last of equal ones; of NaN, the last
    NaN.
    """
    hit = ops.eq(x, op(x, axis=dim, reverse=False))
    if x.dtype.is_floating_point:
        hit = ops.logical_or(hit, ops.isnan(x))
    return prefix.cummax(ops.where(hit, along(x, dim), 0), axis=dim, reverse=False)


def _extreme(input: Tensor, dim: int, name: str) -> Any:
    d, x = wrap_dim(dim, input.ndim), vector(input)
    at = _last_hit(stop_gradient(x), d, prefix.cummax if name == "cummax" else prefix.cummin)
    shape = tuple(input.shape)
    return TYPES[name](reshape(taken(x, at, d), shape=shape), reshape(at, shape=shape))


@composite("CummaxBackward0")
def cummax(input: Tensor, dim: int) -> Any:
    """The greatest element up to each and its position, the last of equal ones.

    Shape: (*) -> two of (*). Dtype: that of input, and int64.
    Raises IndexError for a dimension out of range.

    >>> torch.cummax(torch.tensor([1.0, 3.0, 2.0]), dim=0)
    tracegrad.return_types.cummax(
    values=tensor([1., 3., 3.]),
    indices=tensor([0, 1, 1]))
    """
    return _extreme(input, dim, "cummax")


@composite("CumminBackward0")
def cummin(input: Tensor, dim: int) -> Any:
    """The smallest element up to each and its position, the last of equal ones.

    Shape: (*) -> two of (*). Dtype: that of input, and int64.
    Raises IndexError for a dimension out of range.

    >>> torch.cummin(torch.tensor([3.0, 1.0, 2.0]), dim=0)
    tracegrad.return_types.cummin(
    values=tensor([3., 1., 1.]),
    indices=tensor([0, 1, 1]))
    """
    return _extreme(input, dim, "cummin")


@composite("LogcumsumexpBackward0")
@rounded_once
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """log(cumsum(exp(input))), without overflow: the sums so far are scaled by the greatest element
    so far, and scaled down when a greater one comes.

    Shape: (*) -> (*). Dtype: that of input, which must be floating point.
    Raises IndexError for a dimension out of range; NotImplementedError for integers.

    >>> torch.logcumsumexp(torch.tensor([0.0, 0.0, 0.0]), dim=0)
    tensor([0.0000, 0.6931, 1.0986])
    """
    floats_only("logcumsumexp_out_cpu", input)
    d, x = wrap_dim(dim, input.ndim), vector(input)
    flat = stop_gradient(x)
    peak = prefix.cummax(flat, axis=d, reverse=False)
    base = ops.where(ops.lt(ops.abs(peak), float("inf")), peak, 0)
    down = ops.exp(ops.minimum(prefix.shifted(base, d, False, 0.0) - base, 0))
    total = prefix.recur(down, ops.exp(x - base), axis=d, reverse=False)
    return reshape(ops.log(total) + base, shape=tuple(input.shape))


__all__ = ["cummax", "cummin", "cumprod", "cumsum", "logcumsumexp"]
