"""The functions of torch.mps and torch.xpu, where there is no such device."""

from __future__ import annotations

from typing import Any


def is_available() -> bool:
    """False: tensors cannot live on such a device."""
    return False


def device_count() -> int:
    """0."""
    return 0


def current_device() -> int:
    """Raises RuntimeError: there is no such device."""
    raise RuntimeError("tracegrad can put no tensors on such a device: it is not available")


def set_device(device: Any) -> None:
    """Raises RuntimeError: there is no such device."""
    current_device()


def synchronize(device: Any = None) -> None:
    """Wait for the device; nothing to wait for."""


def empty_cache() -> None:
    """Give unused memory back; nothing to give."""


def manual_seed(seed: int) -> None:
    """Seed the device's generator; there is none."""


def seed() -> None:
    """Seed the device's generator; there is none."""
