"""Random bits: Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
1, 2, 3" (2011).

The generator is a function of a key and a counter, so an element's number depends on the seed and
on its position in the stream alone: not on who computes it, in which order, or how often. It is an
elementwise primitive, which fuses into whatever uses it, and distributions follow from it by
arithmetic (tracegrad/functions/torch/random_sampling.py).
"""

from __future__ import annotations

import numpy as np

from ..dtype import int64
from ..op import TRANSCENDENTAL, Law, elementwise

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # what the key grows by from round to round
ROUNDS = 10
_BLOCK = 1 << 14  # elements at a time, so that the words of the rounds stay in cache
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)


def signed(word: int) -> int:
    """64 bits, as the int64 that they are."""
    return (word + 2**63) % 2**64 - 2**63


def _rounds(key: np.ndarray, counter: np.ndarray) -> np.ndarray:
    """The first 64 of the 128 bits for each counter; all are uint64, and the key may be one."""
    c0, c1 = counter & _LOW, counter >> _HALF
    c2, c3 = np.zeros_like(c0), np.zeros_like(c0)
    p0, p1 = np.empty_like(c0), np.empty_like(c0)
    k0, k1 = key & _LOW, key >> _HALF
    for _ in range(ROUNDS):
        np.multiply(c0, np.uint64(MULTIPLIERS[0]), out=p0)
        np.multiply(c2, np.uint64(MULTIPLIERS[1]), out=p1)
        # the upper halves of c1 and c3 are not cleared: they are masked when they are used
        for c, p, odd, k in ((c0, p1, c1, k0), (c2, p0, c3, k1)):
            np.right_shift(p, _HALF, out=c)
            c ^= odd
            c ^= k
            c &= _LOW
        c1, c3, p0, p1 = p1, p0, c3, c1
        k0, k1 = (k0 + np.uint64(WEYL[0])) & _LOW, (k1 + np.uint64(WEYL[1])) & _LOW
    return c0 | c1 << _HALF


def _philox(seed: np.ndarray, position: np.ndarray) -> np.ndarray:
    key, counter = (np.asarray(x, np.int64).view(np.uint64) for x in (seed, position))
    if key.size > 1 or counter.shape != np.broadcast_shapes(key.shape, counter.shape):
        key, counter = np.broadcast_arrays(key, counter)
    shape, flat, key = counter.shape, counter.reshape(-1), key.reshape(-1)
    bits = np.empty(flat.shape, np.uint64)
    for at in range(0, flat.size, _BLOCK):
        part = np.s_[at : at + _BLOCK]
        bits[part] = _rounds(key[part] if key.size > 1 else key, flat[part])
    return bits.view(np.int64).reshape(shape)


# random_bits(seed, position): 64 random bits, as an int64
random_bits = elementwise(
    "random_bits", ref=_philox, expr="philox({0}, {1})", cost=2 * TRANSCENDENTAL,
    draws=True,
    law=Law("seed and position are int64", lambda *inputs: all(x.dtype is int64 for x in inputs)),
)
