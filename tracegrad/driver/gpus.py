"""Tensors on GPUs, eagerly: which devices there are, and a program for each operation.

An operation becomes a program of one node, which is kept for operands of the same shapes, strides
and dtypes. What no kernel computes, the factorisations of LAPACK, is done on the host.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

from ..codegen.build import build
from ..ir.device_array import DeviceArray
from ..ir.dtype import DType, int16, int32, int64, uint8
from ..ir.graph import Graph
from ..ir.node import input_node, intern
from ..ir.op import Lowering, OpDef, evaluate
from ..ir.ops.elementwise import copy, may_fail
from ..ir.ops.movement import permute
from ..ir.strides import View, inverse
from ..runtime.cuda import numba_cuda
from ..runtime.cuda.allocator import OutOfMemoryError as OutOfMemoryError
from ..runtime.cuda.cuda_driver import CudaDriver
from ..runtime.cuda.device import CudaDevice
from ..runtime.device import Executable
from ..tracer.tensor import device_memory
from ..tracer.tensor.device import device as Place
from ..tracer.tensor.device_memory import empty, host, moved
from .lowering import simple
from .places import gpu

MOST_OPERATIONS = 4096  # of which programs are kept


_BITS = {1: uint8, 2: int16, 4: int32, 8: int64}  # numbers that are moved as they are


class _Operand(NamedTuple):
    """What a program depends on of an operand; `written`: it takes the result."""

    view: View
    dtype: DType
    written: bool = False


class Unavailable(RuntimeError, AssertionError):
    """There is no GPU. torch raises the one or the other, as it was built."""


class Gpus(threading.local):
    """The GPUs of this process, one of which is the current one of each thread."""

    opener: Callable[[], Sequence[CudaDevice]]
    opened: Sequence[CudaDevice] | None = None
    forked = False  # a child cannot use what its parent has opened
    current = 0

    def devices(self) -> Sequence[CudaDevice]:
        """All of them. Raises Unavailable, in words, if there is none."""
        if self.forked:
            raise RuntimeError(
                "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, "
                "you must use the 'spawn' start method"
            )
        if Gpus.opened is None:
            try:
                Gpus.opened = Gpus.opener()
            except RuntimeError as error:
                raise Unavailable(str(error)) from None
        return Gpus.opened

    def index(self, index: int | None) -> int:
        devices = self.devices()
        index = self.current if index is None else index
        if not 0 <= index < len(devices):
            raise RuntimeError(
                f"CUDA error: invalid device ordinal: there is no cuda:{index}, but {len(devices)} "
                f"device{'s' * (len(devices) != 1)}"
            )
        return index

    def device(self, index: int) -> CudaDevice:
        return self.devices()[index]

    def chosen(self, device: Any) -> int:
        """The number of what a user calls a GPU: a number, a name, a device; None: the current."""
        if device is None or isinstance(device, int):
            return self.index(device)
        device = Place(device)
        if device.type != "cuda":
            raise ValueError(f"Expected a cuda device, but got: {device}")
        return self.index(device.index)

    # ---- operations
    def compute(
        self, op: OpDef, arrays: Sequence[DeviceArray], dtypes: Sequence[DType], params: dict,
        axes: tuple[int, ...] | None,
    ) -> DeviceArray:
        device = arrays[0].memory.device
        operands = tuple(_Operand(a.view, d) for a, d in zip(arrays, dtypes, strict=True))
        program = _program(device, op, operands, tuple(params.items()), axes)
        if program is None:
            return device.from_host(_on_host(op, arrays, dtypes, params))
        buffer = program.program.buffers[program.program.outputs[0]]
        result = empty(arrays[0], buffer.shape, buffer.dtype.storage)
        _run(program, (*arrays, result))
        return result if axes is None else moved(result, result.view.permute(inverse(axes)))

    def assign(self, to: DeviceArray, source: DeviceArray) -> None:
        dtype = _BITS[to.itemsize]
        operands = _Operand(to.view, dtype, True), _Operand(source.view, dtype)
        program = _program(to.memory.device, copy, operands, (), None)
        assert program is not None
        _run(program, (to, source))


def _on_host(
    op: OpDef, arrays: Sequence[DeviceArray], dtypes: Sequence[DType], params: dict
) -> Any:
    """The value of a primitive by NumPy and LAPACK."""
    nodes = [input_node(a.shape, d) for a, d in zip(arrays, dtypes, strict=True)]
    return evaluate(op, [host(a) for a in arrays], dtypes, op.infer(*nodes, **params)[1], params)


@lru_cache(MOST_OPERATIONS)
def _program(
    device: CudaDevice, op: OpDef, operands: tuple[_Operand, ...], params: tuple,
    axes: tuple[int, ...] | None,
) -> Executable | None:
    """The program of one primitive; None if the device has no kernel for it."""
    nodes = tuple(input_node(x.view.shape, x.dtype) for x in operands)
    read = tuple(n for n, x in zip(nodes, operands, strict=True) if not x.written)
    y = intern(op, read, dict(params))
    if op.lowering is Lowering.NONE:
        return None
    checks = (y,) if may_fail(op, dict(params)) else ()
    outputs = (y if axes is None else permute(y, axes=axes),)
    writes = dict(enumerate(n for n, x in zip(nodes, operands, strict=True) if x.written))
    graph = simple(Graph(nodes, outputs, checks), fast=False)
    layouts = {n: x.view for n, x in zip(nodes, operands, strict=True)}
    place = gpu(device)
    return place.executable(build(graph, writes, layouts, backend=place.backend))


def _run(executable: Executable, arrays: Sequence[DeviceArray]) -> None:
    """Run a program; the last array is for its result, if it writes into no input."""
    program = executable.program
    slots = dict.fromkeys((*program.inputs, *program.outputs))
    with executable.lock:
        if executable.busy[0]:  # called by a signal handler that interrupted this very program
            executable = gpu(arrays[0].memory.device).executable(program)
        executable.busy[0] = True
        try:
            executable.warm()
            for slot, array in zip(slots, arrays, strict=True):
                executable.table[slot] = array.address
            executable.run()
        finally:
            executable.busy[0] = False


def _of_nvidia() -> Sequence[CudaDevice]:
    """The GPUs that NVIDIA's driver knows. RuntimeError, in words, if they cannot be used."""
    driver = CudaDriver()
    numba_cuda.cuda()  # which compiles the kernels
    return [CudaDevice(driver, k) for k in range(driver.devices())]


def _after_fork() -> None:
    Gpus.forked = Gpus.opened is not None


Gpus.opener = staticmethod(_of_nvidia)
gpus = Gpus()
device_memory.install(gpus)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def using(devices: Sequence[CudaDevice]) -> Iterator[Gpus]:
    """Within it these are the GPUs."""
    before, Gpus.opened = Gpus.opened, devices
    try:
        yield gpus
    finally:
        Gpus.opened, gpus.current = before, 0
