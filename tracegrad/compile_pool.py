"""Memory for what programs hand out: fresh to whoever holds it, recycled once nobody does."""

from __future__ import annotations

from sys import getrefcount

import numpy as np

from .ir.dtype import DType
from .runtime.executable import address

MOST_KEPT = 8  # buffers of one output that wait to be used again


class Pool:
    """Buffers for one output: one is handed out again when nobody holds it any more."""

    __slots__ = ("buffers", "dtype", "shape", "slot", "table")

    def __init__(self, table: memoryview, slot: int, shape: tuple[int, ...], dtype: DType):
        self.table, self.slot, self.shape, self.dtype = table, slot, shape, dtype
        self.buffers: list[tuple[np.ndarray, int]] = []

    def take(self) -> np.ndarray:
        """A free buffer, its address in the table."""
        for array, where in self.buffers:
            if getrefcount(array) == 3:  # the pool's tuple, the loop's variable, the argument
                self.table[self.slot] = where
                return array
        array = np.empty(self.shape, self.dtype.storage)
        where = address(array)
        if len(self.buffers) == MOST_KEPT:  # all held by somebody: let go of the oldest
            del self.buffers[0]
        self.buffers.append((array, where))  # the newest is always here: its references are counted
        self.table[self.slot] = where
        return array
