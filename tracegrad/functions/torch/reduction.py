"""Reductions: sums, products, means, extremes, truth, and exponentials divided by their sum."""

from __future__ import annotations

import math
from typing import Any

from ...ir.dtype import DType, bool_, int64, uint8
from ...ir.ops import elementwise as ops, kinks, reduce as reductions
from ...ir.ops.elementwise import stop_gradient
from ...ir.ops.index import index as index_
from ...ir.ops.movement import reshape
from ...ir.ops.reduce import keepdims
from ...ir.ops.source import iota
from ...tracer.autograd.graph import composite, with_grad_name
from ...tracer.autograd.plans import shortcut
from ...tracer.mode import forward_mode, get_default_dtype
from ...tracer.tensor.dispatch import bind
from ...tracer.tensor.gradient_layout import to_contiguous
from ...tracer.tensor.masked_selection import Selection
from ...tracer.tensor.promotion import SCALAR_TYPE, as_dtype, common_dtype
from ...tracer.tensor.tensor import Tensor
from ..arguments import Dims, numpy_names, one_dim, refuse, rounded_once, wrap_dim, wrap_dims
from ..named_results import TYPES
from .pointwise_primitives import maximum, minimum
from .shape import broadcast_tensors
from .tensors import finfo

__all__ = [
    "all", "amax", "amin", "aminmax", "any", "argmax", "argmin", "count_nonzero", "log_softmax",
    "logaddexp", "logaddexp2", "logsumexp", "max", "mean", "min", "nanmean", "nansum", "prod",
    "softmax", "sum",
]


