"""Signal handlers written in Python run between any two steps of the main thread, so in the middle
of whatever it just does. What may not see them, or be seen by them, exchanges them for a while.
"""

from __future__ import annotations

import signal
from _signal import getsignal  # that of `signal` looks for an enum, every time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import get_ident, main_thread  # by name: a trace refuses what the module has
from typing import Any

_SIGNALS = tuple(int(number) for number in signal.valid_signals())


@contextmanager
def exchanged(instead: Callable[[Callable[..., Any]], Callable[..., Any] | None]) -> Iterator[None]:
    """Within it, what `instead` makes of a handler stands in its place, unless that is None."""
    done: list[tuple[int, Callable[..., Any], Callable[..., Any]]] = []
    try:
        if get_ident() == main_thread().ident:  # they run nowhere else
            for number in _SIGNALS:
                handler = getsignal(number)
                if callable(handler) and (other := instead(handler)) is not None:
                    done.append((number, handler, other))
                    signal.signal(number, other)
        yield
    finally:
        for number, handler, other in done:
            if getsignal(number) is other:
                signal.signal(number, handler)


@contextmanager
def handlers_later(at_once: Sequence[bool] = (False,)) -> Iterator[None]:
    """Handlers of signals that come within it run at its end: for what must neither be entered
    again in its own middle nor be left there. While `at_once[0]` is set they run when they come.
    """
    open_ = [True]

    def instead(handler: Callable[..., Any]) -> Callable[..., Any]:
        def later(*args: Any) -> None:
            if open_[0] and not at_once[0]:
                waiting.callback(handler, *args)
            else:  # or another handler raised while the old ones were put back
                handler(*args)

        return later

    with ExitStack() as waiting:
        try:
            with exchanged(instead):
                yield
        finally:
            open_[0] = False
