"""Algebra of real numbers that rounded ones do not have: for `compile(fast_math=True)` alone.

It changes digits, the sign of a zero, or where numbers overflow. NaN and infinities among the
operands keep their meaning.
"""

from __future__ import annotations

from ..node import Node
from ..ops.elementwise import reciprocal, rsqrt, sqrt
from ..ops.reduce import sum
from ..rewrite import Table
from .algebra import fold
from .reductions import scaled
from .wildcards import a, b, c, d, is_ordinary, number, r, value, x


def scaled_once(r: Node, c: Node, d: Node, both: Node) -> Node | None:
    """r * both, unless that leaves the range where one constant is as good as two."""
    both = fold(both)
    return r * both if all(map(is_ordinary, (c, d, both))) else None


def of_scaled(y: Node, r: Node, c: Node) -> Node | None:
    """sum(r * c) = c * sum(r); not in half precision, where a mean is often scaled first so that it
    does not overflow.
    """
    return scaled(y, r, c) if not y.dtype.is_half and is_ordinary(c) else None


def of_divided(y: Node, r: Node, c: Node) -> Node | None:
    if y.dtype.is_half or not is_ordinary(c) or r.shape != y.inputs[0].shape:
        return None
    return sum(r, dims=y.params["dims"]) / number(value(c), y)


inexact = Table("inexact", [
    (x + 0, x),
    (0 - x, -x),
    (-(a - b), b - a),
    ((r * c) * d, lambda r, c, d: scaled_once(r, c, d, c * d)),
    ((r * c) / d, lambda r, c, d: scaled_once(r, c, d, c / d)),
    (a * reciprocal(r), a / r),
    (reciprocal(sqrt(r)), rsqrt(r)),
    (sum(r * c), of_scaled),
    (sum(r / c), of_divided),
])
