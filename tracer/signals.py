"""Signal handlers written in Python run between any two steps of the main thread, so also while it
records a trace. What they compute is no part of the trace: they run in the world outside of it.
"""

from __future__ import annotations

import signal
import threading
from _signal import getsignal  # that of `signal` looks for an enum, every time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .mode import mode

_SIGNALS = tuple(int(number) for number in signal.valid_signals())


class _Outside:
    """A handler, run with no trace going on in this thread."""

    def __init__(self, handler: Callable):
        self.handler = handler

    def __call__(self, number: int, frame: Any) -> Any:
        inside, mode.trace = mode.trace, None
        try:
            return self.handler(number, frame)
        finally:
            mode.trace = inside


@contextmanager
def handlers_outside() -> Iterator[None]:
    """Within it no signal handler sees a trace."""
    wrapped: dict[int, _Outside] = {}
    if threading.current_thread() is threading.main_thread():  # handlers run nowhere else
        for number in _SIGNALS:
            handler = getsignal(number)
            if callable(handler) and handler is not signal.default_int_handler:
                if not isinstance(handler, _Outside):
                    wrapped[number] = outside = _Outside(handler)
                    signal.signal(number, outside)
    try:
        yield
    finally:
        for number, outside in wrapped.items():
            if getsignal(number) is outside:
                signal.signal(number, outside.handler)
