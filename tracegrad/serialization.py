"""save and load, in torch's own format: what one writes the other reads.

A file is a zip archive. `data.pkl` pickles the object; in it a tensor is a call of
`torch._utils._rebuild_tensor_v2` on a storage, named by a persistent id, whose bytes are a file of
their own. Neither side of this module needs torch: names of its functions are written as text, and
read by the table of those that are understood.
"""

from __future__ import annotations

import codecs
import io
import math
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any, NamedTuple

import numpy as np

from .ir.dtype import DType, named
from .nn.parameter import Parameter
from .tracer.device import device
from .tracer.mode import mode
from .tracer.tensor import Size, Tensor, fill_slots

_STORAGES = {
    "float64": "Double", "float32": "Float", "float16": "Half", "bfloat16": "BFloat16",
    "int64": "Long", "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte",
    "bool": "Bool",
}  # fmt: skip
File = str | os.PathLike | IO[bytes]


class _Global(NamedTuple):
    """A function or class that a pickle names."""

    module: str
    name: str

    def __call__(self) -> None:
        """What is pickled as a call must look like a function."""


class _Storage(NamedTuple):
    key: str
    dtype: DType
    size: int


# ---- writing
_Python: Any = vars(pickle)["_Pickler"]  # the one in C insists on finding what is named


class _Pickler(_Python):
    dispatch: dict[type, Callable] = dict(_Python.dispatch)

    def __init__(self, file: IO[bytes]):
        super().__init__(file, 2)
        self.bytes: dict[str, bytes] = {}
        self.keys: dict[tuple, str] = {}
        self.held: list[np.ndarray] = []  # or an address might be used twice

    def word(self, value: _Global) -> None:
        self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())

    def dtype(self, value: DType) -> None:
        self.word(_Global("torch", value.name))

    dispatch[_Global], dispatch[DType] = word, dtype

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, _Storage):
            return None
        kind = _Global("torch", f"{_STORAGES[obj.dtype.name]}Storage")
        return ("storage", kind, obj.key, "cpu", obj.size)

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Size):
            return _Global("torch", "Size"), (tuple(obj),)
        if not isinstance(obj, Tensor):
            return NotImplemented
        if obj._dtype.name not in _STORAGES:
            raise TypeError(f"save: a tensor of dtype {obj._dtype} has no place in torch's format")
        if isinstance(obj, Parameter):
            return _Global("torch._utils", "_rebuild_parameter"), (
                obj.data, obj.requires_grad, OrderedDict(),
            )  # fmt: skip
        shape = tuple(obj.shape)
        strides = [math.prod(shape[d + 1 :]) for d in range(len(shape))]
        return _Global("torch._utils", "_rebuild_tensor_v2"), (
            self.storage(obj), 0, shape, tuple(strides), obj.requires_grad, OrderedDict(),
        )  # fmt: skip

    def storage(self, t: Tensor) -> _Storage:
        """Where the numbers are; tensors that show the same ones share them in the file too."""
        array = t._array
        where = (array.ctypes.data, array.shape, array.strides, t._dtype)
        key = self.keys.setdefault(where, str(len(self.keys)))
        if key not in self.bytes:
            self.held.append(array)
            self.bytes[key] = array.tobytes()
        return _Storage(key, t._dtype, array.size)


def save(obj: Any, f: File, pickle_module: Any = None, pickle_protocol: int = 2,
         _use_new_zipfile_serialization: bool = True) -> None:  # fmt: skip
    """Write an object made of tensors, numbers, strings and containers to a file, so that torch can
    read it too. The last three options are taken and ignored.

    >>> tracegrad.save(model.state_dict(), "model.pt")
    """
    if mode.trace is not None:
        raise RuntimeError("save: not inside a compiled function, where values are not known")
    text = io.BytesIO()
    pickler = _Pickler(text)
    pickler.dump(obj)
    with zipfile.ZipFile(f, "w") as archive:
        archive.writestr("archive/data.pkl", text.getvalue())
        archive.writestr("archive/byteorder", "little")
        for key, content in pickler.bytes.items():
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", "3\n")


# ---- reading
def _tensor(storage: tuple[np.ndarray, DType], offset: int, shape: Any, strides: Any,
            requires_grad: bool = False, *_: Any) -> Tensor:  # fmt: skip
    """torch._utils._rebuild_tensor_v2, which may look at any part of a storage, but not beyond."""
    array, dtype = storage
    shape, strides = tuple(shape), tuple(strides)
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if 0 in shape:
        seen = np.empty(shape, array.dtype)
    elif min((offset, *shape, *strides)) < 0 or last >= array.size:
        raise pickle.UnpicklingError("load: a tensor reaches beyond its storage")
    else:
        steps = tuple(s * array.itemsize for s in strides)
        seen = np.lib.stride_tricks.as_strided(array[offset:], shape, steps)
    return fill_slots(object.__new__(Tensor), seen, None, dtype, bool(requires_grad))


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, requires_grad, _: Parameter(
        data, requires_grad
    ),
    ("torch", "Size"): Size,
    ("torch", "device"): device,
    ("_codecs", "encode"): codecs.encode,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    **{("torch", name): named(name) for name in _STORAGES},
    **{("torch", f"{kind}Storage"): named(name) for name, kind in _STORAGES.items()},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], read: Callable[[str], bytes], weights_only: bool):
        super().__init__(file, encoding="utf-8")
        self.read_storage, self.weights_only = read, weights_only
        self.storages: dict[str, tuple[np.ndarray, DType]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if self.weights_only:
            raise pickle.UnpicklingError(
                f"Weights only load failed. The file names {module}.{name}, which is not among "
                "what is allowed. Loading it with weights_only=False may run any code that is in "
                "the file: do so only if you trust its source."
            )
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> tuple[np.ndarray, DType]:
        what, dtype, key, _, size = pid
        if what != "storage" or not isinstance(dtype, DType):
            raise pickle.UnpicklingError(f"load: {what!r} is not understood")
        if key not in self.storages:
            array = np.frombuffer(bytearray(self.read_storage(key)), dtype.storage)
            if array.size < size:
                raise pickle.UnpicklingError(f"load: storage {key} has less than {size} numbers")
            self.storages[key] = array, dtype
        return self.storages[key]


def load(f: File, map_location: Any = None, pickle_module: Any = None, *,
         weights_only: bool = True, mmap: bool | None = None, **options: Any) -> Any:  # fmt: skip
    """Read what `save`, or torch's, has written; every tensor is in the memory of the CPU.

    Unless `weights_only` is False, only tensors, numbers, strings and containers are made. The
    other options are taken and ignored.

    >>> model.load_state_dict(tracegrad.load("model.pt"))
    """
    try:
        archive = zipfile.ZipFile(f)
    except zipfile.BadZipFile:
        raise pickle.UnpicklingError(
            "load: not an archive of torch.save or tracegrad.save (torch's format from before "
            "version 1.6 is not supported)"
        ) from None
    with archive:
        names = set(archive.namelist())
        root = next((n[: -len("data.pkl")] for n in names if n.endswith("/data.pkl")), None)
        if root is None:
            raise RuntimeError("load: file not found: archive/data.pkl")
        order = f"{root}byteorder"
        if order in names and archive.read(order) != b"little":
            raise RuntimeError(f"load: byte order {archive.read(order)!r} is not supported")
        text = io.BytesIO(archive.read(f"{root}data.pkl"))
        return _Unpickler(text, lambda k: archive.read(f"{root}data/{k}"), weights_only).load()


__all__ = ["load", "save"]
