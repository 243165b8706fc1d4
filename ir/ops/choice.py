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


PART = 1 << 14  # elements of a row of zeros


@cache
def _zeros(dtype: np.dtype) -> np.ndarray:
    """A row of zeros: NumPy's maximum of an array and a number is several times slower."""
    return np.zeros(PART, dtype)


def positive_part(x: np.ndarray) -> np.ndarray:
    """np.where(x < 0, 0, x): -0.0 and NaN stay what they are."""
    zeros, n = _zeros(x.dtype), x.size
    if not x.flags.c_contiguous or (x.dtype.kind == "f" and not _keeps_signs(x.dtype)):
        return chosen(x < 0, zeros[:1].reshape(()), x)
    if n <= PART:
        return np.maximum(zeros[:n].reshape(x.shape), x)
    y = np.empty(x.shape, x.dtype)
    source, target = x.reshape(n), y.reshape(n)
    for k in range(0, n, PART):
        part = source[k : k + PART]
        np.maximum(zeros[: part.size], part, out=target[k : k + PART])
    return y


@cache
def _keeps_signs(dtype: np.dtype) -> bool:
    """Whether NumPy's greater one of 0.0 and -0.0 is the second, on this processor."""
    zeros, nan = _zeros(dtype), np.full(1, -np.nan, dtype)
    lengths = range(1, 130)
    signed = all(np.signbit(np.maximum(zeros[:n], np.full(n, -0.0, dtype))).all() for n in lengths)
    return signed and np.maximum(zeros[:1], nan).tobytes() == nan.tobytes()
