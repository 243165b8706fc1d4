"""How far numbers lie from zero, and from each other. The gradient is zero where a norm has its
minimum.
"""

from __future__ import annotations

import math
from typing import Any

from ...ir.ops import elementwise as ops, kinks, reduce as reductions
from ...ir.ops.movement import expand, permute, reshape
from ...ir.ops.reduce import keepdims
from ...tracer.autograd.graph import composite
from ...tracer.tensor.dispatch import number
from ...tracer.tensor.promotion import SCALAR_TYPE, as_dtype
from ...tracer.tensor.tensor import Tensor
from .reduction import Dims, count, reduced, wrap_dims
from .upcast import rounded_once


def _accepted(x: Tensor, dtype: Any) -> Tensor:
    """x in the dtype in which its norm is computed."""
    if x.dtype.kind != "float":
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{SCALAR_TYPE[x.dtype]}"
        )
    if dtype is None:
        return x
    to = as_dtype(dtype)
    if to.kind != "float":
        raise RuntimeError(
            "linalg.vector_norm: dtype should be floating point or complex, but got "
            f"{SCALAR_TYPE[to]}"
        )
    if to.bits < x.dtype.bits:
        raise RuntimeError(
            f"linalg.vector_norm: the dtype of the input ({SCALAR_TYPE[x.dtype]}) should be "
            f"convertible without narrowing to the specified dtype ({SCALAR_TYPE[to]})"
        )
    return x.to(to)


def _power(a: Tensor, p: float, dims: tuple[int, ...]) -> Tensor:
    """(sum of a^p)^(1/p), where a is not negative."""
    return ops.pow(reductions.sum(ops.pow(a, p), dims=dims), 1 / p)


@composite("LinalgVectorNormBackward0")
def vector_norm(
    x: Tensor, ord: Any = 2, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The norm (sum of |x|^ord)^(1 / ord) of all elements, or along dimensions. ord may be
    infinite (the greatest, or smallest), or 0 (how many are not zero).

    Shape: (*) -> (), or without the dimensions `dim`; `keepdim` leaves them with extent 1.
    Dtype: that of x, which must be floating point, or `dtype`.
    Raises RuntimeError for integers; IndexError for a dimension out of range.

    >>> torch.linalg.vector_norm(torch.tensor([3.0, -4.0]), ord=1)
    tensor(7.)
    """
    x, p = _accepted(x, dtype), float(ord)
    dims = wrap_dims(dim, x.ndim)
    if (p < 0 or p == math.inf) and x.numel() == 0:
        name = ord if ord not in (math.inf, -math.inf) else str(p)
        if len(dims) == x.ndim:
            raise RuntimeError(
                f"linalg.vector_norm cannot compute the {name} norm on an empty tensor because the "
                "operation does not have an identity"
            )
        if count(x, dims) == 0:
            raise RuntimeError(
                f"linalg.vector_norm cannot compute the {name} norm on the dimension {dims[0]} "
                "because this dimension is empty and the operation does not have an identity"
            )
    return _norm(x, p, dims, keepdim)


@rounded_once
def _norm(x: Tensor, p: float, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    if p == 0:
        return reduced(reductions.sum, ops.where(ops.eq(x, 0), x * 0, 1), dims, keepdim)
    if p == 1:
        return reduced(reductions.sum, ops.abs(x), dims, keepdim)
    rest = tuple(d for d in range(x.ndim) if d not in dims)
    last, free = permute(x, axes=(*rest, *dims)), ops.stop_gradient(x)
    if p == 2:
        y = kinks.length(ops.sqrt(reductions.sum(free * free, dims=dims)), last)
    elif math.isinf(p):
        extreme = reductions.max if p > 0 else reductions.min
        y = kinks.farthest(extreme(ops.abs(free), dims=dims), last)
    else:
        value = _power(ops.abs(free), p, dims)
        order = expand(number(p, value.dtype), shape=tuple(value.shape))
        y = next(length for high, length in kinks.lengths if p < high)(value, last, order)
    return reshape(y, shape=keepdims(tuple(x.shape), dims)) if keepdim else y


@composite("DistBackward0")
@rounded_once
def dist(input: Tensor, other: Tensor, p: Any = 2) -> Tensor:
    """The p-norm of input - other.

    Shape: two that broadcast -> (). Dtype: the promoted one, floating point.
    Raises RuntimeError if the shapes do not broadcast.

    >>> torch.dist(torch.tensor([0.0, 0.0]), torch.tensor([3.0, 4.0]))
    tensor(5.)
    """
    return vector_norm(input - other, p)


@composite("RenormBackward0")
@rounded_once
def renorm(input: Tensor, p: Any, dim: int, maxnorm: Any) -> Tensor:
    """The parts along a dimension, those whose p-norm is above `maxnorm` scaled down to it."""
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if not maxnorm >= 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    if input.ndim < 2:
        raise RuntimeError(
            f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions"
        )
    (d,) = wrap_dims(dim, input.ndim)
    others = [k for k in range(input.ndim) if k != d]
    far = ops.gt(vector_norm(ops.stop_gradient(input), p, others, keepdim=True), maxnorm)
    length = vector_norm(ops.where(far, input, 0), p, others, keepdim=True)
    return input * ops.where(far, maxnorm / (length + 1e-7), 1.0)


__all__ = ["dist", "renorm"]
