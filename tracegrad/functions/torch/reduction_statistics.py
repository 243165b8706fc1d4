"""Reductions that are statistics: variances, medians, quantiles, modes, norms, what is unique."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir.dtype import bool_, float32, float64, int64
from ...ir.ops import elementwise as ops, kinks, prefix, reduce as reductions
from ...ir.ops.elementwise import stop_gradient
from ...ir.ops.movement import expand, permute, reshape
from ...ir.ops.reduce import keepdims
from ...ir.ops.source import zeros_like
from ...tracer.autograd.graph import composite
from ...tracer.mode import forward_mode
from ...tracer.tensor.dispatch import number
from ...tracer.tensor.promotion import SCALAR_TYPE, as_dtype
from ...tracer.tensor.tensor import Tensor
from ..arguments import Dims, numpy_names, refuse, rounded_once, wrap_dim, wrap_dims
from .comparison import chosen, part, positions
from .creation import as_tensor, full
from .indexing import Pair, computed
from .pointwise import lerp
from .reduction import along, count, mean, reduced, shared, some, taken, vector, where_extreme
from .tensors import iinfo

__all__ = [
    "dist", "median", "mode", "nanmedian", "nanquantile", "quantile", "renorm", "std",
    "std_mean", "unique", "unique_consecutive", "var", "var_mean",
]


# ---- variances and standard deviations
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
    if forward_mode():
        at_zero = ops.eq(x, 0)
        return ops.where(at_zero, 0, ops.sqrt(ops.where(at_zero, 1, x)))
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


# ---- medians, quantiles, modes
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
    """The lower median of the elements that are not NaN.

    Shape: (*) -> (), or without `dim`, with positions. Dtype: that of input; positions int64.
    Raises IndexError for a dimension out of range.

    >>> torch.nanmedian(torch.tensor([3.0, float('nan'), 1.0]))
    tensor(1.)
    """
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
    """The quantiles of the elements that are not NaN.

    Shape: (*) -> that of q, and (*) without `dim`. Dtype: that of input, floating point. Raises
    RuntimeError for q outside [0, 1].

    >>> torch.nanquantile(torch.tensor([1.0, float('nan'), 3.0]), 0.5)
    tensor(2.)
    """
    return _quantile(input, q, dim, keepdim, interpolation, "nanquantile")


# ---- norms: the gradient is zero where a norm has its minimum
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
    """(sum of a^p)^(1/p), where a is not negative; of a single one this is itself."""
    if count(a, dims) == 1:
        return reductions.sum(a, dims=dims)
    if p == 2:
        return ops.sqrt(reductions.sum(a * a, dims=dims))
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
        y = kinks.length(_power(ops.abs(free), p, dims), last)
    elif math.isinf(p):
        extreme = reductions.max if p > 0 else reductions.min
        y = kinks.farthest(extreme(ops.abs(free), dims=dims), last)
    else:
        value = _power(ops.abs(free), p, dims)
        order = expand(number(p, value.dtype), shape=tuple(value.shape))
        length = next(length for high, length in kinks.lengths if p < high)
        if forward_mode():  # zeros have a tangent, zero, where the second derivative is NaN
            at_zero = ops.eq(value, 0)
            y = ops.where(at_zero, 0, length(ops.where(at_zero, 1, value), last, order))
        else:
            y = length(value, last, order)
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
    """The parts along a dimension, those whose p-norm is above `maxnorm` scaled down to it.

    Shape: (*) -> (*). Dtype: that of input, floating point. Raises RuntimeError for p not above 0.

    >>> torch.renorm(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), p=2, dim=0, maxnorm=1.0)
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]])
    """
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


# ---- different elements: how many there are depends on the values
Parts = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray, np.ndarray]]


def _different(
    input: Tensor, dim: int | None, inverse: bool, counts: bool, what: str, parts: Parts
) -> Any:
    """The different elements, or parts along a dimension; which of them stands where; how often.
    `parts` gives these for an array and an axis.
    """
    if dim is not None and not input.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    axis = 0 if dim is None else wrap_dim(dim, input.ndim)
    dtype, shape = input.dtype, tuple(input.shape) if dim is None else (-1,)

    def different(stored: np.ndarray) -> list[Pair]:
        array = dtype.decode(stored)
        values, back, number = parts(array.reshape(-1) if dim is None else array, axis)
        out = [(np.array(dtype.encode(values)), dtype)]
        if inverse:
            out.append((back.reshape(shape).astype(np.int64), int64))
        if counts:
            out.append((number.astype(np.int64), int64))
        return out

    out = tuple(computed(different, what, input))
    return out if len(out) > 1 else out[0]


def _sorted_parts(array: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    _, first, back, number = np.unique(
        array, return_index=True, return_inverse=True, return_counts=True, axis=axis,
        equal_nan=False,
    )
    return np.take(array, first, axis), back, number


def _consecutive_parts(array: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = np.moveaxis(array, axis, 0)
    rows = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    new = np.concatenate([np.ones(min(len(rows), 1), bool), (rows[1:] != rows[:-1]).any(1)])
    starts = np.flatnonzero(new)
    number = np.diff(np.append(starts, len(rows)))
    return np.take(array, starts, axis), np.cumsum(new) - 1, number


def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The different elements in order, or the different parts along a dimension; also which of them
    stands where, and how often each occurs.

    Shape: (the number of different elements,), or along `dim`; inverse: that of input.
    Dtype: that of input; inverse and counts int64. Raises IndexError for a dimension out of range.

    >>> torch.unique(torch.tensor([2, 1, 2]), return_counts=True)
    (tensor([1, 2]), tensor([1, 2]))
    """
    return _different(input, dim, return_inverse, return_counts, "unique()", _sorted_parts)


def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements without those that equal the one before; or the parts along a dimension.

    Shape: (*) -> (n,), and where asked for the positions (*) and the counts (n,). Dtype: that of
    input; int64.

    >>> torch.unique_consecutive(torch.tensor([1, 1, 2, 1]))
    tensor([1, 2, 1])
    """
    what = "unique_consecutive()"
    return _different(input, dim, return_inverse, return_counts, what, _consecutive_parts)
