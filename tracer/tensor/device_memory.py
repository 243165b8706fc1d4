"""Memory of tensors, of the host or of a device: what is asked of an array of either kind.

A Tensor on a device has a DeviceArray in place of an np.ndarray. The driver knows the devices and
how to compute there, and installs that here as `gpus`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ...ir.device_array import DeviceArray, bounds
from ...ir.dtype import DType
from ...ir.op import OpDef
from ...ir.strides import View, inverse
from .device import CPU, device, present


class Devices(Protocol):
    """The GPUs of this process."""

    opened: Any  # the devices, if somebody has asked for them

    def index(self, index: int | None) -> int:
        """The number of a device, or of the current one. Raises RuntimeError if there is none."""

    def device(self, index: int) -> Any:
        """A runtime/device.py Device."""

    def compute(
        self, op: OpDef, arrays: Sequence[DeviceArray], dtypes: Sequence[DType], params: dict
    ) -> tuple[DeviceArray, DType]:
        """The value of a primitive, which may share the memory of its operand."""

    def number(self, value: np.ndarray, index: int) -> DeviceArray:
        """A number on a device, for the current stream, to be read alone."""

    def assign(self, to: DeviceArray, source: DeviceArray) -> None:
        """Write numbers into memory of the same shape and dtype, which may have gaps."""


gpus: Devices


def install(devices: Devices) -> None:
    """Have tensors live on these."""
    global gpus
    gpus = devices
    present["cuda"] = devices.index


_named = lru_cache(device)


def place_of(array: Any) -> device:
    """The device of an array."""
    return _named(array.memory.device.name) if type(array) is DeviceArray else CPU


def apart(a: Any, b: Any) -> bool:
    """Whether two arrays are on different devices."""
    several = type(a) is DeviceArray or type(b) is DeviceArray
    return several and place_of(a) != place_of(b)


# ---- between the host and devices
def host(array: Any) -> np.ndarray:
    """The numbers of an array, wherever they are. Waits for them."""
    return array.memory.device.to_host(array) if type(array) is DeviceArray else array


def copied(array: Any, where: device, wait: bool = True) -> Any:
    """The same numbers on a device; the array itself if it is there. Nobody needs to wait for a
    copy from pinned memory.
    """
    here = place_of(array)
    if here == where:
        return array
    numbers = host(array)
    if where == CPU:
        return numbers
    return gpus.device(where.index or 0).from_host(numbers, wait)


def pinned(array: np.ndarray) -> np.ndarray:
    """The same numbers, lying in the same way in pinned memory; the array itself if it does."""
    device = gpus.device(gpus.index(None))
    if device.is_pinned(array):
        return array
    count = sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True))
    memory = device.pinned((count + array.itemsize) if array.size else 0)
    new = np.ndarray(array.shape, array.dtype, memory, 0, array.strides)
    np.copyto(new, array)
    return new


def is_pinned(array: Any) -> bool:
    return type(array) is np.ndarray and gpus.opened and gpus.device(0).is_pinned(array)


def copyto(to: Any, source: Any) -> None:
    """Write numbers into an array of the same shape and dtype."""
    if type(to) is DeviceArray:
        gpus.assign(to, copied(source, place_of(to)))
    else:
        np.copyto(to, host(source))


# ---- new memory, and views
def empty(like: DeviceArray, shape: tuple[int, ...], dtype: np.dtype,
          axes: tuple[int, ...] | None = None) -> DeviceArray:
    """Memory on the device of `like`, with its axes in this order from the outermost."""
    axes = axes or tuple(range(len(shape)))
    whole = like.memory.device.empty(tuple(shape[d] for d in axes), dtype)
    return whole if list(axes) == sorted(axes) else moved(whole, whole.view.permute(inverse(axes)))


def empty_like(array: Any, axes: tuple[int, ...] | None) -> Any:
    """Memory where an array is, for as many numbers, with its axes in this order."""
    if type(array) is DeviceArray:
        return empty(array, array.shape, array.dtype, axes)
    if axes is None:
        return np.empty(array.shape, array.dtype)
    return np.empty([array.shape[d] for d in axes], array.dtype).transpose(inverse(axes))


def moved(array: DeviceArray, view: View) -> DeviceArray:
    """An array that has the memory for itself, seen in another way."""
    step = array.itemsize
    strides = tuple(s * step for s in view.strides)
    return DeviceArray(array.memory, view.shape, array.dtype, strides,
                       array.address + view.offset * step)


def as_dtype(array: Any, storage: np.dtype) -> Any:
    """The same memory as elements of another dtype; of another size, the last dimension has more or
    fewer of them.
    """
    if type(array) is not DeviceArray:
        return array.view(storage)
    storage, base = np.dtype(storage), array if array.base is None else array.base
    shape, strides = array.shape, array.strides
    if storage.itemsize != array.itemsize:
        shape = (*shape[:-1], shape[-1] * array.itemsize // storage.itemsize)
        strides = (*strides[:-1], storage.itemsize)
    return DeviceArray(array.memory, shape, storage, strides, array.address, base)


def first_elements(array: Any, shape: tuple[int, ...]) -> Any:
    """The first elements of a contiguous array, in another shape."""
    if type(array) is DeviceArray:
        return array.through(View.of(shape))
    return array.reshape(-1)[: math.prod(shape)].reshape(shape)


def transposed(array: Any, axes: tuple[int, ...]) -> Any:
    if type(array) is DeviceArray:
        return array.through(array.view.permute(axes))
    return array.transpose(axes)


def contiguous(array: Any) -> Any:
    """The array itself if it is row-major, else a copy that is."""
    if type(array) is DeviceArray:
        return array.memory.device.contiguous(array)
    return np.ascontiguousarray(array)


def like_in_memory(array: Any, begin: int) -> tuple[Any, Any]:
    """New memory, and in it an array of the same strides that starts at element `begin`."""
    last = sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True))
    count = begin + (last // array.itemsize + 1 if array.size else 0)
    if type(array) is DeviceArray:
        memory = array.memory.device.empty((count,), array.dtype)
        view = array.view
        return memory, memory.through(View(view.shape, view.strides, begin))
    memory = np.empty(count, array.dtype)
    return memory, as_strided(memory[begin:], array.shape, array.strides)


# ---- where memory lies
def address(array: Any) -> int:
    """Where the first element lies."""
    return array.address if type(array) is DeviceArray else array.ctypes.data


def may_share_memory(a: Any, b: Any) -> bool:
    if type(a) is not DeviceArray and type(b) is not DeviceArray:
        return np.may_share_memory(a, b)
    if type(a) is not type(b) or a.memory.device is not b.memory.device:
        return False
    (low, high), (begin, end) = bounds(a), bounds(b)
    return low < end and begin < high


def placement(array: Any) -> tuple:
    """What tells the elements of an array from those of others."""
    return place_of(array), address(array), array.shape, array.strides, array.dtype

