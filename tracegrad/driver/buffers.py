"""Memory for what programs hand out: fresh to whoever holds it, recycled once nobody does."""

from __future__ import annotations

from sys import getrefcount
from sysconfig import get_config_var
from types import SimpleNamespace

import numpy as np

from ..ir.dtype import DType, float32
from ..runtime.cpu.executable import address
from ..tracer.tensor.gradient_layout import layout_template
from ..tracer.tensor.tensor import Tensor, wrap

MOST_KEPT = 8  # buffers of one output that wait to be used again
# what getrefcount says where nobody else holds it: of a buffer that the pool looks at, its tuple,
# the loop's variable and the argument; of a tensor in .grad, its parameter, `held`, a local
# variable and the argument; of that one's array, the tensor, the pool and the argument
FREE, TENSOR, ARRAY = 3, 4, 3


class Pool:
    """Buffers for one output: one is handed out again when nobody holds it any more. `axes` of
    what is handed out, outermost first, have the shape of the output.
    """

    __slots__ = ("buffers", "dtype", "like", "slot", "table")

    def __init__(self, table: memoryview, slot: int, shape: tuple[int, ...], dtype: DType,
                 axes: tuple[int, ...] | None = None):
        self.table, self.slot, self.dtype = table, slot, dtype
        self.like = layout_template(shape, np.dtype(dtype.storage), axes)
        self.buffers: list[tuple[np.ndarray, int]] = []

    def take(self) -> np.ndarray:
        """A free buffer, its address in the table."""
        for array, where in self.buffers:
            if getrefcount(array) == FREE:
                self.table[self.slot] = where
                return array
        array = np.empty_like(self.like)
        where = address(array)
        if len(self.buffers) == MOST_KEPT:  # all held by somebody: let go of the oldest
            del self.buffers[0]
        if FREE > 0:  # the newest is always here: its references are counted
            self.buffers.append((array, where))
        self.table[self.slot] = where
        return array

    def memory(self) -> int:
        return sum(array.nbytes for array, _ in self.buffers)

    def clear(self) -> None:
        self.buffers.clear()


class Gradients:
    """The tensors that a program leaves in `.grad` at every call: those of the last call, which are
    `held`, where nobody else holds them, so that a gradient somebody kept is never overwritten.
    """

    def __init__(self, pools: list[Pool], forced: list[bool]):
        self.pools, self.forced = pools, forced
        self.held: list[Tensor | None] = [None] * len(pools)

    def memory(self) -> int:
        return 0  # counted by the pools

    def clear(self) -> None:
        self.held[:] = [None] * len(self.held)

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


def recycled(owner: SimpleNamespace, held: list[Tensor | None]) -> bool:
    """Whether a call would write into the tensor in `.grad`, asked as replay.py asks."""
    g: Tensor = owner._grad
    return g is held[0] and getrefcount(g) == TENSOR and getrefcount(g._array) == ARRAY


def counts_hold() -> bool:
    """Whether this Python counts references as FREE, TENSOR and ARRAY say. One that leaves some out
    (borrowed by the stack, or counted elsewhere without a global lock) would make what somebody
    holds look free.
    """
    if get_config_var("Py_GIL_DISABLED"):
        return False
    pool = Pool(memoryview(bytearray(8)).cast("q"), 0, (1,), float32)
    first = pool.take()
    second = [pool.take()]
    kept = first is not second[0]
    del first, second
    freed = id(pool.take()) == id(pool.take()) and len(pool.buffers) == 2
    gradients = Gradients([pool], [False])
    owner = SimpleNamespace(_grad=gradients.renew((None,))[0])
    again = recycled(owner, gradients.held)
    for hold in (lambda g: g, lambda g: g._array, lambda g: g._array[:]):
        mine = hold(owner._grad)
        kept = kept and not recycled(owner, gradients.held)
        del mine
    return kept and freed and again and recycled(owner, gradients.held)


if not counts_hold():  # nothing ever looks free
    FREE = TENSOR = ARRAY = -1
