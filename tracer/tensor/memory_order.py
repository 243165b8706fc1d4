"""The memory layout of tensors: strides, in elements, as torch would choose them.

Strides decide whether a reshape is a view, and which elements a write through a view reaches. A
traced tensor has no memory. Its strides are known for inputs, for views, and for elementwise
outputs of these. Everything else is contiguous.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ...ir.strides import contiguous, inverse
from ..mode import mode
from .tensor import Tensor


def strides_of(t: Tensor) -> tuple[int, ...]:
    """The strides of a tensor, in elements."""
    if t._array is not None and t._array.size:
        size = t._array.itemsize
        return tuple(s // size for s in t._array.strides)
    if t._view is not None and t._view.strides:
        return t._view.strides
    if t._traced_strides is not None:
        return t._traced_strides
    layout = None if mode.trace is None or t._array is not None else mode.trace.layout(t)
    return contiguous(t.shape) if layout is None else layout


@lru_cache(10_000)
def elementwise_strides(
    operands: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...], shape: tuple[int, ...]
) -> tuple[int, ...]:
    """The strides that torch gives an elementwise output of `shape`.

    `operands` are the shapes and strides of the operands. The output has no gaps. The first operand
    that decides the order of two dimensions sets it.
    """
    rank = len(shape)
    strides_by_operand = [  # innermost first; 0 along a broadcast dimension
        [0 if n == 1 != shape[-1 - d] else s
         for d, (n, s) in enumerate(zip(own[::-1], strides[::-1], strict=True))]
        + [0] * (rank - len(own))
        for own, strides in operands
    ]
    extents, order = shape[::-1], list(range(rank))
    for i in range(1, rank):
        at = i
        for k in range(i - 1, -1, -1):
            outer = _is_outer(order[k], order[at], strides_by_operand, extents)
            if outer is False:
                break
            if outer:
                order[k], order[at], at = order[at], order[k], k
    out, step = [0] * rank, 1
    for d in order:
        out[rank - 1 - d] = step
        step *= max(extents[d], 1)
    return tuple(out)


def _is_outer(
    a: int, b: int, operands: list[list[int]], extents: tuple[int, ...]
) -> bool | None:
    """Whether axis `a` lies outside axis `b` in memory; None if no operand decides."""
    for strides in operands:
        if strides[a] and strides[b]:
            if strides[a] != strides[b]:
                return strides[a] > strides[b]
            if extents[a] > extents[b]:
                return True
    return None


def axis_order(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...] | None:
    """The axes from the outermost in memory to the innermost.

    None if they are in order, or if the memory has gaps.
    """
    usual = contiguous(shape)
    if all(s == c for n, s, c in zip(shape, strides, usual, strict=True) if n != 1):
        return None
    axes = tuple(sorted(range(len(shape)), key=lambda d: -strides[d]))
    dense = contiguous(tuple(shape[d] for d in axes))
    filled = all(strides[d] == s for d, s in zip(axes, dense, strict=True) if shape[d] != 1)
    return axes if filled else None


def in_torch_order(y: np.ndarray, arrays: list[np.ndarray]) -> np.ndarray:
    """An elementwise output in the memory order that torch would give it."""
    for a in arrays:
        if not a.flags.c_contiguous:
            break
    else:
        return y
    operands = tuple([(a.shape, a.strides) for a in arrays])
    axes = _other_order(operands, y.shape, y.strides, y.itemsize)
    if axes is None:
        return y
    out = np.empty([y.shape[d] for d in axes], y.dtype).transpose(inverse(axes))
    np.copyto(out, y)
    return out


@lru_cache(10_000)
def _other_order(
    operands: tuple, shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int
) -> tuple[int, ...] | None:
    """The axes from the outermost to the innermost in the memory that torch would give an output
    of these operands; None if the strides of the output have that order.
    """
    want = elementwise_strides(operands, shape)
    dims = zip(shape, strides, want, strict=True)
    if 0 in shape or all(s == w * itemsize for n, s, w in dims if n > 1):
        return None
    return axis_order(shape, want) or tuple(range(len(shape)))
