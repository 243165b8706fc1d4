"""The memory of GPUs. What tensors gave back is kept for others, until `empty_cache`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ..driver.gpus import gpus, in_words

__all__ = [
    "empty_cache", "ipc_collect", "max_memory_allocated", "max_memory_reserved", "mem_get_info",
    "memory_allocated", "memory_reserved", "memory_stats", "memory_summary",
    "reset_max_memory_allocated", "reset_peak_memory_stats",
]


def _statistics(device: Any) -> Mapping[str, int]:
    """What the allocator counts, at one moment; all is 0 if nobody has asked for a GPU yet."""
    if not gpus.opened:
        return defaultdict(int)
    return gpus.device(gpus.chosen(device)).allocator.statistics()


def _statistic(name: str, device: Any) -> int:
    return _statistics(device)[name]


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


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes that this process had of a GPU's memory, since the start or
    `reset_peak_memory_stats`.

    >>> torch.cuda.max_memory_reserved()
    0
    """
    return _statistic("reserved peak", device)


_NAMES = {  # as torch calls them
    "allocated_bytes.all.current": "allocated", "allocated_bytes.all.peak": "peak",
    "active_bytes.all.current": "allocated", "active_bytes.all.peak": "peak",
    "reserved_bytes.all.current": "reserved", "reserved_bytes.all.peak": "reserved peak",
    "allocation.all.current": "blocks", "active.all.current": "blocks",
    "num_alloc_retries": "retries", "num_ooms": "failures",
}


def memory_stats(device: Any = None) -> dict[str, int]:
    """What is counted of a GPU's memory, by torch's names; those for pools of one size, and sums
    over time, are not counted.

    >>> torch.cuda.memory_stats()["num_ooms"]
    0
    """
    statistics = _statistics(device)
    return {name: statistics[own] for name, own in _NAMES.items()}


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """The same as a text of a few lines.

    >>> "allocated" in torch.cuda.memory_summary()
    True
    """
    statistics = _statistics(device)
    sizes = ("allocated", "peak", "reserved", "reserved peak")
    lines = [f"{name}: {in_words(statistics[name])}" for name in sizes]
    counts = [f"{name}: {statistics[name]}" for name in ("blocks", "retries", "failures")]
    return "\n".join([*lines, *counts])


def reset_peak_memory_stats(device: Any = None) -> None:
    """Let `max_memory_allocated` begin anew. Raises RuntimeError if there is no GPU.

    >>> if torch.cuda.is_available():
    ...     torch.cuda.reset_peak_memory_stats()
    """
    gpus.device(gpus.chosen(device)).allocator.reset_peak()


def reset_max_memory_allocated(device: Any = None) -> None:
    """The same as `reset_peak_memory_stats`, by its former name.

    >>> if torch.cuda.is_available():
    ...     torch.cuda.reset_max_memory_allocated()
    """
    reset_peak_memory_stats(device)


def ipc_collect() -> None:
    """Do nothing: no memory is shared with other processes.

    >>> torch.cuda.ipc_collect()
    """


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
