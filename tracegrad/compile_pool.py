"""Memory for what programs hand out: fresh to whoever holds it, recycled once nobody does."""

from __future__ import annotations

from sys import getrefcount

import numpy as np

from .ir.dtype import DType
from .runtime.executable import address
from .tracer.tensor import Tensor, wrap

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


# what getrefcount says where nobody else holds it: of a tensor in .grad, its parameter, `held`, a
# local variable and the argument; of its array, the tensor, the pool and the argument
TENSOR, ARRAY = 4, 3


class Gradients:
    """The tensors that a program leaves in `.grad` at every call: those of the last call, which are
    `held`, where nobody else holds them, so that a gradient somebody kept is never overwritten.
    """

    def __init__(self, pools: list[Pool], forced: list[bool]):
        self.pools, self.forced = pools, forced
        self.held: list[Tensor | None] = [None] * len(pools)

    def renew(self, current: tuple[Tensor | None, ...]) -> list[Tensor]:
        """The tensors for this call, of which `current` are in `.grad`."""
        answer = []
        for k, (pool, g) in enumerate(zip(self.pools, current, strict=True)):
            if (
                g is None
                or g is not self.held[k]
                or self.forced[k]
                or getrefcount(g) != TENSOR + 2  # `current`, and the caller's variable
                or getrefcount(g._array) != ARRAY
            ):
                self.held[k] = g = wrap(pool.take(), pool.dtype)
            answer.append(g)
        return answer
