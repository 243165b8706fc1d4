"""A line on the terminal that says what a long compilation is doing.

It is there from the first second of a compilation to its end, if stderr is a terminal, unless
TRACEGRAD_PROGRESS=0. A thread writes it, so that it is seen in the middle of a long phase, too.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

PATIENCE = 1.0  # seconds before it is shown
OFTEN = 0.2  # seconds between looks at what there is to say
_ERASE = "\r\x1b[K"


class _Line:
    def __init__(self, stream: Any, phase: str):
        self.stream, self.phase, self.began = stream, phase, time.monotonic()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.write, name="tracegrad-progress", daemon=True)
        self.thread.start()

    def write(self) -> None:
        wait, shown = PATIENCE, False
        with suppress(OSError, ValueError):  # the terminal has gone
            while not self.over.wait(wait):
                seconds = time.monotonic() - self.began
                self.stream.write(f"{_ERASE}tracegrad: {self.phase}, {seconds:.0f} s")
                self.stream.flush()
                wait, shown = OFTEN, True
            if shown:
                self.stream.write(_ERASE)
                self.stream.flush()

    def end(self) -> None:
        self.over.set()
        self.thread.join(1)  # a terminal that is stopped is not waited for


class _Here(threading.local):
    line: _Line | None = None


_here = _Here()


def _terminal() -> Any:
    """Where to write; None if nobody looks."""
    stream = sys.stderr
    with suppress(AttributeError, ValueError):
        if os.environ.get("TRACEGRAD_PROGRESS") != "0" and os.environ.get("TERM") != "dumb":
            return stream if stream.isatty() else None
    return None


@contextmanager
def progress(name: str) -> Iterator[None]:
    """Within it, phases of a compilation by this thread are shown, of which this is the first. One
    in the middle of another is a part of it.
    """
    stream = None if _here.line else _terminal()
    if stream is None:
        yield
        return
    line = _here.line = _Line(stream, name)
    try:
        yield
    finally:
        _here.line = None
        line.end()


def phase(name: str) -> None:
    """What this thread's compilation is doing from now on."""
    if _here.line is not None:
        _here.line.phase = name
