"""Long sums in NumPy that keep their digits.

NumPy adds pairwise along the axis that is innermost in memory, and number by number along every
other one, where a million float32 terms lose half of their digits. Here every term takes part in
few additions, whichever axes are summed over.
"""

from __future__ import annotations

import math

import numpy as np

BLOCK = 64  # terms that are added one after the other
SQUARES = 4096  # terms that BLAS adds up: few enough to keep the digits, and for one thread
NARROW = 16  # columns; fewer are turned into rows, so that NumPy's loops are along the sums


def total(x: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    """The sum over `dims`. Of n terms each takes part in some BLOCK log(n) / log(BLOCK) additions
    at most.
    """
    few = math.prod(x.shape[d] for d in dims) <= BLOCK
    if few or x.dtype.kind != "f" or (len(dims) == x.ndim and x.flags.c_contiguous):
        return np.add.reduce(x, axis=dims, initial=0, dtype=x.dtype)
    order = sorted(range(x.ndim), key=lambda d: -abs(x.strides[d]))
    y, gone = _runs(x.transpose(order), [d in dims for d in order])
    for axis in reversed(range(y.ndim)):
        if gone[axis]:
            y = _down(y, axis)
    kept = [d for d in order if d not in dims]
    y = y.reshape([x.shape[d] for d in kept])
    return y.transpose([kept.index(d) for d in sorted(kept)])


def squares(x: np.ndarray) -> np.floating:
    """The sum of the squares of all numbers."""
    flat = x.ravel("K")
    whole = flat.size - flat.size % SQUARES
    rest = flat[whole:]
    if not whole:
        return np.dot(rest, rest)
    rows = flat[:whole].reshape(-1, 1, SQUARES)
    return np.add.reduce(rows @ rows.transpose(0, 2, 1), axis=None) + np.dot(rest, rest)


def _runs(x: np.ndarray, gone: list[bool]) -> tuple[np.ndarray, list[bool]]:
    """Neighbouring axes that are both summed over, or both kept, as one where memory allows."""
    shape, flags = list(x.shape), list(gone)
    strides = list(x.strides)
    for d in reversed(range(x.ndim - 1)):
        if flags[d] is flags[d + 1] and strides[d] == strides[d + 1] * shape[d + 1]:
            shape[d] *= shape.pop(d + 1)
            strides[d] = strides.pop(d + 1)
            del flags[d + 1]
    return x.reshape(shape), flags


def _down(x: np.ndarray, axis: int) -> np.ndarray:
    """The sum along one axis."""
    n, last = x.shape[axis], axis == x.ndim - 1
    if n <= BLOCK or last:
        return np.add.reduce(x, axis=axis, initial=0, dtype=x.dtype)
    if math.prod(x.shape[axis + 1 :]) <= NARROW:
        rows = np.ascontiguousarray(np.moveaxis(x, axis, -1))
        return np.add.reduce(rows, axis=-1, initial=0, dtype=x.dtype)
    whole = n - n % BLOCK
    shape = (*x.shape[:axis], n // BLOCK, BLOCK, *x.shape[axis + 1 :])
    ahead = (slice(None),) * axis
    parts = np.add.reduce(x[(*ahead, slice(whole))].reshape(shape), axis=axis + 1, initial=0)
    y = _down(parts, axis)
    if whole < n:
        y = y + np.add.reduce(x[(*ahead, slice(whole, n))], axis=axis, initial=0)
    return y
