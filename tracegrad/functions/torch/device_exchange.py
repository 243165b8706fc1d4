"""Memory of devices, shared with other libraries: DLPack's capsules, __cuda_array_interface__.

NumPy exchanges memory of the host (memory.py). Capsules of a device are read and written here, as
structures of C. What a library hands over is done in streams: the producer has the consumer's
stream wait.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from sys import getrefcount
from typing import Any, NamedTuple

import numpy as np

from ...ir.device_array import DeviceArray
from ...ir.dtype import DType, bfloat16, bool_, of_numpy
from ...ir.strides import contiguous
from ...tracer.mode import resolve
from ...tracer.tensor import device_memory
from ...tracer.tensor.tensor import Tensor, wrap

__all__: list[str] = []
CUDA = 2  # in DLPack's numbers
_KINDS = {"int": 0, "uint": 1, "float": 2, "bool": 6}
_BFLOAT = 4
_LEGACY = 1  # the stream that a library uses which says nothing, in both protocols


# ---- DLPack's structures, version 0
class _Kind(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("dtype", _Kind), ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64),
    ]


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = [("tensor", _DLTensor), ("context", ctypes.c_void_p), ("deleter", _Deleter)]


_python: Any = ctypes.pythonapi
_new_capsule = _python.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = ctypes.py_object, [
    ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_pointer_of = _python.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_is_valid = _python.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, [ctypes.py_object, ctypes.c_char_p]
_rename = _python.PyCapsule_SetName
_rename.argtypes = [ctypes.py_object, ctypes.c_char_p]
_FRESH, _USED = b"dltensor", b"used_dltensor"


class _Export(NamedTuple):
    """What must live as long as a capsule that was handed out."""

    managed: _Managed
    numbers: Any
    array: DeviceArray
    capsule: Any


_exports: dict[int, _Export] = {}  # by the address of the structure
_UNHELD = 2  # the reference count of a capsule that only its export has: that, and the argument


@_Deleter  # type: ignore[untyped-decorator]
def _forget(address: int) -> None:
    _exports.pop(address, None)


def _forget_abandoned() -> None:
    """Forget exports whose capsules went away before anybody took the memory. A destructor of a
    capsule cannot do it in Python, because it may run while an exception is on its way.
    """
    for address, one in list(_exports.items()):
        if getrefcount(one.capsule) == _UNHELD and _is_valid(one.capsule, _FRESH):
            _forget(address)


def capsule(t: Tensor, stream: Any = None) -> Any:
    """A DLPack capsule with the memory of a tensor on a device; work in `stream` comes later."""
    array = t._array
    _forget_abandoned()
    _wait(array, stream)
    code = _BFLOAT if t._dtype is bfloat16 else _KINDS[t._dtype.kind]
    numbers = (ctypes.c_int64 * (2 * array.ndim))(*array.shape, *array.view.strides)
    step = ctypes.sizeof(ctypes.c_int64) * array.ndim
    at = ctypes.POINTER(ctypes.c_int64)
    managed = _Managed(_DLTensor(
        array.address, CUDA, t.get_device(), array.ndim, _Kind(code, 8 * array.itemsize, 1),
        ctypes.cast(numbers, at), ctypes.cast(ctypes.addressof(numbers) + step, at), 0,
    ), None, _forget)
    address = ctypes.addressof(managed)
    new = _new_capsule(address, _FRESH, None)
    _exports[address] = _Export(managed, numbers, array, new)
    return new


def _wait(array: DeviceArray, stream: Any) -> None:
    """Have a stream of another library wait for the work that fills an array; -1: no need."""
    if stream != -1:
        gpu = array.memory.device
        _order(gpu, gpu.stream, _LEGACY if stream is None else stream)


def _order(gpu: Any, first: int, later: int) -> None:
    """Have what comes later in one stream wait for what is in another one now."""
    if first != later:
        for stream in (first, later):
            gpu.driver.adopt(gpu.index, stream)
        event = gpu.driver.event(first)
        gpu.driver.wait(later, event)
        gpu.driver.release_event(event)


# ---- memory of others
class _Foreign:
    """Memory that another library has. `free` says that it is no longer used; `owner` lives on."""

    def __init__(self, device: Any, address: int, nbytes: int, owner: Any,
                 free: Callable[[], None] | None = None):
        self.device, self.address, self.nbytes = device, address, nbytes
        self.owner, self.free = owner, free

    def record(self, stream: int) -> None:
        """Do nothing: the other library knows who uses its memory."""

    def __del__(self) -> None:
        if self.free is not None:
            self.free()


def _tensor(memory: _Foreign, shape: tuple[int, ...], dtype: DType, strides: tuple[int, ...],
            ) -> Tensor:
    return wrap(DeviceArray(memory, shape, np.dtype(dtype.storage), strides), dtype)


def _nbytes(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> int:
    """How many bytes a tensor reaches over, from its first element on."""
    if min((*shape, *strides), default=0) < 0:
        raise BufferError("memory with negative extents or strides cannot be shared")
    spans = zip(shape, strides, strict=True)
    return 0 if 0 in shape else sum((n - 1) * s for n, s in spans) + itemsize


def is_on_device(given: Any) -> bool:
    """Whether a capsule, or an object that gives one, has memory of a GPU."""
    if hasattr(given, "__dlpack_device__"):
        return given.__dlpack_device__()[0] == CUDA
    if not _is_valid(given, _FRESH):
        return False
    managed = ctypes.cast(_pointer_of(given, _FRESH), ctypes.POINTER(_Managed)).contents
    return managed.tensor.device_type == CUDA


def from_capsule(given: Any) -> Tensor:
    """A tensor that shares the memory of a capsule, or of what gives one, on a device."""
    if hasattr(given, "__dlpack__"):
        where = device_memory.gpus.device(given.__dlpack_device__()[1])
        given = given.__dlpack__(stream=where.stream)
    if not _is_valid(given, _FRESH):
        raise RuntimeError(
            "from_dlpack received an invalid capsule. Note that DLTensor capsules can be consumed "
            "only once, so you might have already constructed a tensor from it once."
        )
    pointer = _pointer_of(given, _FRESH)
    managed = ctypes.cast(pointer, ctypes.POINTER(_Managed)).contents
    seen = managed.tensor
    if seen.device_type != CUDA:
        raise BufferError(f"DLPack's device type {seen.device_type} is not supported")
    dtype = _dtype(seen.dtype)
    shape = tuple(seen.shape[: seen.ndim])
    steps = tuple(seen.strides[: seen.ndim]) if seen.strides else contiguous(shape)
    strides = tuple(s * dtype.itemsize for s in steps)
    nbytes = _nbytes(shape, strides, dtype.itemsize)
    gpu = device_memory.gpus.device(seen.device_id)
    _rename(given, _USED)
    free = (lambda: managed.deleter(pointer)) if managed.deleter else None
    address = (seen.data or 0) + seen.byte_offset
    return _tensor(_Foreign(gpu, address, nbytes, given, free), shape, dtype, strides)


def _dtype(kind: _Kind) -> DType:
    if kind.lanes == 1 and (kind.code, kind.bits) == (_BFLOAT, 16):
        return bfloat16
    name = {code: kind for kind, code in _KINDS.items()}.get(kind.code)
    if kind.lanes != 1 or name is None or kind.bits % 8:
        raise BufferError(f"DLPack's dtype ({kind.code}, {kind.bits}, {kind.lanes}) is unsupported")
    return bool_ if name == "bool" else of_numpy(np.dtype(f"{name}{kind.bits}"))


# ---- __cuda_array_interface__
def cuda_array_interface(self: Tensor) -> dict[str, Any]:
    """The memory of a tensor on a GPU, for CuPy, Numba and others, version 3 of the protocol.

    Raises AttributeError for a tensor on the CPU, RuntimeError for one that requires grad.
    """
    t = resolve(self)
    if type(t._array) is not DeviceArray:
        raise AttributeError(
            f"Can't get __cuda_array_interface__ on non-CUDA tensor type: {self.type()} If CUDA "
            "data is required use tensor.cuda() to copy tensor to device memory."
        )
    if t._requires_grad:
        raise RuntimeError(
            "Can't get __cuda_array_interface__ on Variable that requires grad. If gradients "
            "aren't required, use var.detach() to get Variable that doesn't require grad."
        )
    if t._dtype is bfloat16:
        raise BufferError("__cuda_array_interface__ has no bfloat16")
    array, usual = t._array, contiguous(t._array.shape)
    return {
        "shape": array.shape, "typestr": array.dtype.str, "data": (array.address, False),
        "strides": None if array.view.strides == usual else array.strides, "version": 3,
        "stream": array.memory.device.stream or _LEGACY,
    }


def from_interface(given: Any) -> Tensor:
    """A tensor that shares the memory of an object with a __cuda_array_interface__."""
    facts = given.__cuda_array_interface__
    address, read_only = facts["data"]
    if read_only:
        raise ValueError("the array is read-only, and tensors can be written to: copy it")
    if facts.get("mask") is not None:
        raise ValueError("a masked array is no tensor")
    gpu = device_memory.gpus.device(device_memory.gpus.index(None))
    dtype, shape = of_numpy(np.dtype(facts["typestr"])), tuple(facts["shape"])
    strides = facts.get("strides") or tuple(s * dtype.itemsize for s in contiguous(shape))
    if (stream := facts.get("stream")) is not None:
        _order(gpu, stream, gpu.stream)
    memory = _Foreign(gpu, address, _nbytes(shape, strides, dtype.itemsize), given)
    return _tensor(memory, shape, dtype, tuple(strides))
