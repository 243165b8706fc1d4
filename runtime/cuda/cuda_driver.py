"""CUDA's driver, for the rest of this room: see driver.py."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from ctypes import c_float, c_int, c_size_t, c_uint64, c_void_p
from functools import partial
from operator import methodcaller
from typing import Any
from weakref import finalize

import numpy as np

from ...codegen.program import Grid, Kernel
from ...ir.locks import lock
from . import machine_code
from .driver import FORKED, DeviceProperties, OutOfMemory
from .libcuda import CudaError, LibCuda, arguments

# numbers of CUDA's headers
_PORTABLE, _PORTABLE_AND_MAPPED = 1, 3
_NON_BLOCKING = 1  # a stream that does not wait for the default one
_RELAXED = 2  # a capture is no hindrance to finalizers, which free memory whenever they run
_MAJOR, _MINOR, _MULTIPROCESSORS = 75, 76, 16  # attributes of devices
_CALL = methodcaller("__call__")


class CudaDriver:
    def __init__(self, library: Any = None):
        self._lib, self._process = LibCuda(library), os.getpid()
        self._contexts: dict[int, int] = {}
        self._properties: dict[int, DeviceProperties] = {}
        self._device_of: dict[int, int] = {}  # of streams
        self._functions: dict[tuple[int, Kernel], int] = {}
        self._lock = lock()

    def _enter(self, device: int) -> LibCuda:
        """The library, with the device as this thread's. Other libraries may have changed that."""
        if os.getpid() != self._process:
            raise RuntimeError(FORKED)
        if device not in self._contexts:
            number = self._lib.number(c_int, self._lib.cuDeviceGet, device)
            self._contexts[device] = self._lib.new(self._lib.cuDevicePrimaryCtxRetain, number)
        self._lib.cuCtxSetCurrent(self._contexts[device])
        return self._lib

    def _of(self, stream: int) -> LibCuda:
        return self._enter(self._device_of[stream])

    # ---- devices
    def devices(self) -> int:
        return self._lib.number(c_int, self._lib.cuDeviceGetCount)

    def properties(self, device: int) -> DeviceProperties:
        if device not in self._properties:
            self._properties[device] = self._asked(device)
        return self._properties[device]

    def _asked(self, device: int) -> DeviceProperties:
        lib = self._lib
        number = lib.number(c_int, lib.cuDeviceGet, device)
        name = ctypes.create_string_buffer(256)
        lib.cuDeviceGetName(name, 256, number)
        major, minor, count = (
            lib.number(c_int, lib.cuDeviceGetAttribute, which, number)
            for which in (_MAJOR, _MINOR, _MULTIPROCESSORS)
        )
        total = lib.number(c_size_t, lib.cuDeviceTotalMem, number)
        return DeviceProperties(name.value.decode(), (major, minor), total, count)

    def identity(self, device: int) -> str:
        return machine_code.identity(self.properties(device).capability)

    def free_memory(self, device: int) -> int:
        free, total = c_size_t(), c_size_t()
        self._enter(device).cuMemGetInfo(ctypes.byref(free), ctypes.byref(total))
        return free.value

    # ---- memory
    def allocate(self, device: int, nbytes: int) -> int:
        lib = self._enter(device)
        try:
            return lib.number(c_uint64, lib.cuMemAlloc, nbytes)
        except CudaError as error:
            if error.out_of_memory:
                raise OutOfMemory from None
            raise

    def release(self, device: int, address: int) -> None:
        self._enter(device).cuMemFree(address)

    def mapped(self, device: int, nbytes: int) -> tuple[np.ndarray, int]:
        array, lib = self._of_host(device, nbytes, _PORTABLE_AND_MAPPED), self._lib
        array[:] = 0
        return array, lib.number(c_uint64, lib.cuMemHostGetDevicePointer, array.ctypes.data, 0)

    def pinned(self, device: int, nbytes: int) -> np.ndarray:
        return self._of_host(device, nbytes, _PORTABLE)

    def _of_host(self, device: int, nbytes: int, flags: int) -> np.ndarray:
        lib = self._enter(device)
        where = lib.new(lib.cuMemHostAlloc, nbytes, flags)
        memory = (ctypes.c_ubyte * nbytes).from_address(where)
        finalize(memory, self._release_of_host, device, where).atexit = False
        return np.ndarray(nbytes, np.uint8, memoryview(memory))

    def _release_of_host(self, device: int, where: int) -> None:
        if os.getpid() != self._process:
            return  # what a child process has inherited is its parent's
        self._enter(device).cuMemFreeHost(where)  # by whichever thread, which needs a context

    # ---- streams
    def stream(self, device: int) -> int:
        lib = self._enter(device)
        stream = lib.new(lib.cuStreamCreate, _NON_BLOCKING)
        self._device_of[stream] = device
        return stream

    def adopt(self, device: int, stream: int) -> None:
        self._device_of.setdefault(stream, device)

    def idle(self, stream: int) -> bool:
        return self._of(stream).is_done("cuStreamQuery", stream)

    def synchronize(self, stream: int) -> None:
        self._of(stream).cuStreamSynchronize(stream)

    def synchronize_device(self, device: int) -> None:
        self._enter(device).cuCtxSynchronize()

    def event(self, stream: int) -> int:
        lib = self._of(stream)
        event = lib.new(lib.cuEventCreate, 0)
        lib.cuEventRecord(event, stream)
        return event

    def synchronize_event(self, event: int) -> None:
        self._lib.cuEventSynchronize(event)

    def release_event(self, event: int) -> None:
        if os.getpid() == self._process:
            self._lib.cuEventDestroy(event)

    def wait(self, stream: int, event: int) -> None:
        self._of(stream).cuStreamWaitEvent(stream, event, 0)

    def done(self, event: int) -> bool:
        return self._lib.is_done("cuEventQuery", event)

    def elapsed(self, first: int, second: int) -> float:
        return self._lib.number(c_float, self._lib.cuEventElapsedTime, first, second)

    # ---- copies. Memory of the host that is not pinned is read, or written, before they return
    def copy_in(self, stream: int, address: int, source: np.ndarray) -> None:
        self._of(stream).cuMemcpyHtoDAsync(address, source.ctypes.data, source.nbytes, stream)

    def copy_out(self, stream: int, target: np.ndarray, address: int) -> None:
        lib = self._of(stream)
        lib.cuMemcpyDtoHAsync(target.ctypes.data, address, target.nbytes, stream)
        lib.cuStreamSynchronize(stream)

    def copy_in_later(self, stream: int, address: int, source: np.ndarray) -> None:
        self._of(stream).cuMemcpyHtoDAsync(address, source.ctypes.data, source.nbytes, stream)

    def copy_out_later(self, stream: int, target: np.ndarray, address: int) -> None:
        self._of(stream).cuMemcpyDtoHAsync(target.ctypes.data, address, target.nbytes, stream)

    def copy(self, stream: int, target: int, source: int, nbytes: int) -> None:
        self._of(stream).cuMemcpyDtoDAsync(target, source, nbytes, stream)

    # ---- kernels
    def functions(self, device: int, kernels: Sequence[Kernel]) -> dict[Kernel, int]:
        capability = self.properties(device).capability
        with self._lock:
            missing = [k for k in kernels if (device, k) not in self._functions]
            for kernel, code in machine_code.of(missing, capability).items():
                lib = self._enter(device)
                module = lib.new(lib.cuModuleLoadData, code)
                name = kernel.name.encode()
                self._functions[device, kernel] = lib.new(lib.cuModuleGetFunction, module, name)
            return {kernel: self._functions[device, kernel] for kernel in kernels}

    def launch(self, stream: int, function: int, grid: Grid, args: int) -> None:
        lib = self._of(stream)
        pointers, cells = arguments((args,))
        lib.cuLaunchKernel(
            function, grid.blocks, 1, 1, grid.threads, 1, 1, 0, stream, pointers, None
        )
        del cells  # which have lived until now

    # ---- graphs
    def begin_capture(self, stream: int) -> None:
        self._of(stream).cuStreamBeginCapture(stream, _RELAXED)

    def end_capture(self, stream: int) -> int:
        lib = self._of(stream)
        result = c_void_p()
        lib.cuStreamEndCapture(stream, ctypes.byref(result))
        try:
            return lib.new(lib.cuGraphInstantiateWithFlags, result, 0)
        finally:
            lib.cuGraphDestroy(result)

    def launch_graph(self, stream: int, graph: int, launched: list[None]) -> None:
        lib = self._of(stream)
        launch = partial(lib.unchecked("cuGraphLaunch"), graph, stream)
        code, _ = map(_CALL, (launch, partial(launched.append, None)))  # in C: no handler runs
        if code:
            launched.clear()
            raise lib.error(code)

    def release_graph(self, graph: int) -> None:
        if os.getpid() == self._process:
            self._lib.cuGraphExecDestroy(graph)
