"""Memory shared with other libraries (DLPack, buffers, whatever `asarray` takes), and memory taken
for something else: for elements of another dtype, or for more or fewer of them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir.device_array import DeviceArray
from ...ir.dtype import DType, bfloat16, bool_, of_numpy
from ...ir.node import user_site
from ...ir.ops.movement import pad, permute, reshape, slice as slice_
from ...tracer.change_counter import tensor_changed
from ...tracer.mode import resolve
from ...tracer.tensor.device import usable
from ...tracer.tensor.device_memory import (
    as_dtype as as_dtype_of,
    copied,
    first_elements,
    host,
    place_of,
    transposed,
)
from ...tracer.tensor.memory_order import strides_of
from ...tracer.tensor.promotion import SCALAR_TYPE, as_dtype
from ...tracer.tensor.reshape_inplace import refuse_trace_input
from ...tracer.tensor.tensor import Tensor, leaked_tensor_error, wrap
from ...tracer.tensor.views import alias_memory, as_bits, memory_location, memory_offset
from . import device_exchange
from .creation import from_numpy, leaf, tensor

__all__ = ["asarray", "from_dlpack", "frombuffer", "to_dlpack"]


# ---- shared memory
CPU_DEVICE = (1, 0)  # in DLPack's numbers


def __dlpack__(self: Tensor, **options: Any) -> Any:
    """A capsule with this tensor's memory, for another library's `from_dlpack`."""
    t = resolve(self)
    if t._requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if t._array is None:
        raise leaked_tensor_error(t)
    if type(t._array) is DeviceArray:
        return device_exchange.capsule(t, options.get("stream"))
    if t._dtype is bfloat16:
        raise BufferError("bfloat16 cannot be exported: it is held in uint16 arrays here")
    return t._array.__dlpack__(**{k: v for k, v in options.items() if v is not None})


def __dlpack_device__(self: Tensor) -> tuple[int, int]:
    """Where this tensor lies, in DLPack's numbers."""
    where = self.device
    return (device_exchange.CUDA, where.index or 0) if self.is_cuda else CPU_DEVICE


def to_dlpack(tensor: Tensor) -> Any:
    """A capsule with the tensor's memory, which may be taken out once.

    >>> torch.from_dlpack(torch.to_dlpack(torch.tensor([1, 2])))
    tensor([1, 2])
    """
    return __dlpack__(tensor, max_version=(1, 0))  # older capsules are taken for read-only


class _Capsule:
    """A bare capsule as the object that NumPy wants."""

    def __init__(self, capsule: Any):
        self.capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return CPU_DEVICE


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor that shares the memory of another library's tensor, array or capsule.

    Shape and dtype: those of the other tensor. Raises BufferError for memory of another kind of
    device.

    >>> import numpy as np
    >>> torch.from_dlpack(np.array([1.0, 2.0]))
    tensor([1., 2.], dtype=tracegrad.float64)
    """
    where = None if device is None else usable(device)
    if isinstance(ext_tensor, Tensor):
        shared = ext_tensor.detach()
    elif device_exchange.is_on_device(ext_tensor):
        shared = device_exchange.from_capsule(ext_tensor)
    else:
        given = ext_tensor if hasattr(ext_tensor, "__dlpack__") else _Capsule(ext_tensor)
        shared = from_numpy(np.from_dlpack(given))
    if where is not None and where != shared.device:
        if copy is False:
            raise ValueError(f"from_dlpack: a tensor on {shared.device} cannot be on {where}")
        return shared.to(where)
    return shared.clone() if copy else shared


def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0,
               requires_grad: bool = False) -> Tensor:
    """A vector that shares the memory of an object with a buffer, as `bytearray`.

    Shape: (count,), or as many as there are. Dtype: `dtype`. Raises ValueError if the buffer is too
    short.

    >>> torch.frombuffer(bytearray(b'ab'), dtype=torch.uint8)
    tensor([97, 98], dtype=tracegrad.uint8)
    """
    d, nbytes = as_dtype(dtype), memoryview(buffer).nbytes
    if nbytes == 0:
        raise ValueError("both buffer length (0) and count (-1) must not be 0")
    if not 0 <= offset < nbytes:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length "
            f"({nbytes} bytes) minus 1"
        )
    if count < 0 and (nbytes - offset) % d.itemsize:
        raise ValueError(
            f"buffer length ({nbytes - offset} bytes) after offset ({offset} bytes) must be a "
            f"multiple of element size ({d.itemsize})"
        )
    if count == 0 or offset + max(count, 1) * d.itemsize > nbytes:
        raise ValueError(
            f"requested buffer length ({count} * {d.itemsize} bytes) after offset ({offset} bytes) "
            f"must not be greater than actual buffer length ({nbytes} bytes)"
        )
    return leaf(wrap(np.frombuffer(buffer, d.storage, count, offset), d), requires_grad)


def asarray(obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None,
            requires_grad: bool | None = None) -> Tensor:
    """`obj` as a tensor: with its memory where it has some and the dtype allows, unless `copy`.
    It keeps the history of obj, unless `requires_grad` is False.

    Shape: that of obj. Dtype: `dtype`, else that of obj. Raises ValueError where `copy=False` and
    only a copy can do.

    >>> import numpy as np
    >>> a = np.array([1.0, 2.0])
    >>> t = torch.asarray(a)
    >>> a[0] = 5.0
    >>> t
    tensor([5., 2.], dtype=tracegrad.float64)
    """
    where = None if device is None else usable(device)
    wanted = None if dtype is None else as_dtype(dtype)
    shared: Tensor | None = None
    if isinstance(obj, Tensor):
        shared = obj
    elif isinstance(obj, np.ndarray):
        shared = from_numpy(obj)
    elif hasattr(obj, "__dlpack__"):
        shared = from_dlpack(obj)
    elif hasattr(obj, "__cuda_array_interface__"):
        shared = device_exchange.from_interface(obj)
    elif isinstance(obj, (bytes, bytearray, memoryview)):
        own = np.asarray(obj).dtype if isinstance(obj, memoryview) else np.dtype("u1")
        shared = frombuffer(obj, dtype=wanted or of_numpy(own))
    if copy is False and (shared is None or wanted not in (None, shared.dtype)):
        raise ValueError(f"can't alias arbitrary sequence {type(obj).__name__} into a tensor.")
    if shared is None:
        return tensor(obj, dtype=wanted, device=where, requires_grad=bool(requires_grad))
    if where is not None and where != shared.device:
        if copy is False:
            raise ValueError(f"asarray: a tensor on {shared.device} cannot be on {where}")
        return leaf(shared.to(where, wanted).detach(), bool(requires_grad))
    y = shared if wanted in (None, shared.dtype) else shared.to(wanted)
    y = y.clone() if copy and y is shared else y
    if requires_grad is None or requires_grad == y.requires_grad:
        return y
    return leaf(y.detach(), requires_grad)


# ---- memory taken for something else
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
    y = wrap(as_dtype_of(x._array, dtype.storage), dtype)
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
    order = tuple(sorted(range(t.ndim), key=lambda d: -t._array.strides[d]))
    row = transposed(t._array, order)
    t._memory_location = memory_location(t)
    if not row.flags.c_contiguous or count > row.size:
        t._memory_location = None
        more = np.zeros(max(count - row.size, 0), row.dtype)
        row = copied(np.concatenate([host(row).ravel(), more]), place_of(row))
    t._array, t._ptr, t._base, t._view = first_elements(row, tuple(shape)), 0, None, None
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
