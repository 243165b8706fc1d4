"""Comparisons: predicates of elements, sorting along a dimension, selecting by rank."""

from __future__ import annotations

import math
from typing import Any

from ...ir.dtype import bool_
from ...ir.op import OpDef
from ...ir.ops import elementwise as ops, order
from ...ir.ops.elementwise import stop_gradient
from ...ir.ops.index import index as index_
from ...ir.ops.movement import reshape, slice as slice_
from ...tracer.autograd.graph import composite
from ...tracer.mode import forward_mode
from ...tracer.tensor.tensor import Tensor
from ..arguments import no_bools, numpy_names, wrap_dim
from ..named_results import TYPES
from .creation import as_tensor, full
from .reduction import taken, vector

__all__ = [
    "allclose", "argsort", "equal", "fmax", "fmin", "isclose", "isfinite", "isin", "isinf",
    "isneginf", "isposinf", "isreal", "kthvalue", "msort", "sort", "topk",
]


# ---- predicates
def isinf(input: Tensor) -> Tensor:
    """True for the infinities.

    Shape: (*) -> (*). Dtype: bool. Raises TypeError without a tensor.

    >>> torch.isinf(torch.tensor([1.0, float("inf"), float("nan")]))
    tensor([False,  True, False])
    """
    return ops.eq(ops.abs(input), math.inf) if input.is_floating_point() else ops.ne(input, input)


def isfinite(input: Tensor) -> Tensor:
    """True for neither an infinity nor NaN.

    Shape: (*) -> (*). Dtype: bool. Raises TypeError without a tensor.

    >>> torch.isfinite(torch.tensor([1.0, float("inf"), float("nan")]))
    tensor([ True, False, False])
    """
    return ops.lt(ops.abs(input), math.inf) if input.is_floating_point() else ops.eq(input, input)


def isposinf(input: Tensor) -> Tensor:
    """True for positive infinity.

    Shape: (*) -> (*). Dtype: bool.

    >>> torch.isposinf(torch.tensor([1.0, float('inf')]))
    tensor([False,  True])
    """
    return ops.eq(input, math.inf) if input.is_floating_point() else ops.ne(input, input)


def isneginf(input: Tensor) -> Tensor:
    """True for negative infinity.

    Shape: (*) -> (*). Dtype: bool.

    >>> torch.isneginf(torch.tensor([1.0, -float('inf')]))
    tensor([False,  True])
    """
    return ops.eq(input, -math.inf) if input.is_floating_point() else ops.ne(input, input)


def isreal(input: Tensor) -> Tensor:
    """True everywhere: there are no complex tensors.

    Shape: (*) -> (*). Dtype: bool.

    >>> torch.isreal(torch.tensor([1.0]))
    tensor([True])
    """
    return ops.logical_or(ops.eq(input, input), True)


def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tensor:
    """Whether |input - other| <= atol + rtol * |other|.

    Shape: two that broadcast -> the shape to which they do. Dtype: bool.
    Raises RuntimeError if the dtypes differ or the shapes do not broadcast.

    >>> torch.isclose(torch.tensor([1.0, 2.0]), torch.tensor([1.0 + 1e-7, 2.1]))
    tensor([ True, False])
    """
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{input.dtype} did not match {other.dtype}")
    for name, bound in (("rtol", rtol), ("atol", atol)):
        if not bound >= 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {bound:g}")
    near = ops.eq(input, other)
    if input.is_floating_point():
        near = near | (
            isfinite(other) & ops.le(ops.abs(input - other), atol + rtol * ops.abs(other))
        )
    elif input.dtype.kind != "bool":
        a, b = input.double(), other.double()
        near = near | ops.le(ops.abs(a - b), atol + rtol * ops.abs(b))
    return near | (ops.isnan(input) & ops.isnan(other)) if equal_nan else near


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether all elements are close.

    Shape: two that broadcast -> a bool of Python. NaN is close to NaN only with `equal_nan`.
    Raises RuntimeError if the dtypes differ or the shapes do not broadcast.

    >>> torch.allclose(torch.tensor([1.0]), torch.tensor([1.0 + 1e-7]))
    True
    """
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shapes and all elements are equal.

    Shape: any two -> a bool of Python. NaN is not equal to itself.
    Raises TypeError if an argument is no tensor.

    >>> torch.equal(torch.tensor([1, 2]), torch.tensor([1, 2]))
    True
    """
    return tuple(input.shape) == tuple(other.shape) and bool(ops.eq(input, other).all())


def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two numbers; of a number and NaN the number.

    Shape: two that broadcast -> the shape to which they do. Dtype: the promoted one.
    Raises RuntimeError if the shapes do not broadcast.

    >>> torch.fmax(torch.tensor([1.0, float("nan")]), torch.tensor([2.0, 3.0]))
    tensor([2., 3.])
    """
    return _chosen(input, other, ops.gt if forward_mode() else ops.ge)


def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two numbers; of a number and NaN the number.

    Shape: two that broadcast -> the shape to which they do. Dtype: the promoted one.
    Raises RuntimeError if the shapes do not broadcast.

    >>> torch.fmin(torch.tensor([1.0, float("nan")]), torch.tensor([2.0, 3.0]))
    tensor([1., 3.])
    """
    return _chosen(input, other, ops.le)


def _chosen(a: Tensor, b: Tensor, compare: OpDef) -> Tensor:
    # at a tie the whole gradient goes to the first, except for the tangent of fmax
    return ops.where(ops.logical_or(compare(a, b), ops.isnan(b)), a, b)


# ---- sorting, and selecting by rank
def positions(x: Tensor, dim: int, descending: bool = False) -> Tensor:
    """The positions that sort x, which has dimensions, along one of them."""
    return order.argsort(stop_gradient(x), axis=dim, descending=descending)


def first_positions(x: Tensor, dim: int, count: int, descending: bool = False) -> Tensor:
    """The first `count` of them."""
    return order.top(stop_gradient(x), axis=dim, descending=descending, count=count)


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
    at = first_positions(x, d, k, largest)
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
    return chosen(input, part(first_positions(x, d, k), d, k - 1, k), d, keepdim, "kthvalue")


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
