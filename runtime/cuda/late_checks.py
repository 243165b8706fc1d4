"""What kernels report of a call, seen after it: an index out of range, a class that is not there.

A call leaves a copy of the program's status block to the stream, into pinned memory, and goes on.
The copy is looked at when somebody waits for the GPU, or at the program's next call. Nothing was
written in between: kernels that write to memory of the user look at the status block themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakMethod

import numpy as np

from ...codegen.program import Program, Slot, fault
from ...ir.locks import lock
from .driver import Driver
from .pinned import new

# as CUDA's own variable: wait after each kernel, so that an error is raised by the call it is of
BLOCKING = os.environ.get("CUDA_LAUNCH_BLOCKING") == "1"
WORDS = 4  # of a status block
_SHOWN = 3  # operations that an error names


class Report(NamedTuple):
    """What a call has reported once the event is passed."""

    event: int
    words: np.ndarray


class LateChecks:
    """The reports of one program that nobody has seen yet: that of the last call."""

    def __init__(
        self, driver: Driver, device: int, program: Program, wait_for: Callable[[int], None],
        forget: Callable[[], None],
    ):
        """`wait_for` an event, and say of an error which kernels it may be of."""
        self._driver, self._program, self._wait_for = driver, program, wait_for
        self._forget = WeakMethod(forget)
        both = new(driver, device, 2 * WORDS * 8).view(np.int64).reshape(2, WORDS)
        both[:] = 0
        self._free, self._used = both  # the words of two calls, in turns
        self._last: Report | None = None
        self._lock = lock()

    def leave(self, stream: int, status: int) -> Report | None:
        """Have a call's report copied. Gives that of the call before, if nobody has seen it."""
        with self._lock:
            former = self._last
            self._free, self._used = self._used, self._free
            self._driver.copy_out_later(stream, self._used, status)
            self._last = Report(self._driver.event(stream), self._used)
        return former

    @property
    def seen(self) -> bool:
        return self._last is None

    def take(self, done: bool = False) -> Report | None:
        """The report of the last call, which nobody else will see; only if it is done."""
        with self._lock:
            last = self._last
            if last is None or (done and not self._driver.done(last.event)):
                return None
            self._last = None
        return last

    def wrong(self, report: Report | None) -> bool:
        """Whether a call that gave this report found something wrong. Waits for it."""
        if report is None:
            return False
        self._wait_for(report.event)
        self._driver.release_event(report.event)
        return bool(report.words[0])

    def look(self) -> None:
        """Raise what the last call found wrong, if it is done."""
        report = self.take(done=True)
        if self.wrong(report):
            assert report is not None
            error = of_a_former_call(self._program, report.words)
            if (forget := self._forget()) is not None:
                forget()
            raise error


def of_a_former_call(program: Program, words: np.ndarray) -> Exception:
    """The error for what a call of a program has reported, raised later."""
    error = fault(*(int(word) for word in words))
    checking = [one for one in program.launches[: program.checked] if Slot(0) in one.args]
    origins = [origin for one in checking for origin in one.origin]
    checks = [origin for origin in origins if origin.operation.startswith("check")] or origins
    lines = list(dict.fromkeys(str(origin.site) for origin in checks))
    where = " or ".join(lines[:_SHOWN]) + " or ..." * (len(lines) > _SHOWN)
    error.args = (
        f"{str(error).rstrip('.')}. This was found in a former call of a compiled function, in "
        f"line {where}. That call has written nothing, and neither have later ones of the same "
        "function until now; what they returned means nothing. With CUDA_LAUNCH_BLOCKING=1 in the "
        "environment the call itself raises the error",
    )
    return error
