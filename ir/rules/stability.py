"""Formulas that lose digits or overflow, replaced by ones that do not. Where both are finite they
are equal but for rounding, so this too is for `compile(fast_math=True)` alone.
"""

from __future__ import annotations

from typing import Any

from ..ops.elementwise import abs, exp, expm1, log, log1p, maximum, minimum, neg, sigmoid, sqrt
from ..rewrite import Table
from .wildcards import r, s


def log_sigmoid(r: Any) -> Any:
    return minimum(r, 0) - log1p(exp(-abs(r)))


def softplus(r: Any) -> Any:
    """log(1 + exp(r)); its own stable form contains it at arguments that are never positive."""
    if r.op is neg and r.inputs[0].op is abs:
        return None
    return maximum(r, 0) + log1p(exp(-abs(r)))


stability = Table("stability", [
    (log(r + 1), log1p(r)),
    (log(1 - r), log1p(-r)),
    (exp(r) - 1, expm1(r)),
    (exp(r) + -1, expm1(r)),
    (log(exp(r)), r),
    (log(sigmoid(r)), log_sigmoid),
    (log1p(-sigmoid(r)), lambda r: log_sigmoid(-r)),
    (log1p(exp(r)), softplus),
    (log(exp(r) / s), r - log(s)),  # log of a softmax
    (sqrt(r * r), abs(r)),
])
