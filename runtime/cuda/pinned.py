"""Pinned memory of the host, that copies go from and to while the host does other things.

It is the driver's; an array in it is one of NumPy. Which arrays are is told by their addresses.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from weakref import finalize

import numpy as np

from ...ir.locks import lock
from ..cpu.executable import address
from .driver import Driver

_ranges: list[tuple[int, int]] = []  # of pinned memory, in order
_gone: deque[tuple[int, int]] = deque()  # noted by finalizers, which may run anywhere
_lock = lock()


def new(driver: Driver, device: int, nbytes: int) -> np.ndarray:
    """Pinned bytes. Their content is undefined."""
    block = driver.pinned(device, max(nbytes, 1))
    place = address(block), address(block) + block.nbytes
    with _lock:
        _forget()
        insort(_ranges, place)
    finalize(block, _gone.append, place).atexit = False
    return block


def is_pinned(array: np.ndarray) -> bool:
    """Whether an array begins in pinned memory."""
    if not _ranges:
        return False
    with _lock:
        _forget()
        k = bisect_right(_ranges, (address(array), 1 << 64)) - 1
        return k >= 0 and address(array) < _ranges[k][1]


def _forget() -> None:
    while _gone:
        _ranges.remove(_gone.popleft())
