"""Prefix scans: along one axis, each element of the answer is made of the one before it and of what
stands in its place.

`OpDef.scan` says how, as kernel text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtype import DType
from ..op import Kind, OpDef, Rules, Scan, Types, always, register
from .elementwise import eq, where
from .movement import concat, slice
from .source import full


def _prefix(
    name: str, ref: Callable[..., Any], first: str, step: str, vjp: Rules | None, wide: bool = True
) -> OpDef:
    def infer(*avals: Any, axis: int, reverse: bool) -> tuple[tuple[int, ...], DType]:
        return avals[0].shape, avals[0].dtype

    return register(OpDef(
        name, Kind.PREFIX, ref, infer, vjp, types=Types.SAME, adds=always,
        grad_name=f"{name.title()}Backward0", scan=Scan(first, step, wide),
    ))


def shifted(x: Any, axis: int, back: bool, fill: float, by: int = 1) -> Any:
    """In each place along `axis` its neighbour `by` places before it (after it if `back`); `fill`
    where there is none.
    """
    n = x.shape[axis]
    if n == 0:
        return x
    start, stop = (by, n) if back else (0, n - by)
    cut = slice(x, slices=tuple((start, stop, 1) if d == axis else (0, m, 1)
                                for d, m in enumerate(x.shape)))
    shape = tuple(by if d == axis else m for d, m in enumerate(x.shape))
    end = type(x).bind(full, (), {"value": fill, "shape": shape, "dtype": x.dtype})
    return concat(cut, end, axis=axis) if back else concat(end, cut, axis=axis)


def _forward(function: Callable[..., Any]) -> Callable[..., Any]:
    """A scan along an axis, as one that may also run from its end to its start."""

    def ref(*arrays: np.ndarray, axis: int, reverse: bool) -> np.ndarray:
        if not reverse:
            return function(*arrays, axis)
        return np.flip(function(*(np.flip(x, axis) for x in arrays), axis), axis)

    return ref


def _accumulated(ufunc: np.ufunc) -> Callable[..., Any]:
    def function(x: np.ndarray, axis: int) -> np.ndarray:
        wide = np.float64 if x.dtype == np.float32 else x.dtype
        return ufunc.accumulate(x, axis, dtype=wide).astype(x.dtype, copy=False)

    return _forward(function)


# cumsum(x, axis=, reverse=): y[t] = y[t - 1] + x[t]; from the end if `reverse`
cumsum = _prefix(
    "cumsum", _accumulated(np.add), "{0}", "{h} + {0}",
    (lambda g, y, x, *, axis, reverse: cumsum(g, axis=axis, reverse=not reverse),),
)


def _recur(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    y = np.array(b, np.float64 if b.dtype == np.float32 else b.dtype)
    along, factor = np.moveaxis(y, axis, 0), np.moveaxis(a, axis, 0)
    for t in range(1, len(along)):
        along[t] += factor[t] * along[t - 1]
    return y.astype(b.dtype, copy=False)


def _to_start(g: Any, a: Any, axis: int, reverse: bool) -> Any:
    """What g, of all of the answer, means for each term: a recurrence against the direction."""
    return recur(shifted(a, axis, not reverse, 0.0), g, axis=axis, reverse=not reverse)


# recur(a, b, axis=, reverse=): y[t] = a[t] y[t - 1] + b[t], beginning with y[0] = b[0]
recur = _prefix(
    "recur", _forward(_recur), "{1}", "{0} * {h} + {1}",
    (lambda g, y, a, b, *, axis, reverse:
        _to_start(g, a, axis, reverse) * shifted(y, axis, reverse, 0.0),
     lambda g, y, a, b, *, axis, reverse: _to_start(g, a, axis, reverse)),
)

# cumprod(x, axis=, reverse=): y[t] = y[t - 1] x[t]. Its derivative divides by nothing, so that it
# is right also where a factor is zero: the product of the factors before, times what follows.
cumprod = _prefix(
    "cumprod", _accumulated(np.multiply), "{0}", "{h} * {0}",
    (lambda g, y, x, *, axis, reverse:
        shifted(y, axis, reverse, 1.0) * _to_start(g, x, axis, reverse),),
)


def others(x: Any, axis: int) -> Any:
    """In each place the product of all other factors along `axis`: of those before and those after.
    It divides by nothing either, so all its derivatives are right where factors are zero.
    """
    before, after = (
        shifted(cumprod(x, axis=axis, reverse=back), axis, back, 1.0) for back in (False, True)
    )
    return before * after


def others_alike(x: Any, axis: int, group: Any) -> Any:
    """The same for the factors of one group; `group`, of x's rank, numbers them in rising order.
    Products of 1, 2, 4, .. neighbours are joined, not scanned: what is infinite stays in its group.
    """
    y = None
    for back in (False, True):

        def alike(x: Any, by: int, back: bool = back) -> Any:
            same = eq(group, shifted(group, axis, back, -1, by))
            return where(same, shifted(x, axis, back, 1.0, by), 1)

        part, by = alike(x, 1), 1
        while by < x.shape[axis]:
            part, by = part * alike(part, by), 2 * by
        y = part if y is None else y * part
    return y


# cummax(x, axis=, reverse=), cummin: the greatest (least) element so far; NaN is greater, and less,
# than every number. No rules: whoever wants a gradient asks where the element stands.
cummax = _prefix("cummax", _forward(np.maximum.accumulate), "{0}", "maximum({h}, {0})", None, False)
cummin = _prefix("cummin", _forward(np.minimum.accumulate), "{0}", "minimum({h}, {0})", None, False)
