"""How tensors lie in memory: strides, in elements, as torch would lay a tensor out.

They decide whether a reshape is a view and what a write through one reaches. A traced tensor has no
memory yet; what its strides are to be is known of inputs, of views, and of what is computed from
them element by element. All else is made in the usual order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided as _as_strided

from ..mode import mode
from .tensor import Tensor


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, n = [], 1
    for extent in reversed(shape):
        strides.append(n)
        n *= max(extent, 1)
    return tuple(reversed(strides))


def strides_of(t: Tensor) -> tuple[int, ...]:
    if t._array is not None and t._array.size:
        size = t._array.itemsize
        return tuple(s // size for s in t._array.strides)
    if t._view is not None and t._view.strides:
        return t._view.strides
    if t._laid is not None:
        return t._laid
    given = None if mode.trace is None or t._array is not None else mode.trace.layout(t)
    return contiguous(t.shape) if given is None else given


def inherited(inputs: Sequence[Tensor], shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The strides that an elementwise operation gives its result, which keeps the order of its
    operands' dimensions in memory, as NumPy finds it; None where that is the usual one.
    """
    if len(shape) < 2 or 0 in shape:
        return None
    given = [(tuple(x.shape), strides_of(x)) for x in inputs if x.numel() > 1]
    if all(strides == contiguous(own) for own, strides in given):
        return None
    cell = np.zeros(1, np.int8)  # small arrays with strides of the same order, never read
    like = [_as_strided(cell, tuple(map(_few, own)), _order(own, s)) for own, s in given]
    like.append(_as_strided(cell, tuple(map(_few, shape)), (0,) * len(shape)))
    flags: Any = [["readonly"]] * len(like) + [["writeonly", "allocate"]]
    made = np.nditer([*like, None], op_flags=flags, order="K").operands[-1]
    strides, n = [0] * len(shape), 1
    for d in sorted(range(len(shape)), key=lambda d: (made.strides[d], -d)):
        strides[d] = n
        n *= shape[d]
    return tuple(strides)


def fills(t: Tensor) -> bool:
    """Whether the elements of a tensor lie side by side: a copy keeps only such an order."""
    dims = zip(t.shape, strides_of(t), strict=True)
    return 0 in t.shape or sum((n - 1) * s for n, s in dims) + 1 == t.numel()


def _few(extent: int) -> int:
    return min(extent, 2)


def _order(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    """Strides for `_few` elements along each dimension, in the order of those given."""
    steps = sorted({abs(s) for s in strides} - {0})
    return tuple(2 ** (steps.index(abs(s)) + 1) if s else 0 for s in strides)


def repeats(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether two elements of such a tensor lie in one place."""
    reach, dims = 0, [(abs(s), n) for s, n in zip(strides, shape, strict=True) if n != 1]
    for s, n in sorted(dims):
        if s == 0 or 0 in shape:
            return 0 not in shape
        if s <= reach:
            places = np.zeros((), np.int64)
            for step, extent in dims:
                places = np.add.outer(places, np.arange(extent) * step)
            return len(np.unique(places)) < places.size
        reach += s * (n - 1)
    return False


def restride(
    shape: tuple[int, ...], strides: tuple[int, ...], new: tuple[int, ...]
) -> tuple[int, ...] | None:
    """The strides with which `new` looks at the same memory, or None where only a copy has that
    shape.
    """
    if 0 in shape:
        return contiguous(new)
    dims = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    blocks: list[
        list[int]
    ] = []  # [elements, innermost stride] of each run of dimensions that is one line in memory
    for n, s in dims:
        if blocks and blocks[-1][1] == n * s:
            blocks[-1] = [blocks[-1][0] * n, s]
        else:
            blocks.append([n, s])
    out: list[int] = []
    left, step = blocks.pop() if blocks else [1, 1]
    for n in reversed(new):
        if left == 1 and n != 1:
            if not blocks:
                return None
            left, step = blocks.pop()
        if left % n:
            return None
        out.append(step)
        left, step = left // n, step * n
    return tuple(reversed(out)) if left == 1 and not blocks else None
