"""Places where programs run: the CPU, and each GPU. The one table of both kinds; the rest of the
driver asks a Place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from ..codegen.backend import Backend
from ..codegen.cpu import CPU
from ..codegen.program import Program
from ..ir.device_array import DeviceArray
from ..ir.strides import View
from ..runtime.cpu.executable import Executable as CPUExecutable
from ..runtime.device import Device, Executable
from ..tracer.capture.trace import Trace
from ..tracer.tensor import device_memory
from ..tracer.tensor.device import CPU as CPU_DEVICE

Array = Any  # an np.ndarray or a DeviceArray


class Place(NamedTuple):
    """Who writes kernels for a device, and runs programs there; and memory for what these read and
    write. `identity` is what programs depend on besides their source and this machine.
    """

    name: str
    backend: Backend
    executable: Callable[[Program], Executable]
    identity: Callable[[], str]
    empty_like: Callable[[np.ndarray], Array]  # a template: nobody reads its elements
    from_host: Callable[[np.ndarray], Array]  # maybe the array itself
    to_host: Callable[[Array], np.ndarray]


@cache
def cuda_backend() -> Backend:
    """Who writes kernels for GPUs: imported when there is a GPU."""
    return import_module("..codegen.cuda.backend", __package__).CUDA()


HOST = Place(
    "cpu", CPU(), CPUExecutable, lambda: "", np.empty_like, lambda array: array, lambda array: array
)


@cache
def gpu(device: Device) -> Place:
    """The place of a GPU."""

    def empty_like(template: np.ndarray) -> DeviceArray:
        whole = device.empty(template.shape, template.dtype)
        return DeviceArray(whole.memory, template.shape, template.dtype, template.strides)

    return Place(
        device.name, cuda_backend(), device.executable, device.identity, empty_like,
        device.from_host, device.to_host,
    )


def place_of(trace: Trace) -> Place:
    """Where the program of a trace runs."""
    where = trace.place_of_numbers()
    return HOST if where == CPU_DEVICE else gpu(device_memory.gpus.device(where.index or 0))


def is_apart(array: Array, place: Place) -> bool:
    """Whether an array of the CPU is for a program on a GPU: each call copies it there."""
    return type(array) is np.ndarray and place is not HOST


def layout(array: Array, place: Place) -> View:
    """How an array lies in memory where a program reads it: a copy is row-major."""
    if is_apart(array, place):
        return View.of(array.shape)
    size = array.itemsize
    return View(array.shape, tuple(s // size for s in array.strides))


def address(array: Array) -> int:
    """Where the first element of an array lies."""
    if type(array) is DeviceArray:
        return array.address
    return array.__array_interface__["data"][0]
