"""Exponentials, divided by their sum, and the logarithm of that sum; without overflow."""

from __future__ import annotations

import math
from typing import Any

from ...ir.ops import elementwise as ops, kinks, reduce as reductions
from ...ir.ops.elementwise import stop_gradient
from ...ir.ops.movement import reshape
from ...tracer.autograd.graph import composite
from ...tracer.mode import get_default_dtype
from ...tracer.tensor.gradient_layout import to_contiguous
from ...tracer.tensor.promotion import SCALAR_TYPE, as_dtype, common_dtype
from ...tracer.tensor.tensor import Tensor
from ..tensors.broadcasting import broadcast_tensors
from .reduction import Dims, numpy_names, one_dim, reduced, wrap_dim, wrap_dims
from .scaled_operands import refuse
from .upcast import rounded_once

__all__ = ["log_softmax", "logaddexp", "logaddexp2", "logsumexp", "softmax"]


def _float(x: Tensor, dim: int, dtype: Any, name: str) -> Tensor:
    x = x if dtype is None else x.to(as_dtype(dtype))
    if not x.dtype.is_floating_point:
        name += "_lastdim" if wrap_dim(dim, x.ndim) + 1 >= x.ndim else ""
        kind = SCALAR_TYPE[x.dtype]
        raise NotImplementedError(f"\"{name}_kernel_impl\" not implemented for '{kind}'")
    return x


def _peak(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The maximum, to be subtracted before exp; it has no say in the gradient."""
    return reduced(reductions.max, stop_gradient(x), dims, True)


@numpy_names
@composite("LogsumexpBackward0")
@rounded_once
def logsumexp(input: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """log(sum(exp(input))), without overflow.

    Shape: (*) -> without the dimensions `dim`; `keepdim` leaves them with extent 1.
    Dtype: that of input; integers become the default dtype.
    Raises IndexError for a dimension out of range.

    >>> torch.logsumexp(torch.tensor([1000.0, 1000.0]), dim=0)
    tensor(1000.6932)
    """
    dims = wrap_dims(dim, input.ndim)
    if not input.dtype.is_floating_point:
        input = input.to(get_default_dtype())
    peak = _peak(input, dims)
    peak = ops.where(ops.lt(ops.abs(peak), math.inf), peak, 0)
    y = ops.log(reduced(reductions.sum, ops.exp(input - peak), dims, True)) + peak
    return (
        y
        if keepdim
        else reshape(y, shape=tuple(n for d, n in enumerate(input.shape) if d not in dims))
    )


@composite("SoftmaxBackward0")
def softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """exp(input), divided by its sum along `dim`.

    Shape: (*) -> (*). Dtype: that of input, which must be floating point, or `dtype`.
    Raises IndexError for a dimension out of range; NotImplementedError for integers.

    >>> torch.softmax(torch.tensor([0.0, 1.0, 1.0]), dim=0)
    tensor([0.1554, 0.4223, 0.4223])
    """
    return _softmax(_float(input, dim, dtype, "softmax"), one_dim(dim, input.ndim))


@rounded_once
def _softmax(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    e = ops.exp(x - _peak(x, dims))
    return to_contiguous(e / reduced(reductions.sum, e, dims, True))


@composite("LogSoftmaxBackward0")
def log_softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """The logarithm of `softmax`, without overflow.

    Shape: (*) -> (*). Dtype: that of input, which must be floating point, or `dtype`.
    Raises IndexError for a dimension out of range; NotImplementedError for integers.

    >>> torch.log_softmax(torch.tensor([0.0, 1.0, 1.0]), dim=0)
    tensor([-1.8620, -0.8620, -0.8620])
    """
    return _log_softmax(_float(input, dim, dtype, "log_softmax"), one_dim(dim, input.ndim))


@rounded_once
def _log_softmax(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    d = x - _peak(x, dims)
    return to_contiguous(d - ops.log(reduced(reductions.sum, ops.exp(d), dims, True)))


# ---- of two
@composite("LogaddexpBackward0")
@rounded_once
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(exp(input) + exp(other)), without overflow.

    Shape: two that broadcast -> the shape to which they do. Dtype: the promoted one.
    Raises RuntimeError if the shapes do not broadcast.

    >>> torch.logaddexp(torch.tensor([1000.0]), torch.tensor([1000.0]))
    tensor([1000.6932])
    """
    a, b = _floats(input, other, "logaddexp_cpu")
    high, gap = _gap(a, b)
    return kinks.logaddexp(high + ops.log1p(ops.exp(gap)), a, b)


@composite("Logaddexp2Backward0")
@rounded_once
def logaddexp2(input: Tensor, other: Tensor) -> Tensor:
    """log2(2 ** input + 2 ** other), without overflow."""
    a, b = _floats(input, other, "logaddexp2_cpu")
    high, gap = _gap(a, b)
    y = high + ops.log1p(ops.exp(gap * math.log(2))) * (1 / math.log(2))
    return kinks.logaddexp2(y, a, b)


def _floats(a: Tensor, b: Tensor, kernel: str) -> tuple[Tensor, Tensor]:
    dtype = common_dtype((a, b))
    if dtype.kind != "float":
        raise refuse(kernel, dtype)
    return broadcast_tensors(a.to(dtype), b.to(dtype))  # type: ignore[return-value]


def _gap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The larger of two, and how far below it the other is; without history."""
    a, b = ops.stop_gradient(a), ops.stop_gradient(b)
    above = ops.logical_or(ops.ge(a, b), ops.isnan(a))
    high, low = ops.where(above, a, b), ops.where(above, b, a)
    # two equal infinities, whose difference is NaN
    same = ops.logical_and(ops.eq(a, b), ops.eq(ops.abs(a), math.inf))
    return high, ops.where(same, 0, low - ops.where(same, 0, high))
