"""Order along an axis: the positions that sort it, and where numbers belong in what is sorted. NaN
is greater than every number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtype import DType, int64
from ..op import Kind, OpDef, ShapeError, Types, register


def _argsort(x: np.ndarray, *, axis: int, descending: bool) -> np.ndarray:
    if not descending:
        return np.argsort(x, axis, kind="stable")
    turned = np.argsort(np.flip(x, axis), axis, kind="stable")  # equal ones stay in order
    return x.shape[axis] - 1 - np.flip(turned, axis)


def _argsort_aval(x: Any, *, axis: int, descending: bool) -> tuple[tuple[int, ...], DType]:
    return x.shape, int64


# argsort(x, axis=, descending=): stable
argsort = register(
    OpDef("argsort", Kind.ORDER, _argsort, _argsort_aval, types=Types.SAME)
)


def _top(x: np.ndarray, *, axis: int, descending: bool, count: int) -> np.ndarray:
    order = _argsort(x, axis=axis, descending=descending)
    return order[(slice(None),) * axis + (slice(count),)]


def _top_aval(
    x: Any, *, axis: int, descending: bool, count: int
) -> tuple[tuple[int, ...], DType]:
    return (*x.shape[:axis], count, *x.shape[axis + 1 :]), int64


# top(x, axis=, descending=, count=): the first `count` of the positions that argsort gives
top = register(OpDef("top", Kind.ORDER, _top, _top_aval, types=Types.SAME))


def _searchsorted(rows: np.ndarray, x: np.ndarray, *, right: bool) -> np.ndarray:
    """All binary searches at once."""
    n = rows.shape[-1]
    low, high = np.zeros(x.shape, np.int64), np.full(x.shape, n, np.int64)
    while (low < high).any():
        middle = np.minimum((low + high) >> 1, n - 1)
        middle_values = rows[middle] if rows.ndim == 1 else np.take_along_axis(rows, middle, -1)
        ahead = (low < high) & ~(middle_values > x if right else middle_values >= x)
        low = np.where(ahead, middle + 1, low)
        high = np.where(ahead, high, np.minimum(high, middle))
    return low


def _searchsorted_aval(rows: Any, x: Any, *, right: bool) -> tuple[tuple[int, ...], DType]:
    if len(rows.shape) != 1 and rows.shape[:-1] != x.shape[:-1]:
        raise ShapeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
            "dimensions of boundaries tensor and input value tensor must match, but we got "
            f"boundaries tensor {list(rows.shape)} and input value tensor {list(x.shape)}"
        )
    return x.shape, int64


# searchsorted(rows, x, right=): the first position along the last axis of `rows` whose number is at
# least x, or greater than x if `right`. `rows` is one row, or has x's leading axes.
searchsorted = register(
    OpDef("searchsorted", Kind.ORDER, _searchsorted, _searchsorted_aval, types=Types.SAME)
)
