"""How many threads share a loop, by torch's names."""

from __future__ import annotations

import warnings

from ..runtime.cpu import threads

__all__ = ["get_num_interop_threads", "get_num_threads", "set_num_interop_threads",
           "set_num_threads"]


def get_num_threads() -> int:
    """How many threads share a loop of a compiled function.

    >>> torch.get_num_threads() >= 1
    True
    """
    return threads.wanted()


def set_num_threads(num: int) -> None:
    """Let `num` threads share a loop. Threads start with the first compiled function that needs
    them; afterwards their number stays, with a warning.

    Raises RuntimeError for a number below 1; TypeError for what is no integer.

    >>> torch.set_num_threads(torch.get_num_threads())
    """
    if not isinstance(num, int) or isinstance(num, bool):
        raise TypeError(f"set_num_threads expects an int, but got {type(num).__name__}")
    if num < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    if not threads.want(num) and num != threads.wanted():
        warnings.warn(
            f"set_num_threads({num}): {threads.wanted()} threads have started and stay; call it "
            "before the first compiled function runs",
            stacklevel=2,
        )


def get_num_interop_threads() -> int:
    """1: a program is one thread that others help with its loops.

    >>> torch.get_num_interop_threads()
    1
    """
    return 1


def set_num_interop_threads(num: int) -> None:
    """Nothing but the check: a program is one thread. Raises RuntimeError for a number below 1.

    >>> torch.set_num_interop_threads(2)
    """
    if num < 1:
        raise RuntimeError("set_num_interop_threads expects a positive integer")
