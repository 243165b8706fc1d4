"""How far numbers lie from their mean, and from zero: variances and norms."""

from __future__ import annotations

import math
from typing import Any

from ...ir.ops import elementwise as ops
from ...ir.ops import reduce as reductions
from ..promotion import SCALAR_TYPE, as_dtype
from ..tape import composite
from ..tensor import Tensor
from .reduce import Dims, count, mean, numpy_names, reduced, wrap_dims


def _spread(input: Tensor, dim: Dims, unbiased: Any, correction: Any, keepdim: bool) -> Tensor:
    if isinstance(dim, bool):  # var(unbiased)
        dim, unbiased = None, dim
    if unbiased is not None:
        correction = 1 if unbiased else 0
    if not input.dtype.is_floating_point:
        raise RuntimeError("std and var only support floating point and complex dtypes")
    dims = wrap_dims(dim, input.ndim)
    n = count(input, dims)
    d = input - reduced(reductions.sum, input, dims, True) / (n if n else 0.0)
    rest = n - correction
    return reduced(reductions.sum, d * d, dims, keepdim) / (rest if rest > 0 else 0.0)


@numpy_names
@composite("VarBackward0")
def var(input: Tensor, dim: Dims = None, unbiased: bool | None = None, keepdim: bool = False, *,
        correction: Any = 1) -> Tensor:  # fmt: skip
    """The variance; divided by n - correction."""
    return _spread(input, dim, unbiased, correction, keepdim)


@numpy_names
@composite("StdBackward0")
def std(input: Tensor, dim: Dims = None, unbiased: bool | None = None, keepdim: bool = False, *,
        correction: Any = 1) -> Tensor:  # fmt: skip
    """The standard deviation; the square root of `var`."""
    return _root(_spread(input, dim, unbiased, correction, keepdim))


def _root(x: Tensor) -> Tensor:
    """sqrt with gradient zero at zero, where a norm has its minimum."""
    zero = ops.eq(x, 0)
    return ops.where(zero, 0, ops.sqrt(ops.where(zero, 1, x)))


def var_mean(
    input: Tensor, dim: Dims = None, *, correction: Any = 1, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """Variance and mean."""
    return var(input, dim, keepdim=keepdim, correction=correction), mean(input, dim, keepdim)


def std_mean(
    input: Tensor, dim: Dims = None, *, correction: Any = 1, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean."""
    return std(input, dim, keepdim=keepdim, correction=correction), mean(input, dim, keepdim)


@composite("LinalgVectorNormBackward0")
def norm(
    input: Tensor, p: Any = "fro", dim: Dims = None, keepdim: bool = False, dtype: Any = None
) -> Tensor:
    """The p-norm of all elements, or along dimensions."""
    x = input if dtype is None else input.to(as_dtype(dtype))
    if not x.dtype.is_floating_point:
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{SCALAR_TYPE[x.dtype]}"
        )
    dims, p = wrap_dims(dim, x.ndim), 2.0 if p in ("fro", None) else float(p)
    if p == 2:
        return _root(reduced(reductions.sum, x * x, dims, keepdim))
    a = ops.abs(x)
    if p == math.inf:
        return reduced(reductions.max, a, dims, keepdim)
    if p == -math.inf:
        return reduced(reductions.min, a, dims, keepdim)
    if p == 0:
        return reduced(reductions.sum, ops.ne(x, 0).to(x.dtype), dims, keepdim)
    if p == 1:
        return reduced(reductions.sum, a, dims, keepdim)
    return ops.pow(reduced(reductions.sum, ops.pow(a, p), dims, keepdim), 1 / p)


__all__ = ["norm", "std", "std_mean", "var", "var_mean"]
