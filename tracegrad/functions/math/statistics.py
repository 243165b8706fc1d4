"""What is in the middle and what occurs most: medians, quantiles, modes; and how variables go
together.
"""

from __future__ import annotations

import math
from typing import Any

from ...ir.dtype import bool_, float32, float64, int64
from ...ir.ops import elementwise as ops, prefix, reduce as reductions
from ...ir.ops.elementwise import stop_gradient
from ...ir.ops.movement import expand, permute, reshape
from ...tracer.autograd.graph import composite
from ...tracer.tensor.promotion import SCALAR_TYPE
from ...tracer.tensor.tensor import Tensor
from ..linalg.matmul import matmul
from ..tensors.creation import as_tensor, full
from ..tensors.triangular import diag
from .clamp import clamp
from .cumulative import taken, vector
from .dtype_limits import iinfo
from .pointwise import lerp
from .reduction import along, mean, numpy_names, reduced, shared, some, where_extreme, wrap_dim
from .scaled_operands import refuse
from .sorting import chosen, part, positions
from .upcast import rounded_once

_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _missing(x: Tensor, dim: int) -> Tensor:
    """How many elements are NaN along a dimension, which is kept."""
    return reduced(reductions.sum, ops.cast(ops.isnan(x), dtype=int64), (dim,), True)


