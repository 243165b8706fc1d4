"""Differences of neighbours, and integrals by trapezoids."""

from __future__ import annotations

from typing import Any

from ...ir.dtype import bool_
from ...ir.ops import elementwise as ops
from ...ir.ops import reduce as reductions
from ...ir.ops.movement import reshape
from ..tensor import Tensor
from .joining import cat
from .ordering import part
from .prefix import cumsum
from .reduce import numpy_names, reduced, wrap_dim


def _neighbours(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    n = x.shape[dim]
    return part(x, dim, 0, max(n - 1, 0)), part(x, dim, min(n, 1), n)


@numpy_names
def diff(input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None,
         append: Tensor | None = None) -> Tensor:  # fmt: skip
    """The n-th differences of neighbours along a dimension."""
    if input.ndim == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    d = wrap_dim(dim, input.ndim)
    if n == 0:
        return input.clone()
    x = input
    if prepend is not None or append is not None:
        x = cat([t for t in (prepend, input, append) if t is not None], d)
    for _ in range(min(n, x.shape[d])):
        left, right = _neighbours(x, d)
        x = ops.logical_xor(left, right) if x.dtype is bool_ else right - left
    return x.clone() if x is input else x


def _steps(y: Tensor, x: Tensor | None, dx: Any, dim: int, name: str) -> Any:
    """The distances of the samples."""
    if x is None:
        return 1 if dx is None else dx
    if dx is not None:
        raise TypeError(f"{name}() takes either x or dx, not both")
    if bool_ in (x.dtype, y.dtype):
        raise RuntimeError(
            f"{name}: received a bool input for `x` or `y`, but bool is not supported"
        )
    if x.ndim == 1:
        if x.shape[0] != y.shape[dim]:
            raise RuntimeError(f"{name}: There must be one `x` value for each sample point")
        x = reshape(x, shape=tuple(x.shape[0] if d == dim else 1 for d in range(y.ndim)))
    elif x.ndim < y.ndim:
        x = reshape(x, shape=(1,) * (y.ndim - x.ndim) + tuple(x.shape))
    left, right = _neighbours(x, dim)
    return right - left


def _areas(y: Tensor, x: Tensor | None, dx: Any, dim: int, name: str) -> Tensor:
    if y.dtype is bool_:
        raise RuntimeError(f"{name}: received a bool input for `y`, but bool is not supported")
    left, right = _neighbours(y, dim)
    return (left + right) * _steps(y, x, dx, dim, name)


def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The integral along a dimension of the line through samples, at the points x or `dx` apart."""
    d = wrap_dim(dim, y.ndim)
    if y.shape[d] == 0:
        return reduced(reductions.sum, y, (d,), False)
    return reduced(reductions.sum, _areas(y, x, dx, d, "trapezoid"), (d,), False) / 2


trapz = trapezoid


def cumulative_trapezoid(
    y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1
) -> Tensor:
    """The integrals from the first sample to each of the others."""
    d = wrap_dim(dim, y.ndim)
    return cumsum(_areas(y, x, dx, d, "cumulative_trapezoid") / 2, d)


__all__ = ["cumulative_trapezoid", "diff", "trapezoid", "trapz"]
