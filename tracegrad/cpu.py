"""torch.cpu: the device that is always there."""

from __future__ import annotations

from typing import Any

__all__ = [
    "current_device", "device_count", "is_available", "is_initialized", "set_device", "synchronize",
]


def is_available() -> bool:
    """True.

    >>> torch.cpu.is_available(), torch.cpu.device_count(), torch.cpu.current_device()
    (True, 1, 'cpu')
    """
    return True


is_initialized = is_available


def device_count() -> int:
    """1."""
    return 1


def current_device() -> str:
    """'cpu'."""
    return "cpu"


def synchronize(device: Any = None) -> None:
    """Nothing: what was computed on the CPU is there."""


def set_device(device: Any) -> None:
    """Nothing: there is one CPU."""
