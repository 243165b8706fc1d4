"""torch.cuda without a GPU: the functions that say so, or that have nothing to do."""

from typing import Any

from .tracer.tensor.device import usable as _usable

__all__ = [
    "current_device", "device_count", "empty_cache", "is_available", "manual_seed",
    "manual_seed_all", "synchronize",
]


def is_available() -> bool:
    """Whether tensors can live on a GPU.

    >>> torch.cuda.is_available()
    False
    """
    return False


def device_count() -> int:
    """How many GPUs tensors can live on.

    >>> torch.cuda.device_count()
    0
    """
    return 0


def current_device() -> int:
    """The GPU in use. Raises RuntimeError, because there is none."""
    _usable("cuda")
    return 0


def synchronize(device: Any = None) -> None:
    """Wait for the GPU; nothing to wait for.

    >>> torch.cuda.synchronize()
    """


def empty_cache() -> None:
    """Give unused GPU memory back; nothing to give.

    >>> torch.cuda.empty_cache()
    """


def manual_seed(seed: int) -> None:
    """Seed the GPU's generator; there is none.

    >>> torch.cuda.manual_seed(0)
    """


def manual_seed_all(seed: int) -> None:
    """Seed all GPUs' generators; there are none.

    >>> torch.cuda.manual_seed_all(0)
    """
