"""Functions that call themselves, for expressions of any depth: the calls wait on a list instead of
on Python's stack.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

Steps = Generator["Steps", Any, Any]  # yields what it needs done first, and is sent the result


def finish(steps: Steps) -> Any:
    """The result of a function written as a generator, which yields its inner calls."""
    waiting, result = [steps], None
    while waiting:
        try:
            inner = waiting[-1].send(result)
        except StopIteration as end:
            result = end.value
            waiting.pop()
        else:
            waiting.append(inner)
            result = None
    return result
