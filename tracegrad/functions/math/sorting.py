"""Sorting and selecting along a dimension, and searching in what is sorted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir.dtype import bool_, float64, int32, int64
from ...ir.ops import elementwise as ops, order
from ...ir.ops.elementwise import stop_gradient
from ...ir.ops.index import index as index_
from ...ir.ops.movement import reshape, slice as slice_
from ...tracer.autograd.graph import composite
from ...tracer.tensor.tensor import Tensor
from ..named_results import TYPES
from ..tensors.creation import as_tensor, full, held
from ..tensors.indexing import known
from .cumulative import taken, vector
from .reduction import numpy_names, wrap_dim
from .scaled_operands import no_bools


def positions(x: Tensor, dim: int, descending: bool = False) -> Tensor:
    """The positions that sort x, which has dimensions, along one of them."""
    return order.argsort(stop_gradient(x), axis=dim, descending=descending)


def part(x: Tensor, dim: int, start: int, stop: int) -> Tensor:
    return slice_(x, slices=tuple((start, stop, 1) if d == dim else (0, n, 1)
                                  for d, n in enumerate(x.shape)))


def chosen(input: Tensor, at: Tensor, dim: int, keepdim: bool, name: str) -> Any:
    """The values at one position along `dim`, which `at` has with extent 1, and the positions."""
    x = vector(input)
    shape = tuple(at.shape) if keepdim else tuple(n for d, n in enumerate(at.shape) if d != dim)
    shape = shape if input.ndim else ()
    return TYPES[name](reshape(taken(x, at, dim), shape=shape), reshape(at, shape=shape))


@numpy_names
@composite("SortBackward0")
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """The elements in order along a dimension, and where they stood. Equal ones keep their order;
    NaN is the greatest.

    Shape: (*) -> two of (*). Dtype: that of input, and int64. NaN counts as the greatest.
    Raises IndexError for a dimension out of range.

    >>> values, indices = torch.sort(torch.tensor([3.0, 1.0, 2.0]))
    >>> values, indices
    (tensor([1., 2., 3.]), tensor([1, 2, 0]))
    """
    d, x = wrap_dim(dim, input.ndim), vector(input)
    at = positions(x, d, descending)
    shape = tuple(input.shape)
    return TYPES["sort"](reshape(taken(x, at, d), shape=shape), reshape(at, shape=shape))


@numpy_names
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The positions that put the elements in order along a dimension.

    Shape: (*) -> (*). Dtype: int64. Raises IndexError for a dimension out of range.

    >>> torch.argsort(torch.tensor([3.0, 1.0, 2.0]))
    tensor([1, 2, 0])
    """
    d = wrap_dim(dim, input.ndim)
    return reshape(positions(vector(input), d, descending), shape=tuple(input.shape))


def msort(input: Tensor) -> Tensor:
    """The elements in order along the first dimension.

    Shape: (*) -> (*). Dtype: that of input. Raises TypeError without a tensor.

    >>> torch.msort(torch.tensor([3, 1, 2]))
    tensor([1, 2, 3])
    """
    return sort(input, 0).values


