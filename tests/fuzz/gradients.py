"""Gradients beside gradients: equal, but for what rounding may change."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import shake
from .compare import Differs, array, dtype_of, is_tensor, numbers_differ
from .program import Program
from .values import EPS

# in the last place of the largest number of a gradient, before anything is measured
UNITS, UNITS_OF_HALVES = 1024, 64
SMALL = 1.0  # smaller gradients may be what larger ones left when they cancelled


def precision(env: dict[str, Any]) -> float:
    """The largest relative error that a number of the coarsest type in use may have."""
    coarsest = max(EPS.get(dtype_of(t), 0) for t in env.values() if is_tensor(t))
    return coarsest * (UNITS_OF_HALVES if coarsest > EPS["float32"] else UNITS)


def gradients_differ(program: Program, order: int, mine: list, theirs: list, eps: float) -> None:
    """Raise Differs unless our gradients of this order (0 or 1) are theirs. None is zero."""
    measured: dict | None = None
    for k, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        allowed = 0.0 if b is None else eps * max(largest(array(b)), SMALL)
        said = difference(a, b, allowed)
        if said and said.endswith("differ)"):
            measured = shake.spread_of_gradients(program) if measured is None else measured
            said = difference(a, b, allowed + measured.get((order, k), 0.0))
        if said:
            raise Differs(("grad", "grad2")[order], f"that of {program.leaves[k]}: {said}")


def largest(a: np.ndarray) -> float:
    return float(np.max(np.abs(a[np.isfinite(a)].astype(np.float64)), initial=0))


def difference(mine, theirs, allowed) -> str | None:
    if mine is None or theirs is None:
        if mine is theirs:
            return None
        left = mine if theirs is None else theirs
        mine, theirs = (left.new_zeros(left.shape) if g is None else g for g in (mine, theirs))
    kinds = [(dtype_of(t), tuple(t.shape)) for t in (mine, theirs)]
    if kinds[0] != kinds[1]:
        return f"{kinds[0]}, expected {kinds[1]}"
    return numbers_differ(mine, theirs, allowed)
