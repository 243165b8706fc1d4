"""What signal handlers compute while their thread records a trace is no part of the trace: they run
in the world outside of it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from ..ir.handlers import exchanged
from .mode import mode


class _UntracedHandler:
    """A handler, run with no trace going on in this thread."""

    def __init__(self, handler: Callable):
        self.handler = handler

    def __call__(self, number: int, frame: Any) -> Any:
        inside, mode.trace = mode.trace, None
        try:
            return self.handler(number, frame)
        finally:
            mode.trace = inside


def _wrap_handler(handler: Callable) -> _UntracedHandler | None:
    known = handler is signal.default_int_handler or isinstance(handler, _UntracedHandler)
    return None if known else _UntracedHandler(handler)


def untraced_handlers() -> AbstractContextManager[None]:
    """Within it no signal handler sees a trace."""
    return exchanged(_wrap_handler)
