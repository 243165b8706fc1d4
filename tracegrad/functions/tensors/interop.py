"""Memory shared with other libraries: DLPack, buffers, whatever `asarray` is given."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.dtype import bfloat16, of_numpy
from ...tracer.mode import resolve
from ...tracer.tensor.device import usable
from ...tracer.tensor.promotion import as_dtype
from ...tracer.tensor.tensor import Tensor, leaked_tensor_error, wrap
from .creation import from_numpy, leaf, tensor

CPU_DEVICE = (1, 0)  # in DLPack's numbers


def __dlpack__(self: Tensor, **options: Any) -> Any:
    """A capsule with this tensor's memory, for another library's `from_dlpack`."""
    t = resolve(self)
    if t._requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if t._array is None:
        raise leaked_tensor_error(t)
    if t._dtype is bfloat16:
        raise BufferError("bfloat16 cannot be exported: it is held in uint16 arrays here")
    return t._array.__dlpack__(**{k: v for k, v in options.items() if v is not None})


def __dlpack_device__(self: Tensor) -> tuple[int, int]:
    """Where this tensor lies, in DLPack's numbers."""
    return CPU_DEVICE


def to_dlpack(tensor: Tensor) -> Any:
    """A capsule with the tensor's memory, which may be taken out once."""
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
    """A tensor that shares the memory of another library's tensor, array or capsule."""
    usable(device)
    if isinstance(ext_tensor, Tensor):
        shared = ext_tensor.detach()
    else:
        given = ext_tensor if hasattr(ext_tensor, "__dlpack__") else _Capsule(ext_tensor)
        shared = from_numpy(np.from_dlpack(given))
    return shared.clone() if copy else shared


def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0,
               requires_grad: bool = False) -> Tensor:
    """A vector that shares the memory of an object with a buffer, as `bytearray`."""
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
            requires_grad: bool = False) -> Tensor:
    """`obj` as a tensor: with its memory where it has some and the dtype allows, unless `copy`."""
    usable(device)
    wanted = None if dtype is None else as_dtype(dtype)
    shared: Tensor | None = None
    if isinstance(obj, Tensor):
        shared = obj
    elif isinstance(obj, np.ndarray):
        shared = from_numpy(obj)
    elif hasattr(obj, "__dlpack__"):
        shared = from_dlpack(obj)
    elif isinstance(obj, (bytes, bytearray, memoryview)):
        own = np.asarray(obj).dtype if isinstance(obj, memoryview) else np.dtype("u1")
        shared = frombuffer(obj, dtype=wanted or of_numpy(own))
    if copy is False and (shared is None or wanted not in (None, shared.dtype)):
        raise ValueError(f"can't alias arbitrary sequence {type(obj).__name__} into a tensor.")
    if shared is None:
        return tensor(obj, dtype=wanted, requires_grad=requires_grad)
    y = shared if wanted in (None, shared.dtype) else shared.to(wanted)
    y = y.clone() if copy and y is shared else y
    if not requires_grad and not isinstance(obj, Tensor):
        return y
    return y if y.requires_grad == requires_grad else leaf(y.detach(), requires_grad)


__all__ = ["asarray", "frombuffer", "from_dlpack", "to_dlpack"]
