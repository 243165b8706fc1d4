"""How often numbers occur: histograms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir.dtype import int64
from ...ir.ops import elementwise as ops
from ...ir.ops import order
from ...ir.ops import reduce as reductions
from ...ir.ops.elementwise import stop_gradient
from ...ir.ops.index import index_put
from ...ir.ops.movement import reshape
from ..promotion import SCALAR_TYPE
from ..tensor import Tensor
from .creation import arange, as_tensor, held, zeros
from .differences import diff
from .indexing import known
from .results import TYPES


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
    at = ops.where(inside, ops.minimum(at, bins - 1), 0)
    worth = ops.where(inside, weight, 0)
    return index_put(zeros(bins, dtype=x.dtype), ops.cast(worth, dtype=x.dtype), at,
                     axes=(0,), accumulate=True)  # fmt: skip


def _countable(x: Tensor, bins: Any, name: str) -> None:
    if x.dtype.kind != "float":
        raise NotImplementedError(f"\"{name}\" not implemented for '{SCALAR_TYPE[x.dtype]}'")
    if not isinstance(bins, Tensor) and bins <= 0:
        raise RuntimeError(
            f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0"
        )


def histc(input: Tensor, bins: int = 100, min: Any = 0, max: Any = 0) -> Tensor:
    """How many numbers lie in each of `bins` equal parts of a range, by default that of the numbers
    themselves.
    """
    _countable(input, bins, "histogram_cpu")
    x = _flat(input)
    low, high = _range(x, min, max, "histc", 1)
    inside = ops.logical_and(ops.ge(x, low), ops.le(x, high))
    at = ops.cast(ops.where(inside, (x - low) * bins / (high - low), 0), dtype=int64)
    return _counted(x, at, inside, bins, 1.0)


def histogram(input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None,
              density: bool = False) -> Any:  # fmt: skip
    """How many numbers (or what weights) lie between neighbours of a sequence of edges."""
    _countable(input, bins, "histogram_cpu")
    x = _flat(input)
    if isinstance(bins, Tensor):
        edges = bins
    else:
        first, last = (0.0, 0.0) if range is None else range
        low, high = _range(x, first, last, "histogram", 0.5)
        steps = arange(bins + 1, dtype=x.dtype)
        edges = ops.where(ops.eq(steps, bins), high, low + steps * ((high - low) / bins))
    n = edges.shape[0]
    at = order.searchsorted(edges, x, right=True) - 1
    inside = ops.logical_and(ops.ge(at, 0), ops.le(x, edges[n - 1]))
    worth = 1.0 if weight is None else _flat(weight)
    hist = _counted(x, at, inside, n - 1, worth)
    if density:
        hist = hist / (reductions.sum(hist, dims=(0,)) * diff(edges))
    return TYPES["histogram"](hist, edges)


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each natural number occurs, or the sum of its weights."""
    if input.dtype.kind not in ("int", "uint"):
        raise NotImplementedError(
            f"\"bincount_cpu\" not implemented for '{SCALAR_TYPE[input.dtype]}'"
        )
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    numbers = known(input, "bincount()")
    if numbers.ndim != 1 or (numbers < 0).any():
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is None:
        return held(np.bincount(numbers, minlength=minlength).astype(np.int64), int64)
    if weights.shape != input.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    bins = max(int(numbers.max(initial=-1)) + 1, minlength)
    w = stop_gradient(weights)
    w = w if w.dtype.bits == 32 and w.dtype.kind == "float" else w.double()
    return index_put(zeros(bins, dtype=w.dtype), w, as_tensor(numbers.astype(np.int64)),
                     axes=(0,), accumulate=True)  # fmt: skip


__all__ = ["bincount", "histc", "histogram"]
