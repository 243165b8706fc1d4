"""Devices, by torch's names: which exist here, and which one new tensors are put on. This module
moves no data.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from ..mode import mode

_TYPES = ("cpu", "cuda", "mps", "xpu", "meta")


class device:
    """The device of a tensor: `device('cpu')`, `device('cuda:1')`, `device('cuda', 1)`.

    Within `with device(...)`, new tensors are put there. Raises RuntimeError for a string that
    names no device.

    >>> torch.device("cuda", 1)
    device(type='cuda', index=1)
    """

    __slots__ = ("index", "type")
    type: str
    index: int | None

    def __init__(self, device: Any, index: int | None = None):
        if isinstance(device, self.__class__):
            device, index = device.type, device.index if index is None else index
        elif isinstance(device, int) and index is None:
            device, index = "cuda", device
        if not isinstance(device, str):
            raise TypeError(f"device(): argument 'device' must be str, not {type(device).__name__}")
        match = re.fullmatch(r"([a-z]+)(?::(\d+))?", device)
        if match is None:
            raise RuntimeError(f"Invalid device string: '{device}'")
        if match[1] not in _TYPES:
            raise RuntimeError(
                f"Expected one of {', '.join(_TYPES)} device type at start of device string: "
                f"{match[1]}"
            )
        if match[2] is not None:
            if index is not None:
                raise RuntimeError(
                    "type (string) must not include an index because index was passed explicitly: "
                    f"{device}"
                )
            index = int(match[2])
        self.type, self.index = match[1], index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        return f"device(type='{self.type}'{'' if self.index is None else f', index={self.index}'})"

    def __reduce__(self) -> tuple:
        return (device, (self.type, self.index))

    def __enter__(self) -> device:
        _outer().append(mode.device)
        mode.device = usable(self)
        return self

    def __exit__(self, *_: Any) -> None:
        mode.device = _outer().pop()


CPU = device("cpu")


def _outer() -> list[device | None]:
    """The default devices around the `with` statements of this thread."""
    if mode.outer_devices is None:
        mode.outer_devices = []
    return mode.outer_devices


# by the type of a device: its index, or the current one; raises if there is no such device
present: dict[str, Callable[[int | None], int]] = {}


def usable(where: Any) -> device:
    """The device `where`, if tensors can be placed on it. None means the default device.

    Raises RuntimeError for a device that is not available.
    """
    if where is None:
        return CPU if mode.device is None or _asked_within() else mode.device
    where = device(where)
    if where.type == "cpu":
        return CPU
    index = present.get(where.type)
    if index is None:
        raise RuntimeError(f"tensors cannot be put on device '{where}'")
    return device(where.type, index(where.index))


def _asked_within() -> bool:
    """Whether a function of this library makes the tensor, and no user of it."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and _module(frame).startswith(_MAKERS):
        frame = frame.f_back
    return frame is not None and within_library(frame)


def within_library(frame: FrameType) -> bool:
    """Whether a frame is of the functions of this library."""
    return _module(frame).startswith(_FUNCTIONS)


def _module(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "")


_PACKAGE = __name__.rpartition(".tracer.")[0]
_FUNCTIONS = tuple(f"{_PACKAGE}.{room}." for room in ("functions", "tracer", "ir"))
_MAKERS = tuple(
    f"{_PACKAGE}.functions.{page}"
    for page in ("torch.creation", "torch.random_sampling", "torch.memory", "out_argument")
)


def get_default_device() -> device:
    """The device that new tensors are put on.

    >>> torch.get_default_device()
    device(type='cpu')
    """
    return mode.device or CPU


def set_default_device(device: Any) -> None:
    """Put new tensors of this thread on a device, unless another one is named; None: the CPU.

    Raises RuntimeError for a device that is not available.

    >>> torch.set_default_device("cpu")
    """
    mode.device = None if device is None else usable(device)


__all__ = ["get_default_device", "set_default_device"]