def reduced(op: Any, x: Tensor, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    y = op(x, dims=dims)
    return reshape(y, shape=keepdims(tuple(x.shape), dims)) if keepdim else y


def _titled(y: Tensor, title: str, dim: Any) -> Tensor:
    """torch numbers the overloads: 0 for the whole tensor, 1 along dimensions."""
    return with_grad_name(y, f"{title}Backward{0 if dim is None else 1}")


def count(x: Tensor, dims: tuple[int, ...]) -> int:
    return math.prod(x.shape[d] for d in dims)


def accumulating(x: Tensor, dtype: Any) -> Tensor:
    """Integers are summed as int64."""
    if dtype is not None:
        return x.to(as_dtype(dtype))
    return x if x.dtype.is_floating_point else x.to(int64)


# ---- sums and products
@numpy_names
def sum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum of all elements, or along dimensions.

    Shape: (*) -> (), or without the dimensions `dim`; `keepdim` leaves them with extent 1.
    Dtype: that of input; int64 of integers and bools; or `dtype`, to which input is cast first.
    Raises IndexError for a dimension out of range.

    >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> torch.sum(x), torch.sum(x, dim=0)
    (tensor(10.), tensor([4., 6.]))
    """
    return _titled(_sum(input, dim, keepdim, dtype), "Sum", dim)


@composite("SumBackward0")
def _sum(input: Tensor, dim: Dims, keepdim: bool, dtype: Any) -> Tensor:
    x = accumulating(input, dtype)
    return reduced(reductions.sum, x, wrap_dims(dim, x.ndim), keepdim)


@numpy_names
def prod(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The product of all elements, or along a dimension.

    Shape: (*) -> (), or without the dimension `dim`; `keepdim` leaves it with extent 1.
    Dtype: that of input; int64 of integers and bools; or `dtype`, to which input is cast first.
    Raises IndexError for a dimension out of range.

    >>> torch.prod(torch.tensor([2.0, 3.0, 4.0]))
    tensor(24.)
    """
    if dim is not None:
        dim = wrap_dim(dim, input.ndim)
    return _titled(_prod(input, dim, keepdim, dtype), "Prod", dim)


@composite("ProdBackward0")
def _prod(input: Tensor, dim: int | None, keepdim: bool, dtype: Any) -> Tensor:
    x = accumulating(input, dtype)
    return reduced(reductions.prod, x, wrap_dims(dim, x.ndim), keepdim)


@numpy_names
def mean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean of all elements, or along dimensions.

    Shape: (*) -> (), or without the dimensions `dim`; `keepdim` leaves them with extent 1.
    Dtype: that of input, which must be floating point, or `dtype`. The mean of no elements is NaN.
    Raises RuntimeError for integers without `dtype`; IndexError for a dimension out of range.

    >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> torch.mean(x, dim=1, keepdim=True)
    tensor([[1.5000],
            [3.5000]])
    """
    return _titled(_mean(input, dim, keepdim, dtype), "Mean", dim)


@composite("MeanBackward0")
def _mean(input: Tensor, dim: Dims, keepdim: bool, dtype: Any) -> Tensor:
    to = input.dtype if dtype is None else as_dtype(dtype)
    if not to.is_floating_point:
        raise RuntimeError(
            f"mean(): could not infer output dtype. {'Input' if dtype is None else 'Optional'} "
            "dtype must be either a floating point or complex dtype. "
            f"Got: {SCALAR_TYPE[to]}"
        )
    return _average(input.to(to), wrap_dims(dim, input.ndim), keepdim)


@rounded_once
def _average(x: Tensor, dims: tuple[int, ...], keepdim: bool) -> Tensor:
    total = reduced(reductions.sum, x, dims, keepdim)
    if isinstance(x, Selection):
        return total / x.count(dims)
    n = count(x, dims)
    return total / (n if n else 0.0)


@numpy_names
@composite("NansumBackward0")
def nansum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum, with NaN counted as zero.

    Shape: (*) -> (), or without the dimensions `dim`; `keepdim` leaves them with extent 1.
    Dtype: that of input; int64 of integers and bools; or `dtype`.
    Raises IndexError for a dimension out of range.

    >>> torch.nansum(torch.tensor([1.0, float("nan"), 2.0]))
    tensor(3.)
    """
    return sum(ops.where(ops.isnan(input), 0, input), dim, keepdim, dtype=dtype)


@numpy_names
def nanmean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean of the elements that are not NaN.

    Shape: (*) -> (), or without the dimensions `dim`; `keepdim` leaves them with extent 1.
    Dtype: that of input, which must be floating point, or `dtype`.
    Raises RuntimeError for integers; IndexError for a dimension out of range.

    >>> torch.nanmean(torch.tensor([1.0, float("nan"), 2.0]))
    tensor(1.5000)
    """
    if not input.dtype.is_floating_point:
        raise RuntimeError(
            "nanmean(): expected input to have floating point or complex dtype but got "
            f"{SCALAR_TYPE[input.dtype]}"
        )
    there = sum(ops.logical_not(ops.isnan(input)), dim, keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / there


# ---- extremes
def some(x: Tensor, dims: tuple[int, ...], name: str, asked: Any = 0) -> None:
    if count(x, dims) == 0 and asked in (None, (), []):
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
            "Specify the reduction dim with the 'dim' argument."
        )
    if count(x, dims) == 0 and dims:
        raise IndexError(f"{name}(): Expected reduction dim {dims[0]} to have non-zero size.")


@numpy_names
@composite("AmaxBackward0")
def amax(input: Tensor, dim: Dims = (), keepdim: bool = False) -> Tensor:
    """The greatest element; equal ones share the gradient.

    Shape: (*) -> (), or without the dimensions `dim`; `keepdim` leaves them with extent 1.
    Dtype: that of input. NaN wins.
    Raises IndexError for a dimension out of range or one without elements.

    >>> torch.amax(torch.tensor([[1.0, 4.0], [3.0, 2.0]]), dim=1)
    tensor([4., 3.])
    """
    dims = wrap_dims(dim, input.ndim)
    some(input, dims, "amax", dim)
    return reduced(reductions.max, input, dims, keepdim)


@numpy_names
@composite("AminBackward0")
def amin(input: Tensor, dim: Dims = (), keepdim: bool = False) -> Tensor:
    """The smallest element; equal ones share the gradient.

    Shape: (*) -> (), or without the dimensions `dim`; `keepdim` leaves them with extent 1.
    Dtype: that of input. NaN wins.
    Raises IndexError for a dimension out of range or one without elements.

    >>> torch.amin(torch.tensor([[1.0, 4.0], [3.0, 2.0]]), dim=1)
    tensor([1., 2.])
    """
    dims = wrap_dims(dim, input.ndim)
    some(input, dims, "amin", dim)
    return reduced(reductions.min, input, dims, keepdim)


def along(x: Tensor, dim: int, dtype: DType = int64) -> Tensor:
    """The positions 0, 1, ... along a dimension of x, in a shape that broadcasts with it."""
    n = x.shape[dim]
    counted = bind(iota, (), {"shape": (n,), "dtype": dtype})
    return reshape(counted, shape=tuple(n if d == dim else 1 for d in range(x.ndim)))


def one_hot_pick(x: Tensor, index: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """x at `index` along `dim` (index has 1 there), as a comparison and a sum: it fuses, and so
    does its gradient.
    """
    hit = ops.eq(along(x, dim, index.dtype), index)
    if x.dtype is bool_:
        return reduced(reductions.max, ops.logical_and(hit, x), (dim,), keepdim)
    return reduced(reductions.sum, ops.where(hit, x, 0), (dim,), keepdim)


def where_extreme(x: Tensor, dim: int, op: Any) -> Tensor:
    """The first position along `dim` of the extreme element, or of NaN; `dim` is kept."""
    x = stop_gradient(x)
    best = reduced(op, x, (dim,), True)
    hit = ops.eq(x, best)
    if x.dtype.is_floating_point:
        hit = ops.logical_or(hit, ops.isnan(x))
    return reduced(reductions.min, ops.where(hit, along(x, dim), x.shape[dim]), (dim,), True)


def _arg(input: Tensor, dim: int | None, keepdim: bool, op: Any, name: str) -> Tensor:
    x = input
    if x.dtype is bool_:
        raise RuntimeError(f"{name}(): does not support bool input")
    if dim is not None:
        wrap_dim(dim, x.ndim)
    if dim is None or x.ndim == 0:
        shape = (1,) * x.ndim if keepdim else ()
        x = reshape(stop_gradient(x), shape=(x.numel(),))
        if x.shape[0] == 0:
            raise IndexError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0."
            )
        return reshape(where_extreme(x, 0, op), shape=shape)
    d = wrap_dim(dim, x.ndim)
    some(x, (d,), name)
    index = where_extreme(x, d, op)
    return index if keepdim else index.squeeze(d)


@numpy_names
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The position of the greatest element, the first if there are several.

    Shape: (*) -> (), the position in the flattened tensor; or without the dimension `dim`.
    Dtype: int64. The first NaN wins.
    Raises IndexError for a dimension out of range or without elements.

    >>> torch.argmax(torch.tensor([[1.0, 4.0], [3.0, 2.0]]), dim=1)
    tensor([1, 0])
    """
    return _arg(input, dim, keepdim, reductions.max, "argmax")


@numpy_names
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The position of the smallest element, the first if there are several.

    Shape: (*) -> (), the position in the flattened tensor; or without the dimension `dim`.
    Dtype: int64. The first NaN wins.
    Raises IndexError for a dimension out of range or without elements.

    >>> torch.argmin(torch.tensor([[1.0, 4.0], [3.0, 2.0]]), dim=1)
    tensor([0, 1])
    """
    return _arg(input, dim, keepdim, reductions.min, "argmin")


@numpy_names
@composite("AminmaxBackward0")
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """The smallest and the greatest element, of all or along a dimension.

    Shape: (*) -> two of (), or two without the dimension `dim`.
    Dtype: that of input.
    Raises IndexError for a dimension out of range; RuntimeError for a tensor without elements.

    >>> torch.aminmax(torch.tensor([3.0, 1.0, 2.0]))
    tracegrad.return_types.aminmax(
    min=tensor(1.),
    max=tensor(3.))
    """
    if dim is None and input.numel() == 0:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no "
            "identity."
        )
    dims = wrap_dims(None, input.ndim) if dim is None else one_dim(dim, input.ndim)
    some(input, dims, "aminmax")
    low, high = (reduced(op, input, dims, keepdim) for op in (reductions.min, reductions.max))
    return TYPES["aminmax"](low, high)


def _extreme(input: Tensor, dim: Any, keepdim: bool, op: Any, name: str) -> Any:
    if isinstance(dim, Tensor):
        return (maximum if op is reductions.max else minimum)(input, dim)
    if dim is None:
        if keepdim:
            raise TypeError(f"{name}() takes keepdim only with dim")
        if input.numel() == 0:
            raise RuntimeError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
                "Specify the reduction dim with the 'dim' argument."
            )
        return _whole_extreme(input, op, name)
    if input.ndim == 0:
        wrap_dim(dim, 0)
        flat = reshape(stop_gradient(input), shape=(1,))
        return TYPES[name](input.clone(), reshape(where_extreme(flat, 0, op), shape=()))
    d = wrap_dim(dim, input.ndim)
    some(input, (d,), name)
    index = where_extreme(input, d, op)
    values = composite(f"{name.title()}Backward0")(one_hot_pick)(input, index, d, keepdim)
    values = values if values.dtype is input.dtype else values.to(input.dtype)  # a sum of bools
    return TYPES[name](values, index if keepdim else index.squeeze(d))


def shared(input: Tensor, value: Tensor) -> Tensor:
    """A number out of the input, of which all that equal it share the gradient."""
    if not input.is_floating_point():
        return value
    y = kinks.reached(stop_gradient(value), input)
    # torch's tangent of NaN is shared by all numbers that equal it: by none
    if forward_mode():
        y = y * ops.cast(ops.where(ops.isnan(value), math.nan, 1.0), dtype=y.dtype)
    return y


def _whole_extreme(input: Tensor, op: Any, name: str) -> Tensor:
    run = composite(f"{name.title()}Backward1")(shared)
    return run(input, op(stop_gradient(input), dims=tuple(range(input.ndim))))


@numpy_names
@shortcut
def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The greatest element; along a dimension, (values, indices); with a tensor, the elementwise
    maximum.

    Shape: (*) -> (); two without the dimension `dim`; for a tensor, the shape to which both
    broadcast.
    Dtype: that of input; indices int64. NaN wins.
    Raises IndexError for a dimension out of range; RuntimeError for a tensor without elements.

    >>> values, indices = torch.max(torch.tensor([[1.0, 4.0], [3.0, 2.0]]), dim=0)
    >>> values, indices
    (tensor([3., 4.]), tensor([1, 0]))
    """
    return _extreme(input, dim, keepdim, reductions.max, "max")


@numpy_names
@shortcut
def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest element; along a dimension, (values, indices); with a tensor, the elementwise
    minimum.

    Shape: (*) -> (); two without the dimension `dim`; for a tensor, the shape to which both
    broadcast.
    Dtype: that of input; indices int64. NaN wins.
    Raises IndexError for a dimension out of range; RuntimeError for a tensor without elements.

    >>> torch.min(torch.tensor([[1.0, 4.0], [3.0, 2.0]]))
    tensor(1.)
    """
    return _extreme(input, dim, keepdim, reductions.min, "min")


def _truth(x: Tensor) -> Tensor:
    return stop_gradient(x) if x.dtype is bool_ else ops.ne(x, 0)


def _said(op: Any, input: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    dims = () if dim is not None and not isinstance(dim, int) and len(dim) == 0 else dim
    dims = dims if dims == () else wrap_dims(dim, input.ndim)  # () is none here, as torch has it
    y = reduced(op, _truth(input), dims, keepdim)
    return y.to(uint8) if input.dtype is uint8 else y  # as torch does


@numpy_names
def all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether all elements are true.

    Shape: (*) -> (), or without the dimensions `dim`; `keepdim` leaves them with extent 1.
    Dtype: bool; uint8 of uint8. Numbers other than 0, and NaN, are true.
    Raises IndexError for a dimension out of range.

    >>> torch.all(torch.tensor([[True, False], [True, True]]), dim=1)
    tensor([False,  True])
    """
    return _said(reductions.min, input, dim, keepdim)


@numpy_names
def any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether some element is true.

    Shape: (*) -> (), or without the dimensions `dim`; `keepdim` leaves them with extent 1.
    Dtype: bool; uint8 of uint8. Numbers other than 0, and NaN, are true.
    Raises IndexError for a dimension out of range.

    >>> torch.any(torch.tensor([[True, False], [False, False]]), dim=1)
    tensor([ True, False])
    """
    return _said(reductions.max, input, dim, keepdim)


def count_nonzero(input: Tensor, dim: Dims = None) -> Tensor:
    """How many elements are not zero.

    Shape: (*) -> (), or without the dimensions `dim`. Dtype: int64.
    Raises IndexError for a dimension out of range.

    >>> torch.count_nonzero(torch.tensor([[0, 1], [2, 3]]), dim=0)
    tensor([1, 2])
    """
    return sum(_truth(input).to(int64), dim)


def vector(x: Tensor) -> Tensor:
    """x, or a vector of one where x has no dimensions."""
    return x if x.ndim else reshape(x, shape=(1,))


def taken(x: Tensor, positions: Tensor, dim: int) -> Tensor:
    """x at the positions along `dim`, which must be in range."""
    every = (positions if d == dim else along(positions, d) for d in range(x.ndim))
    return index_(x, *every, axes=tuple(range(x.ndim)))


# ---- exponentials divided by their sum, and the logarithm of that sum, without overflow
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
    peak = ops.minimum(peak, finfo(input.dtype).max)  # exp(x - inf) is no number for x = inf
    peak = ops.where(ops.gt(peak, -math.inf), peak, 0)
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
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(exp(input) + exp(other)), without overflow.

    Shape: two that broadcast -> the shape to which they do. Dtype: the promoted one.
    Raises RuntimeError if the shapes do not broadcast.

    >>> torch.logaddexp(torch.tensor([1000.0]), torch.tensor([1000.0]))
    tensor([1000.6932])
    """
    return _logaddexp(*_floats(input, other, "logaddexp_cpu"))


@rounded_once
def _logaddexp(a: Tensor, b: Tensor) -> Tensor:
    high, gap = _gap(a, b)
    return kinks.logaddexp(high + ops.log1p(ops.exp(gap)), a, b)


@composite("Logaddexp2Backward0")
def logaddexp2(input: Tensor, other: Tensor) -> Tensor:
    """log2(2 ** input + 2 ** other), without overflow.

    Shape: two that broadcast -> the shape to which they do. Dtype: the promoted one. Raises
    NotImplementedError for integers.

    >>> torch.logaddexp2(torch.tensor([1.0]), torch.tensor([1.0]))
    tensor([2.])
    """
    return _logaddexp2(*_floats(input, other, "logaddexp2_cpu"))


@rounded_once
def _logaddexp2(a: Tensor, b: Tensor) -> Tensor:
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
