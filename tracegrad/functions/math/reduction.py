"""Reductions, and what is made of them: means, extremes, softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

from ...ir.dtype import DType, bool_, int64, uint8
from ...ir.ops import elementwise as ops, kinks, reduce as reductions
from ...ir.ops.elementwise import stop_gradient
from ...ir.ops.movement import reshape
from ...ir.ops.reduce import keepdims
from ...ir.ops.source import iota
from ...tracer.autograd.graph import composite, with_grad_name
from ...tracer.tensor.dispatch import bind
from ...tracer.tensor.masked_selection import Selection
from ...tracer.tensor.promotion import SCALAR_TYPE, as_dtype
from ...tracer.tensor.tensor import Tensor
from ..named_results import TYPES
from .upcast import rounded_once

# NumPy's names of arguments, which torch takes too
_ALSO = {"axis": "dim", "keepdims": "keepdim"}


def numpy_names(function: Callable) -> Callable:
    """Let a function be called with NumPy's names of arguments as well."""

    @wraps(function)
    def named(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            kwargs = {_ALSO.get(k, k): v for k, v in kwargs.items()}
        return function(*args, **kwargs)

    return named


Dims = int | tuple[int, ...] | list[int] | None


def wrap_dim(dim: int, rank: int) -> int:
    """A dimension counted from the front."""
    if isinstance(dim, bool) or not hasattr(dim, "__index__"):
        raise TypeError(f"dim must be an int, not {type(dim).__name__}")
    span = rank or 1  # a 0-d tensor has a dimension 0, and -1, for this purpose
    if not -span <= dim < span:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-span}, {span - 1}], but got "
            f"{dim})"
        )
    return dim % span


def wrap_dims(dim: Dims, rank: int) -> tuple[int, ...]:
    """Sorted dimensions, counted from the front; None and () mean all."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(rank))
    found = [wrap_dim(d, rank) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    for d in found:
        if found.count(d) > 1:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
    return tuple(sorted(found)) if rank else ()


def one_dim(dim: int, rank: int) -> tuple[int, ...]:
    """The dimension as a tuple of those of a tensor, which is empty for a 0-d one."""
    d = wrap_dim(dim, rank)
    return (d,) if rank else ()


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
        return (ops.maximum if op is reductions.max else ops.minimum)(input, dim)
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
    return kinks.reached(stop_gradient(value), input) if input.is_floating_point() else value


def _whole_extreme(input: Tensor, op: Any, name: str) -> Tensor:
    run = composite(f"{name.title()}Backward1")(shared)
    return run(input, op(stop_gradient(input), dims=tuple(range(input.ndim))))


@numpy_names
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


__all__ = [
    "all", "amax", "amin", "aminmax", "any", "argmax", "argmin", "count_nonzero", "max",
    "mean", "min", "nanmean", "nansum", "prod", "sum",
]
