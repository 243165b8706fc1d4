"""Banded recurrences: along one axis each row is made of the row before it, every element of those
that stood 0, 1 and 2 places before it along the last axis. Dynamic programs over two sequences are
of this kind.

`OpDef.scan` says how, as kernel text: the first row, and each from {h0}, {h1}, {h2}, those of the
row before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtype import DType
from ..op import Kind, OpDef, Rules, Scan, Types, always, register
from .prefix import shifted

WIDTH = 3
NEVER = -1e30  # the logarithm of no probability, of which a few may be added and compared


def _band(
    name: str, none: float, first: int, row: Callable[..., Any], step: str, vjp: Rules | None = None
) -> OpDef:
    """`row` makes one of the operands' rows and of the neighbours; the first is an operand's."""

    def infer(*avals: Any, axis: int, reverse: bool) -> tuple[tuple[int, ...], DType]:
        return avals[0].shape, avals[0].dtype

    def ref(*arrays: np.ndarray, axis: int, reverse: bool) -> np.ndarray:
        turn = (axis, -1) if reverse else ()
        rows = [np.moveaxis(np.flip(x, turn), axis, 0) for x in arrays]
        y = np.array(rows[first])
        for t in range(1, len(y)):
            before = [y[t - 1]]
            for _ in range(WIDTH - 1):
                end = np.full_like(before[-1][..., :1], none)
                before.append(np.concatenate([end, before[-1][..., :-1]], -1))
            y[t] = row(*(x[t] for x in rows), *before)
        return np.flip(np.moveaxis(y, 0, axis), turn)

    return register(OpDef(
        name, Kind.PREFIX, ref, infer, vjp, types=Types.SAME, adds=always,
        scan=Scan(f"{{{first}}}", step, none=none),
    ))


def neighbour(x: Any, k: int, back: bool, fill: float) -> Any:
    """In each place of the last axis the element k places before it (after it if `back`)."""
    for _ in range(k):
        x = shifted(x, len(x.shape) - 1, back, fill)
    return x


def _to_start(g: Any, factors: tuple[Any, ...], axis: int, reverse: bool) -> Any:
    """What g, of all of the answer, means for each term: the recurrence the other way."""
    there = (
        neighbour(shifted(a, axis, not reverse, 0.0), k, not reverse, 0.0)
        for k, a in enumerate(factors)
    )
    return band(*there, g, axis=axis, reverse=not reverse)


def _factor(k: int) -> Callable[..., Any]:
    def rule(g: Any, y: Any, *xs: Any, axis: int, reverse: bool) -> Any:
        before = neighbour(shifted(y, axis, reverse, 0.0), k, reverse, 0.0)
        return _to_start(g, xs[:WIDTH], axis, reverse) * before

    return rule


# band(a0, a1, a2, b, axis=, reverse=): y[t, s] = b[t, s] + the sum over k of a_k[t, s] y[t-1, s-k],
# beginning with y[0] = b[0]; from the ends of both axes if `reverse`
band = _band(
    "band", 0.0, WIDTH,
    lambda a0, a1, a2, b, h0, h1, h2: a0 * h0 + a1 * h1 + a2 * h2 + b,
    "{0} * {h0} + {1} * {h1} + {2} * {h2} + {3}",
    (*map(_factor, range(WIDTH)),
     lambda g, y, *xs, axis, reverse: _to_start(g, xs[:WIDTH], axis, reverse)),
)


def _log_row(a0: Any, a1: Any, a2: Any, h0: Any, h1: Any, h2: Any) -> np.ndarray:
    paths = np.stack([a0 + h0, a1 + h1, a2 + h2])
    top = paths.max(0)
    return np.log(np.exp(paths - top).sum(0)) + top


_WAYS = ("{0} + {h0}", "{1} + {h1}", "{2} + {h2}")
_TOP = "maximum(maximum({}, {}), {})".format(*_WAYS)

# log_band(a0, a1, a2, axis=, reverse=): band for logarithms, y[t, s] = log of the sum over k of
# exp(a_k[t, s] + y[t-1, s-k]), beginning with y[0] = a0[0]. No rules: whoever wants a gradient
# follows the shares that the terms have in the sums, by `band`.
log_band = _band(
    "log_band", NEVER, 0, _log_row,
    f"log({' + '.join(f'exp({way} - {_TOP})' for way in _WAYS)}) + {_TOP}",
)
