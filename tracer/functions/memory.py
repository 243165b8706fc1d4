"""The memory of a tensor taken for something else: for numbers of another dtype, or for more or
fewer of them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir.dtype import DType
from ..mode import live
from ..promotion import SCALAR_TYPE
from ..tensor import Tensor, wrap
from ..views import offset_of, strides_of
from ..world import tensor_changed


def _here(x: Tensor, what: str) -> Tensor:
    t = live(x)
    if t._array is None:
        raise NotImplementedError(
            f"{what}: a traced tensor has no memory yet; do this outside the compiled function"
        )
    return t


def bits_as(input: Tensor, dtype: DType) -> Tensor:
    """The same bits as numbers of another dtype, which share the memory and take no gradient. Of
    another item size, the last dimension has more or fewer of them.
    """
    x = _here(input, "view(dtype)")
    old, new = x._dtype.itemsize, dtype.itemsize
    if old != new:
        _refuse_what_does_not_fit(x, dtype)
    y = wrap(x._array.view(dtype.storage), dtype)
    y._version = x._version
    return y


def _refuse_what_does_not_fit(x: Tensor, dtype: DType) -> None:
    how = f"to view {SCALAR_TYPE[x._dtype]} as {SCALAR_TYPE[dtype]} (different element sizes)"
    if x.ndim == 0:
        raise RuntimeError(f"self.dim() cannot be 0 {how}")
    strides = strides_of(x)
    if strides[-1] != 1 and x.shape[-1] != 1:
        raise RuntimeError(f"self.stride(-1) must be 1 {how}, but got {strides[-1]}")
    ratio = dtype.itemsize // x._dtype.itemsize
    facts = [("size(-1)", x.shape[-1]), ("storage_offset()", offset_of(x))]
    facts += [(f"stride({d})", s) for d, s in enumerate(strides[:-1]) if x.shape[d] > 1]
    for name, value in facts if ratio > 1 else ():
        if value % ratio:
            raise RuntimeError(f"self.{name} must be divisible by {ratio} {how}, but got {value}")


def resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Give this tensor another shape: of the numbers in its memory, as they lie, those that there
    is room for, and zeros behind them.
    """
    t = _here(self, "resize_")
    shape = tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    if t._requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {shape}")
    count = math.prod(shape)
    order = sorted(range(t.ndim), key=lambda d: -t._array.strides[d])
    row = t._array.transpose(order)
    if not row.flags.c_contiguous or count > row.size:
        row = np.concatenate([row.ravel(), np.zeros(max(count - row.size, 0), row.dtype)])
    t._array, t._ptr, t._base, t._view = row.reshape(-1)[:count].reshape(shape), 0, None, None
    t._version[0] += 1
    tensor_changed(t)
    return self


def resize_as_(self: Tensor, other: Tensor, memory_format: Any = None) -> Tensor:
    """Give this tensor the shape of another, as `resize_` does."""
    return resize_(self, tuple(other.shape))


__all__ = ["bits_as", "resize_", "resize_as_"]