# ---- medians
def _middle(x: Tensor, dim: int, skip: bool) -> Tensor:
    """The position along `dim` of the lower median; of a NaN, if there is one and none are to be
    skipped.
    """
    at, n = positions(x, dim), x.shape[dim]
    if x.dtype.kind != "float":
        return part(at, dim, (n - 1) // 2, (n - 1) // 2 + 1)
    nans = _missing(x, dim)
    if skip:
        rank = ops.maximum((n - 1 - nans) // 2, 0)
    else:
        rank = ops.where(ops.gt(nans, 0), n - nans, (n - 1) // 2)
    return taken(at, rank, dim)


def _whole(input: Tensor, skip: bool) -> Tensor:
    """The median of all; elements equal to it share the gradient."""
    x = reshape(input, shape=(input.numel(),))
    if x.shape[0] == 0:
        if x.dtype.kind == "float":
            return ops.where(False, x.sum(), math.nan)  # its gradient is zero
        wide = x.dtype.kind == "int" and x.dtype.bits >= 32  # NaN as this type, as torch casts it
        return full((), iinfo(x.dtype).min if wide else x.dtype is bool_, dtype=x.dtype)
    if x.dtype is bool_:
        raise refuse("median_cpu", bool_)
    flat = stop_gradient(x)
    median = taken(flat, _middle(flat, 0, skip), 0)
    if x.dtype.kind != "float":
        return reshape(median, shape=())
    return shared(x, reshape(median, shape=()))


def _along(input: Tensor, dim: int, keepdim: bool, name: str) -> Any:
    d, x = wrap_dim(dim, input.ndim), vector(input)
    some(x, (d,), name)
    return chosen(input, _middle(stop_gradient(x), d, name == "nanmedian"), d, keepdim, name)


def _median(input: Tensor, dim: int | None, keepdim: bool, name: str) -> Any:
    if dim is None:
        return composite(f"{name.title()}Backward0")(_whole)(input, name == "nanmedian")
    return composite(f"{name.title()}Backward1")(_along)(input, dim, keepdim, name)


@numpy_names
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median of all elements; along a dimension, also where it stands.

    Shape: (*) -> (), or two without the dimension `dim`. Dtype: that of input, and int64. NaN wins.
    Raises IndexError for a dimension out of range.

    >>> torch.median(torch.tensor([3.0, 1.0, 2.0, 4.0]))
    tensor(2.)
    """
    return _median(input, dim, keepdim, "median")


@numpy_names
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median of the elements that are not NaN."""
    return _median(input, dim, keepdim, "nanmedian")


@numpy_names
@composite("ModeBackward0")
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """The most frequent element along a dimension, the smallest of several, and where it stands
    last.

    Shape: (*) -> two without the dimension `dim`. Dtype: that of input, and int64.
    Raises IndexError for a dimension out of range.

    >>> torch.mode(torch.tensor([1, 2, 2]))
    tracegrad.return_types.mode(
    values=tensor(2),
    indices=tensor(2))
    """
    d, x = wrap_dim(dim, input.ndim), vector(input)
    some(x, (d,), "mode")
    at = positions(x, d)
    ordered = taken(stop_gradient(x), at, d)
    here = along(ordered, d)
    new = ops.ne(ordered, prefix.shifted(ordered, d, False, 0))
    begins = ops.where(ops.logical_and(new, ops.gt(here, 0)), here, 0)
    run = here - prefix.cummax(begins, axis=d, reverse=False)
    return chosen(input, taken(at, where_extreme(run, d, reductions.max), d), d, keepdim, "mode")


# ---- quantiles
def _asked(input: Tensor, q: Any, interpolation: str, name: str) -> Tensor:
    """q as a tensor, after all that may be wrong with the arguments."""
    if input.numel() == 0:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if input.dtype not in (float32, float64):
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, "
            f"but got {interpolation}"
        )
    if not isinstance(q, Tensor):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
        return as_tensor(q, dtype=input.dtype)
    if q.ndim > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
    if q.dtype is not input.dtype:
        raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
    inside = ops.logical_and(ops.ge(q, 0), ops.le(q, 1))
    if not bool(reductions.min(inside, dims=tuple(range(q.ndim)))):
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    return q


def _quantile(input: Tensor, q: Any, dim: Any, keepdim: bool, how: str, name: str) -> Tensor:
    q = _asked(input, q, how, name)
    if dim is None:
        x, rest = reshape(input, shape=(input.numel(),)), (1,) * input.ndim if keepdim else ()
    else:
        d, x = wrap_dim(dim, input.ndim), vector(input)
        left = tuple(k for k in range(x.ndim) if k != d)
        rest = tuple(n if k != d else 1 for k, n in enumerate(input.shape) if k != d or keepdim)
        x = permute(x, axes=(*left, d))
    last, n = x.ndim - 1, x.shape[-1]
    x = taken(x, positions(x, last), last)
    nans = _missing(stop_gradient(x), last)
    if name == "nanquantile":
        rank = ops.maximum(ops.cast(n - 1 - nans, dtype=x.dtype), 0) * q
    else:
        rank = ops.where(ops.gt(nans, 0), n - 1, q * (n - 1))
    rank = expand(rank, shape=(*x.shape[:-1], q.numel()))
    y = _between(x, rank, how, last)
    y = permute(y, axes=(last, *range(last)))
    return reshape(y, shape=(*q.shape, *rest))


def _between(x: Tensor, rank: Tensor, how: str, dim: int) -> Tensor:
    """The elements of sorted x at ranks that are not whole."""
    def at(whole: Tensor) -> Tensor:
        return taken(x, ops.cast(stop_gradient(whole), dtype=int64), dim)

    rounding = {"lower": ops.floor, "higher": ops.ceil, "nearest": ops.round}.get(how)
    if rounding is not None:
        return at(rounding(rank))
    below = stop_gradient(ops.floor(rank))
    weight = 0.5 if how == "midpoint" else rank - below
    return lerp(at(below), at(ops.ceil(rank)), weight)


@numpy_names
@composite("QuantileBackward0")
def quantile(input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *,
             interpolation: str = "linear") -> Tensor:
    """The elements below which the fractions q of all lie, along a dimension; NaN where there is
    one.

    Shape: (*) -> (*q, *rest), with `dim` as in `sum`. Dtype: that of input, float32 or float64.
    Raises RuntimeError for q outside [0, 1] or of another dtype than input.

    >>> torch.quantile(torch.tensor([0.0, 1.0, 2.0, 4.0]), 0.5)
    tensor(1.5000)
    """
    return _quantile(input, q, dim, keepdim, interpolation, "quantile")


@numpy_names
@composite("NanquantileBackward0")
def nanquantile(input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *,
                interpolation: str = "linear") -> Tensor:
    """The quantiles of the elements that are not NaN."""
    return _quantile(input, q, dim, keepdim, interpolation, "nanquantile")


# ---- variables in rows, observations in columns
def _weights(w: Any, n: int, name: str, kinds: tuple[str, ...]) -> None:
    if w is None:
        return
    if w.ndim > 1:
        raise RuntimeError(
            f"cov(): expected {name} to have one or fewer dimensions but got {name} with {w.ndim} "
            "dimensions"
        )
    if w.dtype.kind not in kinds:
        what = "floating point" if "float" in kinds else "integral"
        raise RuntimeError(
            f"cov(): expected {name} to have {what} dtype but got {name} with "
            f"{SCALAR_TYPE[w.dtype]} dtype"
        )
    if w.numel() != n:
        raise RuntimeError(
            f"cov(): expected {name} to have the same numel as there are observations in the input "
            f"but got {w.numel()} != {n}"
        )


@rounded_once
def cov(input: Tensor, *, correction: int = 1, fweights: Tensor | None = None,
        aweights: Tensor | None = None) -> Tensor:
    """The covariances of variables, which are rows. An observation counts `fweights` times and is
    worth `aweights`.

    Shape: (variables, observations) -> (variables, variables); (observations,) -> ().
    Dtype: that of input. Raises RuntimeError for more than two dimensions.

    >>> torch.cov(torch.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    if input.ndim > 2:
        raise RuntimeError(
            "cov(): expected input to have two or fewer dimensions but got an input with "
            f"{input.ndim} dimensions"
        )
    x = input if input.ndim == 2 else reshape(input, shape=(1, input.numel()))
    n = x.shape[1]
    _weights(fweights, n, "fweights", ("int", "uint"))
    _weights(aweights, n, "aweights", ("float",))
    given = [reshape(w, shape=(n,)) for w in (fweights, aweights) if w is not None]
    if not given:
        x = x - mean(x if x.dtype.kind == "float" else x * 1.0, 1, keepdim=True)
        y, norm = x, as_tensor(max(n - correction, 0), dtype=x.dtype)
    else:
        w = given[0] if len(given) == 1 else given[0] * given[1]
        total = reductions.sum(w, dims=(0,))
        x = x - reduced(reductions.sum, x * w, (1,), True) / total
        worth = total if aweights is None else reductions.sum(w * given[-1], dims=(0,)) / total
        lost = correction if aweights is None else correction * worth
        y, norm = x * w, ops.maximum(total - lost, 0)
    c = matmul(x, permute(y, axes=(1, 0))) / norm
    return c.squeeze()


@rounded_once
def corrcoef(input: Tensor) -> Tensor:
    """The correlations of variables, which are rows.

    Shape: (variables, observations) -> (variables, variables); (observations,) -> ().
    Dtype: that of input. Raises RuntimeError for more than two dimensions.

    >>> torch.corrcoef(torch.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    if input.ndim > 2:
        raise RuntimeError(
            "corrcoef(): expected input to have two or fewer dimensions but got an input with "
            f"{input.ndim} dimensions"
        )
    c = cov(input)
    if c.ndim == 0:
        return c / c
    deviation = ops.sqrt(diag(c))
    return clamp(c / deviation.unsqueeze(1) / deviation.unsqueeze(0), -1, 1)


__all__ = ["corrcoef", "cov", "median", "mode", "nanmedian", "nanquantile", "quantile"]
