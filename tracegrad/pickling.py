"""Write a pickle in torch's format, and collect the storages of its tensors.

A tensor is pickled as a call of `torch._utils._rebuild_tensor_v2` on a storage, which has a
persistent id. Names of torch's functions are written as text, so torch is not needed.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any, NamedTuple

import numpy as np

from .ir.device_array import DeviceArray
from .ir.dtype import DType
from .nn.parameter import Parameter
from .tracer.tensor.device import device
from .tracer.tensor.device_memory import host, place_of
from .tracer.tensor.tensor import Size, Tensor, leaked_tensor_error

STORAGES = {
    "float64": "Double", "float32": "Float", "float16": "Half", "bfloat16": "BFloat16",
    "int64": "Long", "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte",
    "bool": "Bool",
}


class _Global(NamedTuple):
    """A function or class that a pickle names."""

    module: str
    name: str

    def __call__(self) -> None:
        """pickle demands that the function of a call is callable."""


class _Storage(NamedTuple):
    key: str
    dtype: DType
    size: int
    where: str  # the device


class _StorageView(NamedTuple):
    """Offset and strides of a tensor in a storage, in elements."""

    storage: _Storage
    offset: int
    strides: tuple[int, ...]


class Memory:
    """The storages of a file, one for each contiguous range of memory.

    Tensors that share memory share a storage in the file.
    """

    def __init__(self) -> None:
        self.arrays: dict[int, tuple[np.ndarray, DType]] = {}
        self.views: dict[int, _StorageView] = {}
        self.contents: list[np.ndarray] = []
        self._hosts: dict[int, tuple[Any, np.ndarray]] = {}  # by id: what is on a device, its copy
        self._places: dict[int, str] = {}  # by id of a copy: that device

    def on_host(self, array: Any) -> np.ndarray:
        """An array, or a copy of one that is on a device; copies share memory as those do."""
        if not isinstance(array, DeviceArray):
            return array
        if id(array) not in self._hosts:
            memory = array.memory
            if id(memory) not in self._hosts:
                whole = DeviceArray(memory, (memory.nbytes,), np.dtype(np.uint8))
                self._hosts[id(memory)] = memory, host(whole)
            copy = np.ndarray(array.shape, array.dtype, self._hosts[id(memory)][1].data,
                              array.address - memory.address, array.strides)
            self._hosts[id(array)] = array, copy
            self._places[id(copy)] = str(place_of(array))
        return self._hosts[id(array)][1]

    def plan(self) -> None:
        """Assign all collected arrays to storages."""
        stretches: list[tuple[int, int, np.ndarray, DType]] = []
        for array, dtype in self.arrays.values():
            if array.size and min(array.strides, default=0) >= 0 and array.dtype == dtype.storage:
                spans = zip(array.shape, array.strides, strict=True)
                last = sum((n - 1) * s for n, s in spans)
                first = array.ctypes.data
                stretches.append((first, first + last + array.itemsize, array, dtype))
        stretches.sort(key=lambda one: one[:2])
        while stretches:
            first, end, lowest, dtype = stretches[0]
            together = []
            while stretches and stretches[0][0] < end:
                end = max(end, stretches[0][1])
                together.append(stretches.pop(0))
            step = lowest.itemsize
            if any(other is not dtype for *_, other in together):
                raise RuntimeError(
                    "save: cannot save multiple tensors or storages that view the same data as "
                    f"different types: {', '.join(sorted({d.name for *_, d in together}))}"
                )
            if any(n % step for at, _, a, _ in together for n in (at - first, *a.strides)):
                continue  # an offset is not a whole number of elements: copied
            content = np.lib.stride_tricks.as_strided(lowest, ((end - first) // step,), (step,))
            storage = self.keep(content, dtype, self._places.get(id(lowest), "cpu"))
            for at, _, array, _ in together:
                strides = tuple(s // step for s in array.strides)
                self.views[id(array)] = _StorageView(storage, (at - first) // step, strides)

    def keep(self, content: np.ndarray, dtype: DType, where: str) -> _Storage:
        self.contents.append(content)
        return _Storage(str(len(self.contents) - 1), dtype, content.size, where)

    def view_of(self, array: np.ndarray, dtype: DType) -> _StorageView:
        """The storage, offset and strides of an array. An array that has none is copied."""
        if id(array) not in self.views:
            content = np.ascontiguousarray(array, dtype.storage)
            strides = tuple(math.prod(array.shape[d + 1 :]) for d in range(array.ndim))
            self.arrays[id(array)] = array, dtype  # keeps the id in use
            storage = self.keep(content.reshape(-1), dtype, self._places.get(id(array), "cpu"))
            self.views[id(array)] = _StorageView(storage, 0, strides)
        return self.views[id(array)]


_Python: Any = vars(pickle)["_Pickler"]  # the C version checks that named functions exist


class Pickler(_Python):
    """Runs twice. With `collecting` it only collects the arrays."""

    dispatch: dict[type, Callable] = dict(_Python.dispatch)

    def __init__(self, file: IO[bytes], memory: Memory, collecting: bool):
        super().__init__(file, 2)
        self.memory, self.collecting = memory, collecting

    def write_global(self, value: _Global) -> None:
        self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())

    def dtype(self, value: DType) -> None:
        self.write_global(_Global("torch", value.name))

    dispatch[_Global], dispatch[DType] = write_global, dtype

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, _Storage):
            return None
        kind = _Global("torch", f"{STORAGES[obj.dtype.name]}Storage")
        return ("storage", kind, obj.key, obj.where, obj.size)

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Size):
            return _Global("torch", "Size"), (tuple(obj),)
        if isinstance(obj, device):
            return _Global("torch", "device"), (str(obj),)
        if not isinstance(obj, Tensor):
            return NotImplemented
        if obj._dtype.name not in STORAGES:
            raise TypeError(f"save: torch's format does not support dtype {obj._dtype}")
        if obj._array is None:
            raise leaked_tensor_error(obj)
        if isinstance(obj, Parameter):
            return _Global("torch._utils", "_rebuild_parameter"), (
                obj.data, obj.requires_grad, OrderedDict(),
            )
        array = self.memory.on_host(obj._array)
        if self.collecting:
            self.memory.arrays[id(array)] = array, obj._dtype
            return _Global("torch", "looking"), ()
        storage, offset, strides = self.memory.view_of(array, obj._dtype)
        return _Global("torch._utils", "_rebuild_tensor_v2"), (
            storage, offset, tuple(obj.shape), strides, obj.requires_grad, OrderedDict(),
        )


def pickled(obj: Any) -> tuple[bytes, list[np.ndarray]]:
    """The pickle of an object, and the contents of its storages in the order of their names."""
    memory, text = Memory(), io.BytesIO()
    Pickler(io.BytesIO(), memory, collecting=True).dump(obj)
    memory.plan()
    Pickler(text, memory, collecting=False).dump(obj)
    return text.getvalue(), memory.contents
