"""An array in the memory of a device, in the words by which NumPy describes one.

It computes nothing: who wants its elements asks `memory.device`. A Tensor on a device has one in
place of its np.ndarray.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np

from .strides import View, contiguous


class DeviceMemory(Protocol):
    """A block of a device's memory, which goes back to the device with the last reference to it.
    `device` is a runtime/device.py Device.
    """

    device: Any
    address: int
    nbytes: int

    def record(self, stream: int) -> None:
        """Another stream uses it, and must be done with it before it is used again."""


class Flags(NamedTuple):
    """Those of np.ndarray.flags that are asked for."""

    c_contiguous: bool
    writeable: bool = True


class DeviceArray:
    """Elements at `address` and on, which lie in `memory`. `strides` are in bytes. As with NumPy,
    `base` is the array that made the memory; None for that array itself.
    """

    __slots__ = ("__weakref__", "address", "base", "dtype", "memory", "shape", "strides")
    __array_ufunc__ = None  # NumPy computes nothing with it

    def __init__(
        self, memory: DeviceMemory, shape: tuple[int, ...], dtype: np.dtype,
        strides: tuple[int, ...] | None = None, address: int | None = None,
        base: DeviceArray | None = None,
    ):
        self.memory, self.shape, self.dtype, self.base = memory, tuple(shape), dtype, base
        steps = (s * dtype.itemsize for s in contiguous(self.shape))
        self.strides = tuple(steps if strides is None else strides)
        self.address = memory.address if address is None else address

    @property
    def device(self) -> Any:
        return self.memory.device

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def flags(self) -> Flags:
        usual = (s * self.itemsize for s in contiguous(self.shape))
        pairs = zip(self.shape, self.strides, usual, strict=True)
        return Flags(0 in self.shape or all(n == 1 or s == u for n, s, u in pairs))

    @property
    def view(self) -> View:
        """How the elements lie, from the first one on."""
        return View(self.shape, tuple(s // self.itemsize for s in self.strides))

    def through(self, view: View) -> DeviceArray:
        """An array of the same memory, that lies as `view` says, from the first element on."""
        size = self.itemsize
        return DeviceArray(
            self.memory, view.shape, self.dtype, tuple(s * size for s in view.strides),
            self.address + view.offset * size, self if self.base is None else self.base,
        )

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise unreadable(self.device.name)

    def copy(self, order: str = "K") -> DeviceArray:
        return self.device.copy(self)

    def __repr__(self) -> str:
        return f"DeviceArray({list(self.shape)}, {self.dtype}, {self.device.name!r})"


def unreadable(place: str) -> TypeError:
    """torch's error for a tensor that NumPy cannot read."""
    return TypeError(
        f"can't convert {place} device type tensor to numpy. Use Tensor.cpu() to copy the tensor "
        "to host memory first."
    )


def bounds(array: np.ndarray | DeviceArray) -> tuple[int, int]:
    """The addresses of its first byte, and of that behind its last one."""
    if isinstance(array, DeviceArray):
        if 0 in array.shape:
            return array.address, array.address
        ends = [(n - 1) * s for n, s in zip(array.shape, array.strides, strict=True)]
        first = array.address + sum(e for e in ends if e < 0)
        return first, first + sum(map(abs, ends)) + array.itemsize
    return np.lib.array_utils.byte_bounds(array)