@composite("TopkBackward0")
def topk(
    input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> Any:
    """The k greatest (or smallest) elements along a dimension, in order, and where they stand.

    Shape: (*A, n, *B) -> two of (*A, k, *B). Dtype: that of input, and int64.
    Raises RuntimeError if k is greater than the extent; IndexError for a dimension out of range.

    >>> torch.topk(torch.tensor([3.0, 1.0, 2.0]), 2)
    tracegrad.return_types.topk(
    values=tensor([3., 2.]),
    indices=tensor([0, 2]))
    """
    d, x = wrap_dim(dim, input.ndim), vector(input)
    if input.dtype is bool_:
        raise RuntimeError("topk does not support bool dtypes on CPU")
    if not 0 <= k <= x.shape[d]:
        raise RuntimeError("selected index k out of range")
    at = part(positions(x, d, largest), d, 0, k)
    shape = tuple(at.shape) if input.ndim else ()
    if not input.ndim and k == 0:
        shape = (0,)
    return TYPES["topk"](reshape(taken(x, at, d), shape=shape), reshape(at, shape=shape))


@composite("KthvalueBackward0")
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th smallest element along a dimension, counted from 1, and where it stands.

    Shape: (*) -> two without the dimension `dim`. Dtype: that of input, and int64.
    Raises RuntimeError for k out of range; IndexError for a dimension out of range.

    >>> torch.kthvalue(torch.tensor([3.0, 1.0, 2.0]), 2)
    tracegrad.return_types.kthvalue(
    values=tensor(2.),
    indices=tensor(2))
    """
    d, x = wrap_dim(dim, input.ndim), vector(input)
    if x.shape[d] == 0:
        raise IndexError(
            f"kthvalue(): Expected reduction dim {d} to have non-zero size."
        )
    if not 1 <= k <= x.shape[d]:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {d}")
    no_bools("kthvalue_cpu", input)
    return chosen(input, part(positions(x, d), d, k - 1, k), d, keepdim, "kthvalue")


# ---- searching
def _found(rows: Tensor, x: Any, right: bool, out_int32: bool) -> Tensor:
    no_bools("searchsorted_out_cpu", rows)
    if isinstance(x, float) and not rows.dtype.is_floating_point:
        rows = ops.cast(rows, dtype=float64)
    x = stop_gradient(x if isinstance(x, Tensor) else as_tensor(x, dtype=rows.dtype))
    at = order.searchsorted(stop_gradient(rows), x, right=right)
    return ops.cast(at, dtype=int32) if out_int32 else at


def searchsorted(
    sorted_sequence: Tensor, input: Any, *, out_int32: bool = False, right: bool = False,
    side: str | None = None, sorter: Tensor | None = None,
) -> Tensor:
    """Where in the rows of `sorted_sequence` the numbers would be put in: before equal ones, or
    behind them if `right`.
    """
    if side not in (None, "left", "right"):
        raise RuntimeError(
            f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}"
        )
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left "
            "while right was True"
        )
    rows = sorted_sequence
    if rows.ndim == 0 or (rows.ndim > 1 and not getattr(input, "ndim", 0)):
        raise RuntimeError(
            "torch.searchsorted(): input value can be a scalar only when boundaries tensor "
            f"dimension is 1, but we got boundaries tensor dim({rows.ndim}) and input value's "
            f"dim({getattr(input, 'ndim', 0)})"
        )
    if sorter is not None:
        if sorter.shape != rows.shape:
            raise RuntimeError(
                "torch.searchsorted(): boundary and sorter must have the same size, but got "
                f"boundary tensor {list(rows.shape)} and got sorter tensor {list(sorter.shape)}"
            )
        last = rows.ndim - 1
        rows = taken(rows, ops.check_index(sorter, size=rows.shape[last], dim=last), last)
    return _found(rows, input, right or side == "right", out_int32)


def bucketize(
    input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """Between which of the sorted boundaries the numbers lie."""
    if boundaries.ndim != 1:
        raise RuntimeError(
            f"boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})"
        )
    return _found(boundaries, input, right, out_int32)


def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Whether each element is one of the others.

    Shape: that of elements. Dtype: bool. Raises TypeError without a tensor.

    >>> torch.isin(torch.tensor([1, 2, 3]), torch.tensor([2, 5]))
    tensor([False,  True, False])
    """
    if not isinstance(elements, Tensor):
        elements = as_tensor(elements, dtype=test_elements.dtype)
    if not isinstance(test_elements, Tensor):
        test_elements = as_tensor(test_elements, dtype=elements.dtype)
    if bool_ in (elements.dtype, test_elements.dtype):
        raise RuntimeError("Unsupported input type encountered for isin(): Bool")
    x, among = stop_gradient(elements), stop_gradient(test_elements)
    n = among.numel()
    if n == 0:
        return full(tuple(x.shape), invert, dtype=bool_)
    among = reshape(among, shape=(n,))
    ordered = taken(among, positions(among, 0), 0)
    rising = ordered  # NaN, which stands last, in the order that a search needs
    if ordered.dtype.kind == "float":
        rising = ops.where(ops.eq(ordered, ordered), ordered, math.inf)
    at = ops.minimum(order.searchsorted(rising, x, right=False), n - 1)
    return (ops.ne if invert else ops.eq)(index_(ordered, at, axes=(0,)), x)


# ---- different elements: how many there are depends on the values
def _spread(input: Tensor, dim: int | None, what: str) -> tuple[np.ndarray, int]:
    """The numbers, and the axis along which whole parts are compared."""
    array = input.dtype.decode(known(input, what))
    if dim is not None and not input.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return (array.reshape(-1), 0) if dim is None else (array, wrap_dim(dim, input.ndim))


def _answer(input: Tensor, dim: int | None, parts: tuple, inverse: bool, counts: bool) -> Any:
    values, back, number = parts
    shape = tuple(input.shape) if dim is None else (-1,)
    out = [held(input.dtype.encode(values), input.dtype)]
    if inverse:
        out.append(held(back.reshape(shape).astype(np.int64), int64))
    if counts:
        out.append(held(number.astype(np.int64), int64))
    return tuple(out) if len(out) > 1 else out[0]


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
    array, axis = _spread(input, dim, "unique()")
    _, *parts = np.unique(
        array, return_index=True, return_inverse=True, return_counts=True, axis=axis,
        equal_nan=False,
    )
    first, back, number = parts
    return _answer(
        input, dim, (np.take(array, first, axis), back, number), return_inverse, return_counts
    )


def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements without those that equal the one before; or the parts along a dimension."""
    array, axis = _spread(input, dim, "unique_consecutive()")
    rows = np.moveaxis(array, axis, 0)
    rows = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    new = np.concatenate([np.ones(min(len(rows), 1), bool), (rows[1:] != rows[:-1]).any(1)])
    starts = np.flatnonzero(new)
    number = np.diff(np.append(starts, len(rows)))
    parts = (np.take(array, starts, axis), np.cumsum(new) - 1, number)
    return _answer(input, dim, parts, return_inverse, return_counts)


__all__ = [
    "argsort", "bucketize", "isin", "kthvalue", "msort", "searchsorted", "sort", "topk", "unique",
    "unique_consecutive",
]
