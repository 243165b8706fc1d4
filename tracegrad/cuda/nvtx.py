"""torch.cuda.nvtx: names for stretches of a program, for NVIDIA's profilers. They are not passed
on; the calls are there so that scripts run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import local
from typing import Any

__all__ = ["mark", "range", "range_end", "range_pop", "range_push", "range_start"]


class _Depth(local):
    """How many ranges of this thread are open."""

    now = 0


_depth = _Depth()


def range_push(msg: str) -> int:
    """Begin a range. Gives how many are open around it.

    >>> torch.cuda.nvtx.range_push("forward"), torch.cuda.nvtx.range_pop()
    (0, 0)
    """
    _depth.now += 1
    return _depth.now - 1


def range_pop() -> int:
    """End the last range. Gives how many are open around it; -1 if there was none.

    >>> torch.cuda.nvtx.range_pop()
    -1
    """
    depth = _depth.now - 1
    _depth.now = max(depth, 0)
    return depth


def range_start(msg: str) -> int:
    """Begin a range that may end in another thread, by `range_end`.

    >>> torch.cuda.nvtx.range_end(torch.cuda.nvtx.range_start("copies"))
    """
    return 0


def range_end(range_id: int) -> None:
    """End a range that `range_start` began.

    >>> torch.cuda.nvtx.range_end(0)
    """


def mark(msg: str) -> None:
    """Name a moment.

    >>> torch.cuda.nvtx.mark("epoch 1")
    """


@contextmanager
def range(msg: str, *args: Any, **kwargs: Any) -> Iterator[None]:
    """A range as a context; `args` are put into the text by `format`.

    >>> with torch.cuda.nvtx.range("step {}", 1):
    ...     pass
    """
    range_push(msg.format(*args, **kwargs))
    try:
        yield
    finally:
        range_pop()
