"""GPUs as the driver of the compiler sees them: arrays in their memory, and programs."""

from __future__ import annotations

from importlib import import_module

import numpy as np

from ...codegen.program import Program
from ...ir.device_array import DeviceArray, bounds
from . import pinned
from .executable import Executable
from .gpu import Gpu
from .numba_cuda import cuda


def of_nvidia() -> list[CudaDevice]:
    """The GPUs that NVIDIA's driver knows. RuntimeError, in words, if they cannot be used."""
    # most programs have none, and need not wait for the import of what calls the driver
    driver = import_module(f"{__package__}.cuda_driver").CudaDriver()
    cuda()  # which compiles the kernels
    return [CudaDevice(driver, index) for index in range(driver.devices())]


class CudaDevice(Gpu):
    """See runtime/device.py."""

    def identity(self) -> str:
        return self.driver.identity(self.index)

    def executable(self, program: Program) -> Executable:
        return Executable(program, self)

    # ---- arrays
    def empty(self, shape: tuple[int, ...], storage: np.dtype) -> DeviceArray:
        storage = np.dtype(storage)
        nbytes = storage.itemsize
        for extent in shape:
            nbytes *= extent
        return DeviceArray(self.memory(nbytes), shape, storage)

    def from_host(self, array: np.ndarray, wait: bool = True) -> DeviceArray:
        new = self.empty(array.shape, array.dtype)
        self.write(new.address, np.ascontiguousarray(array), wait)
        return new

    def pinned(self, nbytes: int) -> np.ndarray:
        return pinned.new(self.driver, self.index, nbytes)

    def is_pinned(self, array: np.ndarray) -> bool:
        return pinned.is_pinned(array)

    def to_host(self, array: DeviceArray) -> np.ndarray:
        low, high = bounds(array)
        data = np.zeros(high - low, np.uint8)
        self.read(data, low)
        self.look()
        seen = np.ndarray(
            array.shape, array.dtype, data.data, array.address - low, array.strides
        )
        return np.array(seen, order="C")

    def copy(self, array: DeviceArray) -> DeviceArray:
        axes = sorted(range(array.ndim), key=lambda d: -array.strides[d])
        dense = array.through(array.view.permute(tuple(axes)))
        new = self.empty(dense.shape, array.dtype)
        if dense.flags.c_contiguous:
            if new.nbytes:
                self.driver.copy(self.stream, new.address, array.address, new.nbytes)
        else:
            new = self.from_host(self.to_host(dense))
        back = tuple(sorted(range(array.ndim), key=axes.__getitem__))
        strides = tuple(new.strides[d] for d in back)
        return DeviceArray(new.memory, array.shape, array.dtype, strides)

    def contiguous(self, array: DeviceArray) -> DeviceArray:
        if array.flags.c_contiguous:
            return array
        return self.from_host(self.to_host(array))
