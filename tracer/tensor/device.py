"""Devices, by torch's names. This module knows which devices exist here. It moves no data."""

from __future__ import annotations

import re
from typing import Any

_TYPES = ("cpu", "cuda", "mps", "xpu", "meta")


class device:
    """The device of a tensor: `device('cpu')`, `device('cuda:1')`, `device('cuda', 1)`.

    Raises RuntimeError for a string that names no device.

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


CPU = device("cpu")


def usable(where: Any) -> device:
    """The device `where`, if tensors can be placed on it. None means the CPU.

    Raises RuntimeError for a device that is not available.
    """
    if where is None:
        return CPU
    where = device(where)
    if where.type == "cuda":
        raise RuntimeError(
            "CUDA is not available: tracegrad found no CUDA device that it can put tensors on"
        )
    if where.type != "cpu":
        raise RuntimeError(f"tensors cannot be put on device '{where}'")
    return CPU
