"""torch.multiprocessing: Python's, with tensors that are sent by value.

Processes do not share the memory of tensors, so `share_memory_` is not there to be called.
"""

import multiprocessing as _python
from multiprocessing import *  # noqa: F403

from .refusals import refused

__all__ = [*_python.__all__, "get_all_sharing_strategies", "get_sharing_strategy",
           "set_sharing_strategy"]


def get_all_sharing_strategies() -> set[str]:
    """None: tensors are sent by value."""
    return set()


def get_sharing_strategy() -> str:
    """How tensors are sent."""
    return "by value"


def set_sharing_strategy(new_strategy: str) -> None:
    """Raises RuntimeError: tensors are sent by value."""
    raise RuntimeError(f"set_sharing_strategy({new_strategy!r}): tensors are sent by value here")


globals().update(refused(
    "multiprocessing", "spawn", "start processes by Python's multiprocessing"
))
