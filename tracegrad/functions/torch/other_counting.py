"""How often elements occur, where they would stand in a sorted row, and how variables go together:
histograms, searches, covariances.
"""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from ...ir.dtype import bool_, float64, int32, int64
from ...ir.ops import elementwise as ops, order, reduce as reductions
from ...ir.ops.elementwise import stop_gradient
from ...ir.ops.index import index_put
from ...ir.ops.movement import permute, reshape
from ...tracer.tensor.promotion import SCALAR_TYPE
from ...tracer.tensor.tensor import Tensor
from ..arguments import no_bools, numbers_fit, rounded_once
from ..named_results import TYPES
from .blas import matmul
from .creation import arange, as_tensor, full, zeros
from .indexing import Pair, computed
from .other_cumulative import diff
from .other_shapes import diag
from .pointwise import clamp
from .reduction import mean, reduced, taken

__all__ = [
    "bincount", "bucketize", "corrcoef", "cov", "histc", "histogram", "histogramdd",
    "searchsorted",
]


def _flat(x: Tensor) -> Tensor:
    return reshape(stop_gradient(x), shape=(x.numel(),))


def _range(x: Tensor, low: Any, high: Any, name: str, more: float) -> tuple[Any, Any]:
    """The range given, or that of the numbers; an empty one is widened by `more` at both ends."""
    if low > high:
        raise RuntimeError(f"torch.{name}: max must be larger than min")
    if low == high and x.shape[0]:
        low, high = (op(x, dims=(0,)) for op in (reductions.min, reductions.max))
        if not bool(ops.lt(ops.abs(high - low), math.inf)):
            raise RuntimeError(
                f"torch.{name}: range of [{low.item()}, {high.item()}] is not finite"
            )
        one = ops.eq(low, high)
        return ops.where(one, low - more, low), ops.where(one, high + more, high)
    if not math.isfinite(high - low):
        raise RuntimeError(f"torch.{name}: range of [{low}, {high}] is not finite")
    return (low - more, high + more) if low == high else (low, high)


def _counted(x: Tensor, at: Tensor, inside: Tensor, bins: int, weight: Any) -> Tensor:
    """Add the weights of the numbers that lie inside to their bins."""
    at = ops.where(inside, at, 0)
    worth = ops.where(inside, weight, 0)
    return index_put(zeros(bins, dtype=x.dtype), ops.cast(worth, dtype=x.dtype), at,
                     axes=(0,), accumulate=True)


def _countable(x: Tensor, bins: Any, name: str) -> None:
    if x.dtype.kind != "float" or (x.dtype.is_half and name == "histogramdd"):
        raise NotImplementedError(f"\"{name}\" not implemented for '{SCALAR_TYPE[x.dtype]}'")
    for d, n in enumerate(bins):
        if (n.shape[0] - 1 if isinstance(n, Tensor) else n) <= 0:
            raise RuntimeError(
                f"torch.histogram(): bins must be > 0, but got {0 if isinstance(n, Tensor) else n} "
                f"for dimension {d}"
            )


