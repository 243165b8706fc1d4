"""Which device tensors are on: moving them, and refusing to compute with tensors of several."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from inspect import CO_VARARGS, CO_VARKEYWORDS
from types import FrameType
from typing import Any

import numpy as np

from ...ir.device_array import DeviceArray
from ...ir.dtype import DType
from ...ir.node import user_site
from ...ir.op import OpDef
from ..autograd.graph import GradFn, edge
from ..mode import mode, resolve
from . import device_memory
from .device import CPU, device, within_library
from .tensor import Tensor, leaked_tensor_error, wrap

# functions whose indices, or lengths, may be on the CPU
_INDEXING = ("getitem", "setitem", "index_put", "index_put_", "ctc_loss")


# ---- moving
def placed(t: Tensor, where: device) -> Tensor:
    """A new tensor, without history, put on a device."""
    if mode.trace is not None:
        return mode.trace.placed(t, where)
    return t if t.device == where else wrap(device_memory.copied(t._array, where), t._dtype)


def constant(array: np.ndarray, dtype: DType, where: device = CPU) -> Tensor:
    """Numbers that a traced function has made, where its program computes; the CPU may be told of
    what ends up elsewhere.
    """
    trace = mode.trace
    while trace is not None and where == CPU:
        where, trace = getattr(trace, "device", None) or CPU, getattr(trace, "outer", None)
    return wrap(device_memory.copied(array, where), dtype)


class ToDevice(GradFn):
    """A tensor was copied to another device. Its gradient goes back."""

    __slots__ = ("back",)

    def __init__(self, x: Tensor):
        super().__init__("ToCopyBackward0", (edge(x),))
        self.back = x.device

    def apply(self, g: Tensor) -> tuple[Tensor | None, ...]:
        return (on_device(g, self.back),)


def on_device(x: Tensor, where: device, wait: bool = True) -> Tensor:
    """`x` on a device: itself if it is there, else a copy with its history, for which nobody needs
    to wait.
    """
    x = resolve(x)
    if mode.trace is not None:
        return mode.trace.placed(x, where)
    if x.device == where:
        return x
    y = wrap(device_memory.copied(x._array, where, wait), x._dtype)
    if mode.grad and x._requires_grad:
        y._grad_fn, y._requires_grad = ToDevice(x), True
    return y


# ---- computing
def compute(op: OpDef, inputs: Sequence[Tensor], params: dict) -> Tensor | None:
    """The value of a primitive for eager tensors, of which one is on a device; None if none is."""
    for x in inputs:
        if x._view is not None:
            x._view.refresh(x)
        if x._node is not None:
            raise leaked_tensor_error(x)
    if not any(type(x._array) is DeviceArray for x in inputs):
        return None
    dtypes = [x._dtype for x in inputs]
    return wrap(*device_memory.gpus.compute(op, _together(op, inputs), dtypes, params))


def _together(op: OpDef, inputs: Sequence[Tensor]) -> list[DeviceArray]:
    """The arrays of operands, all on one device. A number of the CPU goes there, and so does what
    a function of this library has made for its own purpose.
    """
    places = list(dict.fromkeys(device_memory.place_of(x._array) for x in inputs))
    where = next(p for p in places if p != CPU)
    if len(places) > 1:
        strangers = [x.device for x in inputs if x.device != where and (x.ndim or x.device != CPU)]
        if any(p != CPU for p in strangers):
            raise different_devices(places)
        if strangers:
            refuse_users(places)
    return [_brought(x._array, where) for x in inputs]


def _brought(array: Any, where: device) -> DeviceArray:
    """An operand on a device. Numbers of programs are read-only, and kept there."""
    if type(array) is np.ndarray and not array.ndim and not array.flags.writeable:
        return device_memory.gpus.number(array, where.index or 0)
    return device_memory.copied(array, where)


def different_devices(places: Iterable[device]) -> RuntimeError:
    """torch's error for tensors of several devices."""
    names = sorted(map(str, places), key=lambda name: name == "cpu")  # as torch has it
    return RuntimeError(
        "Expected all tensors to be on the same device, but found at least two devices, "
        f"{' and '.join(names[:2])}!"
    )


def refuse_several(first: device, other: device, t: Any) -> RuntimeError:
    """The error for a compiled function that uses a tensor, or makes one, on another device."""
    what = "makes a tensor" if t is None else f"uses a tensor of shape {[*t.shape]}"
    return RuntimeError(
        f"{different_devices([first, other])} A compiled function computes on one device, here "
        f"{first}, and {what} on {other} (line {user_site()}): move tensors outside of it"
    )


def refuse_users(places: list[device], trace: Any = None) -> None:
    """Raise if the user has given a tensor of the CPU, but for a number, to the function of this
    library that runs. If not, the function has made it itself.
    """
    frame: FrameType | None = sys._getframe(1)
    entry: FrameType = sys._getframe(1)
    while frame is not None and within_library(frame):
        if entry.f_code.co_name not in _INDEXING or frame.f_code.co_name in _INDEXING:
            entry = frame
        frame = frame.f_back
    code = entry.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & CO_VARARGS) + bool(code.co_flags & CO_VARKEYWORDS)
    names, indexing = code.co_varnames[:count], code.co_name in _INDEXING
    for name in names[:1] if indexing else names:
        for x in _on_cpu(entry.f_locals[name], trace, 2):
            if indexing:
                raise RuntimeError(
                    "indices should be either on cpu or on the same device as the indexed tensor "
                    f"({x.device})"
                )
            if trace is None:
                raise different_devices(places)
            raise refuse_several(places[0], places[1], x)


def _on_cpu(value: Any, trace: Any, depth: int) -> Iterator[Any]:
    """The tensors and arrays of the CPU in a value, but for numbers."""
    if isinstance(value, np.ndarray) or (isinstance(value, Tensor) and _is_on_cpu(value, trace)):
        if value.ndim:
            yield value
    elif depth and isinstance(value, (tuple, list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _on_cpu(part, trace, depth - 1)


def _is_on_cpu(t: Tensor, trace: Any) -> bool:
    if (a := t._array) is None:
        return trace is not None and trace.on_host.get(t._node) is True
    return type(a) is np.ndarray
