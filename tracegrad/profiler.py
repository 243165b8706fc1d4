"""torch.profiler: labels, which cost nothing. A profile is taken by Python's profilers."""

from __future__ import annotations

from contextlib import ContextDecorator
from typing import Self

from .refusals import refused

__all__ = ["record_function"]


class record_function(ContextDecorator):
    """A label for a part of a program, which no profiler reads.

    >>> with torch.profiler.record_function("forward"):
    ...     _ = torch.ones(2) + 1
    """

    def __init__(self, name: str, args: str | None = None):
        self.name = name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


globals().update(refused(
    "profiler", "ProfilerAction ProfilerActivity profile schedule tensorboard_trace_handler",
    "use cProfile, or perf; `profile()` of a compiled function times its launches",
))
