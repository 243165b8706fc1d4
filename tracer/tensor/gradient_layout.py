"""The memory layout of gradients.

A gradient has the memory order of its leaf, so that both can be viewed and written in the same way.
If the leaf has gaps or repeated elements, its gradient is contiguous.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ...ir.ops.elementwise import copy
from ...ir.strides import inverse
from .device_memory import copyto, empty_like, transposed
from .memory_order import axis_order
from .tensor import Tensor, wrap


def array_axis_order(leaf: Any) -> tuple[int, ...] | None:
    """The axes of an array from the outermost in memory to the innermost.

    None if the array is contiguous, or if it has gaps or repeated elements.
    """
    if leaf.flags.c_contiguous:
        return None
    axes = tuple(sorted(range(leaf.ndim), key=lambda d: -leaf.strides[d]))
    return axes if transposed(leaf, axes).flags.c_contiguous else None


def layout_template(
    shape: tuple[int, ...], dtype: np.dtype, axes: tuple[int, ...] | None
) -> np.ndarray:
    """An array for `np.empty_like`: `shape` gives the extents of `axes`, outermost first."""
    size = dtype.itemsize
    strides = tuple(size * prod(shape[d + 1 :]) for d in range(len(shape)))
    like = as_strided(np.empty(1, dtype), shape, strides)
    return like if axes is None else like.transpose(inverse(axes))


def matches_layout(g: Any, leaf: Any) -> bool:
    """Whether a gradient has the memory layout that its leaf requires."""
    return _in_order(g, array_axis_order(leaf))


def _in_order(array: Any, axes: tuple[int, ...] | None) -> bool:
    """Whether the elements lie without gaps, and the axes in this order."""
    return (array if axes is None else transposed(array, axes)).flags.c_contiguous


def copy_in_layout(g: Tensor, leaf: Tensor) -> Tensor:
    """A copy of the eager tensor `g` in the memory layout of `leaf`."""
    array = empty_like(g._array, array_axis_order(leaf._array))
    copyto(array, g._array)
    return wrap(array, g._dtype)


def to_layout(new: Tensor, leaf: Any) -> Tensor:
    """`new` in the memory layout of the array `leaf`, or contiguous without a leaf.

    `new` is changed in place; nothing else may refer to it.
    """
    a = new._array
    if a is None or (a.flags.c_contiguous and (leaf is None or leaf.flags.c_contiguous)):
        return new
    return _ordered(new, None if leaf is None else array_axis_order(leaf))


def _ordered(new: Tensor, axes: tuple[int, ...] | None) -> Tensor:
    """`new` with its axes in this order in memory."""
    if not _in_order(a := new._array, axes):
        new._array, new._ptr = empty_like(a, axes), 0
        copyto(new._array, a)
    return new


def with_strides(new: Tensor, strides: tuple[int, ...]) -> Tensor:
    """`new` with these strides, which leave no gaps.

    `new` is changed in place; nothing else may refer to it.
    """
    if new._array is None:
        new._traced_strides = strides
    elif new._array.size:
        _ordered(new, axis_order(tuple(new.shape), strides))
    return new


def to_contiguous(new: Tensor) -> Tensor:
    """`new`, made contiguous in place; nothing else may refer to it."""
    if new._array is None:
        new._traced_strides = None
    return to_layout(new, None)


def differentiable_copy(g: Tensor, leaf: Any = None) -> Tensor:
    """A recorded copy of `g` in the memory layout of `leaf`."""
    return to_layout(Tensor.bind(copy, (g,), {}), leaf)
