"""The memory layout of gradients.

A gradient has the memory order of its leaf, so that both can be viewed and written in the same way.
If the leaf has gaps or repeated elements, its gradient is contiguous.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ...ir.ops.elementwise import copy
from ...ir.strides import inverse
from .tensor import Tensor, wrap


def array_axis_order(leaf: np.ndarray) -> tuple[int, ...] | None:
    """The axes of an array from the outermost in memory to the innermost.

    None if the array is contiguous, or if it has gaps or repeated elements.
    """
    if leaf.flags.c_contiguous:
        return None
    axes = tuple(sorted(range(leaf.ndim), key=lambda d: -leaf.strides[d]))
    return axes if leaf.transpose(axes).flags.c_contiguous else None


def empty_like_leaf(leaf: np.ndarray) -> np.ndarray:
    """Uninitialised memory for the gradient of a leaf."""
    return np.empty_like(leaf, order="C" if array_axis_order(leaf) is None else "K")


def layout_template(
    shape: tuple[int, ...], dtype: np.dtype, axes: tuple[int, ...] | None
) -> np.ndarray:
    """An array for `np.empty_like`: `shape` gives the extents of `axes`, outermost first."""
    size = dtype.itemsize
    strides = tuple(size * prod(shape[d + 1 :]) for d in range(len(shape)))
    like = as_strided(np.empty(1, dtype), shape, strides)
    return like if axes is None else like.transpose(inverse(axes))


def matches_layout(g: np.ndarray, leaf: np.ndarray) -> bool:
    """Whether a gradient has the memory layout that its leaf requires."""
    axes = array_axis_order(leaf)
    return (g if axes is None else g.transpose(axes)).flags.c_contiguous


def copy_in_layout(g: Tensor, leaf: Tensor) -> Tensor:
    """A copy of the eager tensor `g` in the memory layout of `leaf`."""
    array = empty_like_leaf(leaf._array)
    np.copyto(array, g._array)
    return wrap(array, g._dtype)


def to_layout(new: Tensor, leaf: np.ndarray | None) -> Tensor:
    """`new` in the memory layout of `leaf`, or contiguous without a leaf.

    `new` is changed in place; nothing else may refer to it.
    """
    a = new._array
    if a is None or (a.flags.c_contiguous and (leaf is None or leaf.flags.c_contiguous)):
        return new
    if leaf is None or not matches_layout(a, leaf):
        new._array = np.empty(a.shape, a.dtype) if leaf is None else empty_like_leaf(leaf)
        np.copyto(new._array, a)
        new._ptr = 0
    return new


def with_strides(new: Tensor, strides: tuple[int, ...]) -> Tensor:
    """`new` with these strides, which leave no gaps.

    `new` is changed in place; nothing else may refer to it.
    """
    if new._array is None:
        new._traced_strides = strides
    elif new._array.size:
        size = new._array.itemsize
        to_layout(new, as_strided(new._array.ravel()[:1], new.shape, [s * size for s in strides]))
    return new


def to_contiguous(new: Tensor) -> Tensor:
    """`new`, made contiguous in place; nothing else may refer to it."""
    if new._array is None:
        new._traced_strides = None
    return to_layout(new, None)


def differentiable_copy(g: Tensor, leaf: np.ndarray | None = None) -> Tensor:
    """A recorded copy of `g` in the memory layout of `leaf`."""
    return to_layout(Tensor.bind(copy, (g,), {}), leaf)
