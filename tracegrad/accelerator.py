"""torch.accelerator: the device that is faster than the CPU, if there is one."""

from __future__ import annotations

from typing import Any

from . import cuda
from .tracer.tensor.device import device

__all__ = [
    "current_accelerator", "current_device_index", "device_count", "empty_cache", "is_available",
    "set_device_index", "synchronize",
]


def is_available() -> bool:
    """Whether tensors can live on such a device."""
    return cuda.is_available()


def device_count() -> int:
    """How many such devices there are."""
    return cuda.device_count()


def current_accelerator(check_available: bool = False) -> device | None:
    """The kind of the device, or None.

    >>> torch.accelerator.is_available() == (torch.accelerator.current_accelerator() is not None)
    True
    """
    return device("cuda") if is_available() else None


def current_device_index() -> int:
    """The index of the device in use. Raises RuntimeError if there is none."""
    return cuda.current_device()


def synchronize(device: Any = None) -> None:
    """Wait for the device, if there is one."""
    if is_available():
        cuda.synchronize(device)


def empty_cache() -> None:
    """Give unused memory of the device back, if there is one."""
    cuda.empty_cache()


def set_device_index(device: Any) -> None:
    """Use that device. Raises RuntimeError if it is not there."""
    if not is_available():
        raise RuntimeError("there is no accelerator that tensors can be put on")
    cuda.set_device(device)
