"""Memory of results. A buffer is used again once nobody outside holds it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from sys import getrefcount
from sysconfig import get_config_var
from types import SimpleNamespace

import numpy as np

from ..ir.dtype import DType, float32, uint8
from ..ir.node import Aval
from ..tracer.tensor.gradient_layout import layout_template
from ..tracer.tensor.tensor import Tensor, wrap
from .places import HOST, Array, Place, address

APART = 256  # bytes: outputs in one buffer begin at multiples
MOST_KEPT = 8  # buffers of one output that are kept for later calls
# the reference counts of what nobody else holds. A buffer in the pool: its tuple, the loop
# variable, the argument of getrefcount. A tensor in .grad: its parameter, `held`, a local variable,
# the argument. The array of that tensor: the tensor, the pool, the argument
FREE, TENSOR, ARRAY = 3, 4, 3


class Pool:
    """Buffers for one output, in the place where its program runs. `axes` is the order of the axes
    in memory, outermost first.
    """

    __slots__ = ("buffers", "dtype", "empty_like", "like", "slot", "table")

    def __init__(self, place: Place, table: memoryview, slot: int, shape: tuple[int, ...],
                 dtype: DType, axes: tuple[int, ...] | None = None):
        self.table, self.slot, self.dtype, self.empty_like = table, slot, dtype, place.empty_like
        self.like = layout_template(shape, np.dtype(dtype.storage), axes)
        self.buffers: list[tuple[Array, int]] = []

    def take(self) -> Array:
        """A free buffer. Writes its address into the pointer table."""
        for array, where in self.buffers:
            if getrefcount(array) == FREE:
                self.table[self.slot] = where
                return array
        array = self.empty_like(self.like)
        where = address(array)
        if len(self.buffers) == MOST_KEPT:  # all are held elsewhere: drop the oldest
            del self.buffers[0]
        if FREE > 0:  # ARRAY counts the pool's reference to the newest
            self.buffers.append((array, where))
        self.table[self.slot] = where
        return array

    def memory(self) -> int:
        return sum(array.nbytes for array, _ in self.buffers)

    def clear(self) -> None:
        self.buffers.clear()


class Block(Pool):
    """Memory for several outputs that are needed as long as one another, side by side: one buffer
    for all of them.
    """

    __slots__ = ("offsets", "slots")

    def __init__(self, place: Place, table: memoryview, slots: Sequence[int],
                 avals: Sequence[Aval]):
        sizes = [math.prod(shape) * dtype.itemsize for shape, dtype in avals]
        ends = np.cumsum([-(-size // APART) * APART for size in sizes])
        super().__init__(place, table, slots[0], (int(ends[-1]),), uint8)
        self.slots = np.array(slots)
        self.offsets = np.concatenate([[0], ends[:-1]])

    def take(self) -> Array:
        array = super().take()
        np.asarray(self.table)[self.slots] = self.offsets + self.table[self.slot]
        return array


class Gradients:
    """The tensors that a program leaves in `.grad`. The tensor of the last call, in `held`, is used
    again if nobody else holds it. So a gradient that the user kept is never overwritten.
    """

    def __init__(self, pools: list[Pool], forced: list[bool]):
        self.pools, self.forced = pools, forced
        self.held: list[Tensor | None] = [None] * len(pools)

    def memory(self) -> int:
        return 0  # the pools count it

    def clear(self) -> None:
        self.held[:] = [None] * len(self.held)

    def renew(self, current: tuple[Tensor | None, ...]) -> list[Tensor]:
        """The tensors for this call. `current` is what is in `.grad` now."""
        tensors = []
        for k, (pool, g) in enumerate(zip(self.pools, current, strict=True)):
            if (
                g is None
                or g is not self.held[k]
                or self.forced[k]
                or getrefcount(g) != TENSOR + 2  # `current`, and the caller's variable
                or getrefcount(g._array) != ARRAY
            ):
                self.held[k] = g = wrap(pool.take(), pool.dtype)
            tensors.append(g)
        return tensors


def recycled(owner: SimpleNamespace, held: list[Tensor | None]) -> bool:
    """Whether a call would write into the tensor in `.grad`, by the test of replay/memory.py."""
    g: Tensor = owner._grad
    return g is held[0] and getrefcount(g) == TENSOR and getrefcount(g._array) == ARRAY


def counts_hold() -> bool:
    """Whether this Python counts references as FREE, TENSOR and ARRAY assume. If it leaves some out
    (borrowed references on the stack, or free threading), a tensor in use would look free.
    """
    if get_config_var("Py_GIL_DISABLED"):
        return False
    pool = Pool(HOST, memoryview(bytearray(8)).cast("q"), 0, (1,), float32)
    first = pool.take()
    second = [pool.take()]
    distinct = first is not second[0]
    del first, second
    buffer_recycled = id(pool.take()) == id(pool.take()) and len(pool.buffers) == 2
    gradients = Gradients([pool], [False])
    owner = SimpleNamespace(_grad=gradients.renew((None,))[0])
    tensor_recycled = recycled(owner, gradients.held)
    for hold in (lambda g: g, lambda g: g._array, lambda g: g._array[:]):
        held = hold(owner._grad)
        distinct = distinct and not recycled(owner, gradients.held)
        del held
    return distinct and buffer_recycled and tensor_recycled and recycled(owner, gradients.held)


if not counts_hold():  # no buffer is ever used again
    FREE = TENSOR = ARRAY = -1
