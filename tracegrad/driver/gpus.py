"""Tensors on GPUs, eagerly: which devices there are, and a program for each operation.

An operation becomes a program of one node, which is kept for operands of the same shapes, strides
and dtypes. What no kernel computes, the factorisations of LAPACK, is done on the host.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..codegen.build import build
from ..ir.device_array import DeviceArray
from ..ir.dtype import DType, int16, int32, int64, uint8
from ..ir.graph import Graph
from ..ir.node import Node, frozen, input_node, intern
from ..ir.op import Lowering, OpDef, evaluate
from ..ir.ops.elementwise import copy, may_fail
from ..ir.ops.movement import permute
from ..ir.strides import View, inverse
from ..runtime.cuda.allocator import OutOfMemoryError as OutOfMemoryError, in_words as in_words
from ..runtime.cuda.driver import FORKED
from ..runtime.device import Executable
from ..tracer.tensor import device_memory
from ..tracer.tensor.device import device as Place
from ..tracer.tensor.device_memory import host, moved
from ..tracer.tensor.memory_order import axis_order, elementwise_strides
from .lowering import simple
from .places import gpu

if TYPE_CHECKING:
    from ..runtime.cuda.device import CudaDevice

MOST_OPERATIONS = 4096  # of which programs are kept
MOST_NUMBERS = 1024  # that are kept in the memory of GPUs


_BITS = {1: uint8, 2: int16, 4: int32, 8: int64}  # numbers that are moved as they are


class _Plan(NamedTuple):
    """How an operation is computed for operands of these shapes, strides and dtypes."""

    dtype: DType
    view: View | None = None  # the result shares the memory of the first operand
    executable: Executable | None = None  # None: there is no kernel
    shape: tuple[int, ...] = ()  # of the memory of the result
    back: tuple[int, ...] | None = None  # the order of its axes, if it is another one


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
            raise RuntimeError(FORKED)
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
        self, op: OpDef, arrays: Sequence[DeviceArray], dtypes: Sequence[DType], params: dict
    ) -> tuple[DeviceArray, DType]:
        device = arrays[0].memory.device
        operands = tuple([(a.shape, a.strides, d) for a, d in zip(arrays, dtypes, strict=True)])
        key = device, op, operands, frozen(params) if params else ()
        plan = _plans.get(key)
        if plan is None:
            plan = _keep(key, _plan(device, op, arrays, dtypes, params))
        if plan.view is not None:
            return arrays[0].through(plan.view), plan.dtype
        if plan.executable is None:
            numbers = evaluate(op, [host(a) for a in arrays], dtypes, plan.dtype, params)
            return device.from_host(numbers), plan.dtype
        result = device.empty(plan.shape, plan.dtype.storage)
        _run(plan.executable, (*arrays, result))
        if plan.back is not None:
            result = moved(result, result.view.permute(plan.back))
        return result, plan.dtype

    def number(self, value: np.ndarray, index: int) -> DeviceArray:
        device = self.device(index)
        key = device, device.stream, value.dtype, value.tobytes()
        number = _numbers.get(key)
        if number is None:
            if len(_numbers) >= MOST_NUMBERS:
                _numbers.clear()
            number = _numbers[key] = device.from_host(value)
        return number

    def assign(self, to: DeviceArray, source: DeviceArray) -> None:
        device, dtype = to.memory.device, _BITS[to.itemsize]
        key = device, "assign", to.shape, to.strides, source.strides, dtype
        plan = _plans.get(key)
        if plan is None:
            own, other = (input_node(a.shape, dtype) for a in (to, source))
            graph, lie = Graph((own, other), (copy(other),)), {own: to.view, other: source.view}
            plan = _keep(key, _Plan(dtype, None, _executable(device, graph, lie, {0: own})))
        assert plan.executable is not None
        _run(plan.executable, (to, source))


_plans: dict[tuple, _Plan] = {}
_numbers: dict[tuple, DeviceArray] = {}


def _keep(key: tuple, plan: _Plan) -> _Plan:
    if len(_plans) >= MOST_OPERATIONS:
        _plans.clear()
    _plans[key] = plan
    return plan


def _plan(
    device: CudaDevice, op: OpDef, arrays: Sequence[DeviceArray], dtypes: Sequence[DType],
    params: dict,
) -> _Plan:
    """The plan of one primitive. Raises what is wrong with the operands."""
    nodes = tuple(input_node(a.shape, d) for a, d in zip(arrays, dtypes, strict=True))
    y = intern(op, nodes, params)
    if op.aliases and op.lowering is Lowering.VIEW:
        assert op.view is not None
        view = op.view(arrays[0].view, **params)
        if view is not None:
            return _Plan(y.dtype, view)
    if op.lowering is Lowering.NONE:
        return _Plan(y.dtype)
    axes = None
    if op.is_elementwise and len(y.shape) > 1:  # in the order that torch would give them
        lie = tuple([(a.shape, a.view.strides) for a in arrays])
        axes = axis_order(y.shape, elementwise_strides(lie, y.shape))
    output = y if axes is None else permute(y, axes=axes)
    graph = Graph(nodes, (output,), (y,) if may_fail(op, params) else ())
    layouts = {n: a.view for n, a in zip(nodes, arrays, strict=True)}
    back = None if axes is None else inverse(axes)
    return _Plan(y.dtype, None, _executable(device, graph, layouts, {}), output.shape, back)


def _executable(
    device: CudaDevice, graph: Graph, layouts: dict[Node, View], writes: dict[int, Node]
) -> Executable:
    place = gpu(device)
    program = build(simple(graph, fast=False), writes, layouts, backend=place.backend)
    return place.executable(program)


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


def _after_fork() -> None:
    Gpus.forked = Gpus.opened is not None


def _of_nvidia() -> Sequence[CudaDevice]:
    # most programs ask for no GPU, and need not wait for the import of what runs kernels there
    return import_module("..runtime.cuda.device", __package__).of_nvidia()


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
