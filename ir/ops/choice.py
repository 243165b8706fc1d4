"""np.where without branches.

NumPy's has a branch for each element, which the processor guesses wrong half of the time if the
condition is random: a million elements take five milliseconds.
"""

from __future__ import annotations

from functools import cache

import numpy as np

MANY = 1 << 12  # elements; fewer are chosen faster one by one


def chosen(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """np.where(c, a, b), to the bit."""
    shape, size = c.shape, b.dtype.itemsize
    if (
        c.size < MANY or a.dtype is not b.dtype or c.dtype != np.bool_ or size not in (4, 8)
        or any(x.shape not in (shape, ()) or not x.flags.c_contiguous for x in (c, a, b))
    ):
        return np.where(c, a, b)
    word = np.dtype(f"u{size}")
    mask = c.astype(word)
    np.negative(mask, out=mask)  # all bits of a word, or none
    other = b.view(word)
    np.bitwise_and(mask, np.bitwise_xor(a.view(word), other), out=mask)
    np.bitwise_xor(mask, other, out=mask)
    return mask.view(b.dtype)


def positive_part(x: np.ndarray) -> np.ndarray:
    """np.where(x < 0, 0, x): -0.0 and NaN stay what they are."""
    zero = np.zeros((), x.dtype)
    if x.dtype.kind != "f" or (x.flags.c_contiguous and _keeps_signs(x.dtype)):
        return np.maximum(zero, x)
    return chosen(x < 0, zero, x)


@cache
def _keeps_signs(dtype: np.dtype) -> bool:
    """Whether NumPy's greater one of 0.0 and -0.0 is the second, on this processor."""
    zero, nan = np.zeros((), dtype), np.full(1, -np.nan, dtype)
    signed = all(np.signbit(np.maximum(zero, np.full(n, -0.0, dtype))).all() for n in range(1, 130))
    return signed and np.maximum(zero, nan).tobytes() == nan.tobytes()