def histc(input: Tensor, bins: int = 100, min: Any = 0, max: Any = 0) -> Tensor:
    """How many numbers lie in each of `bins` equal parts of a range, by default that of the numbers
    themselves.

    Shape: (*) -> (bins,). Dtype: that of input. Raises RuntimeError for bins below 1.

    >>> torch.histc(torch.tensor([0.0, 1.0, 1.0, 3.0]), bins=3, min=0, max=3)
    tensor([1., 2., 1.])
    """
    _countable(input, [bins], "histogram_cpu")
    x = _flat(input)
    low, high = _range(x, min, max, "histc", 1)
    numbers_fit(input.dtype, min, max)
    inside = ops.logical_and(ops.ge(x, low), ops.le(x, high))
    place = ops.where(inside, (x - low) * bins / (high - low), 0)
    place = ops.where(ops.isnan(place), bins // 2, place)  # 0 / 0: x +- 1 is x, so large is it
    at = ops.cast(place, dtype=int64)
    return _counted(x, ops.minimum(at, bins - 1), inside, bins, 1.0)


def _edges(x: Tensor, bins: Any, range: Any) -> Tensor:
    """The ends of the bins of a column of numbers."""
    if isinstance(bins, Tensor):
        return bins
    if range is None and not x.shape[0]:
        range = (0.0, 1.0)
    first, last = range or (0.0, 0.0)
    low, high = _range(x, first, last, "histogram", 0.5)
    steps = arange(bins + 1, dtype=x.dtype)
    return ops.where(ops.eq(steps, bins), high, low + steps * ((high - low) / bins))


def _between(x: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    """The bins of a column of numbers, and whether each is in one; the last has both its ends."""
    at = order.searchsorted(edges, x, right=True) - 1
    inside = ops.logical_and(ops.ge(at, 0), ops.le(x, edges[edges.shape[0] - 1]))
    return ops.minimum(at, edges.shape[0] - 2), inside


def histogram(input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None,
              density: bool = False) -> Any:
    """How many numbers (or what weights) lie between neighbours of a sequence of edges.

    Shape: (*) -> (bins,), (bins + 1,). Dtype: that of input, floating point.

    >>> torch.histogram(torch.tensor([1.0, 2.0, 2.5]), bins=2, range=(1.0, 3.0))
    tracegrad.return_types.histogram(
    hist=tensor([1., 2.]),
    bin_edges=tensor([1., 2., 3.]))
    """
    _countable(input, [bins], "histogramdd")
    x = _flat(input)
    edges = _edges(x, bins, range)
    worth = 1.0 if weight is None else _flat(weight)
    hist = _counted(x, *_between(x, edges), edges.shape[0] - 1, worth)
    if density:
        hist = hist / (reductions.sum(hist, dims=(0,)) * diff(edges))
    return TYPES["histogram"](hist, edges)


def _bins_of_columns(input: Tensor, bins: Any, range: Any, weight: Tensor | None) -> list:
    """The bins of each column and its range, after all that may be wrong with the arguments."""
    if input.ndim < 2:
        raise RuntimeError("torch.histogramdd: input tensor should have at least 2 dimensions")
    columns, name = input.shape[-1], "torch.histogramdd: "
    bins = [bins] * columns if isinstance(bins, int) else list(bins)
    edges = [b for b in bins if isinstance(b, Tensor)]
    if len(bins) != columns and edges:
        raise RuntimeError(f"{name}expected {columns} sequences of bin edges for a {columns}-"
                           f"dimensional histogram but got {len(bins)}")
    if len(bins) != columns:
        raise RuntimeError(
            "histogramdd: The size of bins must be equal to the innermost dimension of the input."
        )
    for d, b in enumerate(edges):
        if b.ndim != 1:
            raise RuntimeError(f"{name}bins tensor should have one dimension, but got {b.ndim} "
                               f"dimensions in the bins tensor for dimension {d}")
        if b.dtype is not input.dtype:
            raise RuntimeError(f"{name}input tensor and bins tensors should have the same dtype, "
                               f"but got {input.dtype.name} and {b.dtype.name}")
    if weight is not None and weight.dtype is not input.dtype:
        raise RuntimeError(f"{name}if weight tensor is provided, input tensor and weight tensor "
                           f"should have the same dtype, but got input({input.dtype.name}), and "
                           f"weight({weight.dtype.name})")
    if weight is not None and weight.shape != input.shape[:-1]:
        raise RuntimeError(f"{name}if weight tensor is provided it should have the same shape as "
                           "the input tensor excluding its innermost dimension, but got input with "
                           f"shape {list(input.shape)} and weight with shape "
                           f"{list(weight.shape)}")
    if range is not None and len(range) != 2 * columns:
        raise RuntimeError(f"{name}for a {columns}-dimensional histogram range should have "
                           f"{2 * columns} elements, but got {len(range)}")
    _countable(input, bins, "histogramdd")
    ranges = [None] * columns if range is None else list(zip(range[::2], range[1::2], strict=True))
    return list(zip(bins, ranges, strict=True))


def histogramdd(input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None,
                density: bool = False) -> Any:
    """How many points (or what weights) lie in each cell of a grid; a point is a row of the last
    dimension.

    Shape: (*, D) -> (bins, ...), and D vectors of edges. Dtype: that of input.

    >>> torch.histogramdd(torch.tensor([[0.0, 1.0], [1.0, 1.0]]), bins=[2, 1]).hist
    tensor([[1.],
            [1.]])
    """
    asked = _bins_of_columns(input, bins, range, weight)
    columns = [_flat(input[..., d]) for d in builtins.range(len(asked))]
    edges = [_edges(x, *how) for x, how in zip(columns, asked, strict=True)]
    at, inside = zeros((), dtype=int64), full((), bool(asked), dtype=bool_)
    for x, e in zip(columns, edges, strict=True):
        place, here = _between(x, e)
        at, inside = at * (e.shape[0] - 1) + place, ops.logical_and(here, inside)
    sizes = tuple(e.shape[0] - 1 for e in edges)
    worth = 1.0 if weight is None else _flat(weight)
    hist = _counted(input, at, inside, math.prod(sizes), worth)
    if density:
        hist = hist / reductions.sum(hist, dims=(0,))
    hist = reshape(hist, shape=sizes)
    if density:
        for d, e in enumerate(edges):
            hist = hist / reshape(diff(e), shape=(sizes[d], *(1 for _ in sizes[d + 1 :])))
    return TYPES["histogramdd"](hist, tuple(edges))


_NO_COUNTS = "bincount only supports 1-d non-negative integral inputs."


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each natural number occurs, or the sum of its weights.

    Shape: (N,) -> (max(input) + 1, or minlength,). Dtype: int64, or that of the weights.
    Raises RuntimeError for negative numbers, other ranks or dtypes.

    >>> torch.bincount(torch.tensor([0, 2, 2]))
    tensor([1, 0, 2])
    """
    if input.dtype.kind not in ("int", "uint"):
        raise NotImplementedError(
            f"\"bincount_cpu\" not implemented for '{SCALAR_TYPE[input.dtype]}'"
        )
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if input.ndim != 1:
        raise RuntimeError(_NO_COUNTS)

    def counts(numbers: np.ndarray) -> list[Pair]:
        if (numbers < 0).any():
            raise RuntimeError(_NO_COUNTS)
        return [(np.bincount(numbers, minlength=minlength).astype(np.int64), int64)]

    (number,) = computed(counts, "bincount()", input)
    if weights is None:
        return number
    if weights.shape != input.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    w = stop_gradient(weights)
    w = w if w.dtype.bits == 32 and w.dtype.kind == "float" else w.double()
    return index_put(zeros(number.shape[0], dtype=w.dtype), w, ops.cast(input, dtype=int64),
                     axes=(0,), accumulate=True)


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

    Shape: (*, N), (*, M) -> (*, M), or a vector and any shape. Dtype: int64, or int32. Raises
    RuntimeError if the shapes do not fit.

    >>> torch.searchsorted(torch.tensor([1, 3, 5]), torch.tensor([3, 4]))
    tensor([1, 2])
    >>> torch.searchsorted(torch.tensor([1, 3, 5]), torch.tensor([3, 4]), right=True)
    tensor([2, 2])
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
    """Between which of the sorted boundaries the numbers lie.

    Shape: that of input. Dtype: int64, or int32. Raises RuntimeError if the boundaries are no
    vector.

    >>> torch.bucketize(torch.tensor([0.5, 2.0]), torch.tensor([1.0, 2.0, 3.0]))
    tensor([0, 1])
    """
    if boundaries.ndim != 1:
        raise RuntimeError(
            f"boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})"
        )
    return _found(boundaries, input, right, out_int32)


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
