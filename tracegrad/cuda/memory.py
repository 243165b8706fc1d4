"""The memory of GPUs. What tensors gave back is kept for others, until `empty_cache`."""

from __future__ import annotations

from typing import Any

from ..driver.gpus import gpus

__all__ = [
    "empty_cache", "max_memory_allocated", "mem_get_info", "memory_allocated", "memory_reserved",
    "reset_peak_memory_stats",
]


def _statistic(name: str, device: Any) -> int:
    """A number of bytes; 0 if nobody has asked for a GPU yet."""
    if not gpus.opened:
        return 0
    return int(gpus.device(gpus.chosen(device)).allocator.statistics()[name])


def memory_allocated(device: Any = None) -> int:
    """The bytes of a GPU that tensors and programs have now.

    >>> torch.cuda.memory_allocated()
    0
    """
    return _statistic("allocated", device)


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that they had at once, since the start or `reset_peak_memory_stats`.

    >>> torch.cuda.max_memory_allocated()
    0
    """
    return _statistic("peak", device)


def memory_reserved(device: Any = None) -> int:
    """The bytes that this process has of a GPU's memory, in use or kept.

    >>> torch.cuda.memory_reserved()
    0
    """
    return _statistic("reserved", device)


def reset_peak_memory_stats(device: Any = None) -> None:
    """Let `max_memory_allocated` begin anew. Raises RuntimeError if there is no GPU.

    >>> if torch.cuda.is_available():
    ...     torch.cuda.reset_peak_memory_stats()
    """
    gpus.device(gpus.chosen(device)).allocator.reset_peak()


def empty_cache() -> None:
    """Give memory that no tensor has back to the GPUs' driver.

    >>> torch.cuda.empty_cache()
    """
    for gpu in gpus.opened or ():
        gpu.allocator.empty_cache()


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """The bytes of a GPU that are free, and all of them, whoever has the others.

    Raises RuntimeError if it is not there.

    >>> if torch.cuda.is_available():
    ...     free, total = torch.cuda.mem_get_info()
    """
    gpu = gpus.device(gpus.chosen(device))
    return gpu.driver.free_memory(gpu.index), gpu.properties.total_memory
