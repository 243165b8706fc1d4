"""The memory of a tensor taken for something else: for numbers of another dtype, or for more or
fewer of them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir.dtype import DType, bool_
from ...ir.node import user_site
from ...ir.ops.movement import pad, permute, reshape, slice as slice_
from ...tracer.change_counter import tensor_changed
from ...tracer.mode import resolve
from ...tracer.tensor.memory_order import strides_of
from ...tracer.tensor.promotion import SCALAR_TYPE
from ...tracer.tensor.reshape_inplace import refuse_trace_input
from ...tracer.tensor.tensor import Tensor, wrap
from ...tracer.tensor.views import alias_memory, as_bits, memory_location, memory_offset


def bits_as(input: Tensor, dtype: DType) -> Tensor:
    """The same bits as numbers of another dtype, which share the memory and take no gradient. Of
    another item size, the last dimension has more or fewer of them.
    """
    x = resolve(input)
    if dtype is x._dtype:
        return reshape(x, shape=tuple(x.shape))
    if dtype.itemsize == x._dtype.itemsize and (x._array is not None or _in_a_register(x, dtype)):
        return as_bits(x, dtype=dtype)
    if x._array is None:
        raise NotImplementedError(
            f"view(dtype): {SCALAR_TYPE[x._dtype]} as {SCALAR_TYPE[dtype]} within a compiled "
            f"function (line {user_site()}); do this outside of it"
        )
    if dtype.itemsize != x._dtype.itemsize:
        _refuse_what_does_not_fit(x, dtype)
    y = wrap(x._array.view(dtype.storage), dtype)
    y._version = x._version
    alias_memory(x, y)
    return y


def _in_a_register(x: Tensor, dtype: DType) -> bool:
    """Whether a kernel has both in a register as they are stored: half types it has not, and any
    byte may be stored for a bool.
    """
    return not (x._dtype.is_half or dtype.is_half or dtype is bool_)


def _refuse_what_does_not_fit(x: Tensor, dtype: DType) -> None:
    how = f"to view {SCALAR_TYPE[x._dtype]} as {SCALAR_TYPE[dtype]} (different element sizes)"
    if x.ndim == 0:
        raise RuntimeError(f"self.dim() cannot be 0 {how}")
    strides = strides_of(x)
    if strides[-1] != 1 and x.shape[-1] != 1:
        raise RuntimeError(f"self.stride(-1) must be 1 {how}, but got {strides[-1]}")
    ratio = dtype.itemsize // x._dtype.itemsize
    facts = [("size(-1)", x.shape[-1]), ("storage_offset()", memory_offset(x))]
    facts += [(f"stride({d})", s) for d, s in enumerate(strides[:-1]) if x.shape[d] > 1]
    for name, value in facts if ratio > 1 else ():
        if value % ratio:
            raise RuntimeError(f"self.{name} must be divisible by {ratio} {how}, but got {value}")


def resize_(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Give this tensor another shape: of the numbers in its memory, as they lie, those that there
    is room for, and zeros behind them.
    """
    t = resolve(self)
    shape = tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
    if t._requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(shape)}: {shape}")
    refuse_trace_input(t, "resize_")
    if t._array is None:
        _resize_traced(t, shape)
        return self
    count = math.prod(shape)
    order = sorted(range(t.ndim), key=lambda d: -t._array.strides[d])
    row = t._array.transpose(order)
    t._memory_location = memory_location(t)
    if not row.flags.c_contiguous or count > row.size:
        t._memory_location = None
        row = np.concatenate([row.ravel(), np.zeros(max(count - row.size, 0), row.dtype)])
    t._array, t._ptr, t._base, t._view = row.reshape(-1)[:count].reshape(shape), 0, None, None
    t._version[0] += 1
    tensor_changed(t)
    return self


def _resize_traced(t: Tensor, shape: tuple[int, ...]) -> None:
    """Views made before keep the memory that was; in a trace nobody may look through them again."""
    if t._view is not None:
        raise NotImplementedError(
            f"resize_: of a view, within a compiled function (line {user_site()}); resize a clone()"
        )
    strides, count, size = strides_of(t), math.prod(shape), t.numel()
    order = tuple(sorted(range(t.ndim), key=lambda d: -strides[d]))
    row = reshape(permute(t._node, axes=order), shape=(size,))
    if count <= size:
        row = slice_(row, slices=((0, count, 1),))
    else:
        row = pad(row, pads=((0, count - size, 0),))
    t._node, t._traced_strides = reshape(row, shape=tuple(shape)), None
    t._shape_history = (*t._shape_history, (_resized, {"line": user_site()}))
    t._version[0] += 1


def _resized(x: Any, *, line: Any) -> Any:
    raise RuntimeError(
        f"a view is used of a tensor that resize_() has given another shape since (line {line}), "
        "within a compiled function; make the view after it"
    )


def resize_as_(self: Tensor, other: Tensor, memory_format: Any = None) -> Tensor:
    """Give this tensor the shape of another, as `resize_` does."""
    return resize_(self, tuple(other.shape))


__all__ = ["bits_as", "resize_", "resize_as_"]
