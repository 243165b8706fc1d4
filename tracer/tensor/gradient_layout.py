"""How a gradient lies in memory: as the leaf that it belongs to, so that both can be viewed and
written alike. A leaf that does not fill its memory, or repeats some of it, has a gradient in the
order of the indices.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ...ir.ops.elementwise import copy
from .tensor import Tensor, wrap


def array_axis_order(leaf: np.ndarray) -> tuple[int, ...] | None:
    """The axes of a leaf from the outermost in memory to the innermost, None where they are in
    order or the memory is not filled.
    """
    if leaf.flags.c_contiguous:
        return None
    axes = tuple(sorted(range(leaf.ndim), key=lambda d: -leaf.strides[d]))
    return axes if leaf.transpose(axes).flags.c_contiguous else None


def empty_like_leaf(leaf: np.ndarray) -> np.ndarray:
    """Memory for the gradient of a leaf."""
    return np.empty_like(leaf, order="C" if array_axis_order(leaf) is None else "K")


def layout_template(
    shape: tuple[int, ...], dtype: np.dtype, axes: tuple[int, ...] | None
) -> np.ndarray:
    """What `np.empty_like` makes arrays from whose `axes`, outermost first, have this shape."""
    size = dtype.itemsize
    strides = tuple(size * prod(shape[d + 1 :]) for d in range(len(shape)))
    like = as_strided(np.empty(1, dtype), shape, strides)
    return like if axes is None else like.transpose(np.argsort(axes))


def matches_layout(g: np.ndarray, leaf: np.ndarray) -> bool:
    """Whether a gradient lies as the leaf wants it."""
    axes = array_axis_order(leaf)
    return (g if axes is None else g.transpose(axes)).flags.c_contiguous


def copy_in_layout(g: Tensor, leaf: Tensor) -> Tensor:
    """A tensor of its own that holds the numbers of the eager `g` as the leaf lies."""
    array = empty_like_leaf(leaf._array)
    np.copyto(array, g._array)
    return wrap(array, g._dtype)


def to_layout(new: Tensor, leaf: np.ndarray | None) -> Tensor:
    """`new`, which nobody else holds yet, in memory that lies as the leaf or, without one, in the
    order of the indices.
    """
    a = new._array
    if a is not None and not (a.flags.c_contiguous if leaf is None else matches_layout(a, leaf)):
        new._array = np.empty(a.shape, a.dtype) if leaf is None else empty_like_leaf(leaf)
        np.copyto(new._array, a)
        new._ptr = 0
    return new


def with_strides(new: Tensor, strides: tuple[int, ...]) -> Tensor:
    """`new`, which nobody else holds yet, in memory of these strides, which leave no gaps."""
    if new._array is None:
        new._traced_strides = strides
    elif new._array.size:
        size = new._array.itemsize
        to_layout(new, as_strided(new._array.ravel()[:1], new.shape, [s * size for s in strides]))
    return new


def to_contiguous(new: Tensor) -> Tensor:
    """`new`, which nobody else holds yet, in the order of the indices."""
    if new._array is None:
        new._traced_strides = None
    return to_layout(new, None)


def differentiable_copy(g: Tensor, leaf: np.ndarray | None = None) -> Tensor:
    """A copy of `g` with its history, lying so."""
    return to_layout(Tensor.bind(copy, (g,), {}), leaf)
