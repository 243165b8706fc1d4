"""The exchanges between the threads of a team, in the vocabulary of CUDA.

In the simulator, which has no shuffles, one goes through shared memory; all threads of a block must
then come to it, and the text of kernels is such that they do. All threads of a team get the same
bits: of two zeros, lane 0's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba.core import config

from .builtins import EXCHANGES, KINDS, Exchange
from .numba_cuda import cuda_of_device_functions, device

cuda = cuda_of_device_functions()
MOST_THREADS = 256
MOST_WARPS = MOST_THREADS // 32


def _combine_of(operation: str, kind: Any) -> Any:
    if operation == "sum":
        return device(lambda a, b: kind(a + b))
    if operation == "prod":
        return device(lambda a, b: kind(a * b))
    if operation == "max":
        return device(lambda a, b: a if a != a or a > b else b)
    return device(lambda a, b: a if a != a or a < b else b)


def _wide(code: str) -> Any:
    """The type in which a number travels."""
    return np.int32 if code in ("i2", "i1", "u1", "b1") else KINDS[code]


def _shuffles_of(kind: Any, wide: Any) -> tuple[Any, Any, Any]:
    """What the lane has whose number differs in some bits, what lane 0 has, and what the lane so
    many before this one has; the first lanes get what nobody shall use.
    """
    if vars(config)["ENABLE_CUDASIM"]:

        @device
        def from_lane(x: Any, thread: Any) -> Any:
            place = cuda.shared.array(MOST_THREADS, wide)
            cuda.syncthreads()
            place[cuda.threadIdx.x] = x
            cuda.syncthreads()
            return kind(place[thread])

        return (
            device(lambda x, apart: from_lane(x, cuda.threadIdx.x ^ apart)),
            device(lambda x: from_lane(x, cuda.threadIdx.x & ~31)),
            device(lambda x, back: from_lane(x, max(cuda.threadIdx.x - back, 0))),
        )
    return (
        device(lambda x, apart: kind(cuda.shfl_xor_sync(0xFFFFFFFF, wide(x), apart))),
        device(lambda x: kind(cuda.shfl_sync(0xFFFFFFFF, wide(x), 0))),
        device(lambda x, back: kind(cuda.shfl_up_sync(0xFFFFFFFF, wide(x), back))),
    )


def _warp_of(operation: str, code: str) -> Any:
    kind, combine = KINDS[code], _combine_of(operation, KINDS[code])
    apart, lane0, _ = _shuffles_of(kind, _wide(code))

    @device
    def warp(x: Any) -> Any:
        x = combine(x, apart(x, 16))
        x = combine(x, apart(x, 8))
        x = combine(x, apart(x, 4))
        x = combine(x, apart(x, 2))
        return lane0(combine(x, apart(x, 1)))

    return warp


def _block_of(operation: str, code: str) -> Any:
    kind, wide, combine = KINDS[code], _wide(code), _combine_of(operation, KINDS[code])
    warp = _warp_of(operation, code)

    @device
    def block(x: Any) -> Any:
        parts, warps = cuda.shared.array(MOST_WARPS, wide), cuda.blockDim.x >> 5
        total = warp(x)
        cuda.syncthreads()  # what was there has been read
        if cuda.threadIdx.x & 31 == 0:
            parts[cuda.threadIdx.x >> 5] = total
        cuda.syncthreads()
        total = kind(parts[0])
        for w in range(1, warps):
            total = combine(total, kind(parts[w]))
        return total

    return block


def _column_of(operation: str, code: str) -> Any:
    kind, wide, combine = KINDS[code], _wide(code), _combine_of(operation, KINDS[code])

    @device
    def column(x: Any, columns: Any) -> Any:
        parts = cuda.shared.array(MOST_THREADS, wide)
        t = cuda.threadIdx.x
        cuda.syncthreads()
        parts[t] = x
        half = cuda.blockDim.x >> 1
        while half >= columns:
            cuda.syncthreads()
            if t < half:
                parts[t] = combine(kind(parts[t]), kind(parts[t + half]))
            half >>= 1
        cuda.syncthreads()
        return kind(parts[t & (columns - 1)])

    return column


def _scan_of(operation: str, code: str) -> Any:
    kind, wide, combine = KINDS[code], _wide(code), _combine_of(operation, KINDS[code])
    *_, before = _shuffles_of(kind, wide)

    @device
    def scan(x: Any, carry: Any) -> Any:
        parts, warps = cuda.shared.array(MOST_WARPS, wide), cuda.blockDim.x >> 5
        lane, warp, back = cuda.threadIdx.x & 31, cuda.threadIdx.x >> 5, 1
        while back < 32:
            other = before(x, back)
            if lane >= back:
                x = combine(other, x)
            back <<= 1
        cuda.syncthreads()  # what was there has been read
        if lane == 31:
            parts[warp] = x
        cuda.syncthreads()
        total = own = kind(carry)
        for w in range(warps):
            if w == warp:
                own = total
            total = combine(total, kind(parts[w]))
        other = before(x, 1)
        if lane > 0:
            own = combine(own, other)
        return own, total

    return scan


_TEAMS: dict[str, Callable[[str, str], Any]] = {
    "warp": _warp_of, "block": _block_of, "column": _column_of, "scan": _scan_of,
}


@cache
def function(exchange: Exchange) -> Any:
    """The device function of an exchange."""
    return _TEAMS[exchange.team](exchange.operation, exchange.code)


def functions(names: Any) -> dict[str, Any]:
    """Those of these names."""
    return {name: function(EXCHANGES[name]) for name in names if name in EXCHANGES}
