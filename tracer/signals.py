"""Signal handlers that run while their thread records a trace. They run outside the trace."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from ..ir.handlers import exchanged
from .mode import mode


class _UntracedHandler:
    """A signal handler that runs with no trace in its thread."""

    def __init__(self, handler: Callable):
        self.handler = handler

    def __call__(self, number: int, frame: Any) -> Any:
        inside, mode.trace = mode.trace, None
        try:
            return self.handler(number, frame)
        finally:
            mode.trace = inside


def _wrap_handler(handler: Callable) -> _UntracedHandler | None:
    already_handled = handler is signal.default_int_handler or isinstance(handler, _UntracedHandler)
    return None if already_handled else _UntracedHandler(handler)


def untraced_handlers() -> AbstractContextManager[None]:
    """Within it, signal handlers run outside the trace."""
    return exchanged(_wrap_handler)
