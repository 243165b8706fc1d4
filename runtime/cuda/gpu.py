"""A GPU: its streams, raw memory and kernels. What is said of errors is said here."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from ...codegen.program import Kernel, Launch, Program
from ...ir.cached import cached_property
from ...ir.locks import lock
from .allocator import Allocator, Memory
from .driver import DeviceProperties, Driver
from .late_checks import LateChecks
from .pinned import is_pinned

STREAMS = 32  # that users can ask for, as in torch
MOST_BEGUN = 64  # programs that are remembered in case one fails
MOST_ROWS = 20  # kernels that an error lists


class Gpu:
    """The GPU with the number `index`. Each thread has a current stream."""

    def __init__(self, driver: Driver, index: int, caching: bool = True):
        self.driver, self.index, self.name = driver, index, f"cuda:{index}"
        self.allocator = Allocator(driver, index, caching)
        self._current = threading.local()
        self._default: int | None = None
        self._lock, self._one_recorder = lock(), lock()
        self._streams: list[int] = []  # that users have asked for
        self._asked = 0  # how often
        self.has_several_streams = False  # that have been used
        self._copies: deque[tuple[int, np.ndarray]] = deque()  # from pinned memory, with events
        self._checks: dict[LateChecks, None] = {}
        self._begun: dict[int, Program] = {}  # since somebody waited; by id

    @property
    def properties(self) -> DeviceProperties:
        return self.driver.properties(self.index)

    # ---- streams
    @property
    def default_stream(self) -> int:
        """That of threads which have chosen none. A device that nobody uses has none."""
        if self._default is None:
            with self._lock:
                if self._default is None:
                    self._default = self.driver.stream(self.index)
        return self._default

    @property
    def stream(self) -> int:
        """The current one."""
        chosen = getattr(self._current, "stream", None)
        return self.default_stream if chosen is None else chosen

    def new_stream(self) -> int:
        """A stream for a user; after STREAMS of them, one of these again."""
        with self._lock:
            self._asked += 1
            if len(self._streams) < STREAMS:
                self._streams.append(self.driver.stream(self.index))
                return self._streams[-1]
            return self._streams[(self._asked - 1) % STREAMS]

    @cached_property
    def _recorder(self) -> int:
        return self.driver.stream(self.index)

    @contextmanager
    def recorder(self) -> Iterator[int]:
        """Within it, a stream that is this thread's alone, to record a graph: what other threads do
        meanwhile, in the streams that they share, is no part of it.
        """
        with self._one_recorder:
            yield self._recorder

    def set_stream(self, stream: int | None) -> int | None:
        """Let that be the current one of this thread; None: the default one. Gives the former."""
        self.has_several_streams |= stream not in (None, self.default_stream)
        before, self._current.stream = getattr(self._current, "stream", None), stream
        return before

    @contextmanager
    def on_stream(self, stream: int) -> Iterator[None]:
        """Within it, that is the current one of this thread."""
        before = self.set_stream(stream)
        try:
            yield
        finally:
            self.set_stream(before)

    def synchronize(self, launches: Sequence[Launch] = (), alone: bool = False) -> None:
        """Wait for the current stream. If a kernel fails, `launches` are those it may be of, if
        `alone` no others.
        """
        with self._blamed(launches, alone):
            self.driver.synchronize(self.stream)
        self._waited()

    # ---- what users wait for: they see what calls before have found wrong
    def synchronize_stream(self, stream: int) -> None:
        with self.on_stream(stream):
            self.synchronize()
        self.look()

    def synchronize_event(self, event: int) -> None:
        self.wait_for(event)
        self.look()

    def wait_for(self, event: int) -> None:
        with self._blamed():
            self.driver.synchronize_event(event)

    def synchronize_all(self) -> None:
        """Wait for all streams."""
        with self._blamed():
            self.driver.synchronize_device(self.index)
        self._begun.clear()
        self.look()

    def look_later(self, checks: LateChecks) -> None:
        """A call may turn out to have found something wrong."""
        self._checks[checks] = None

    def look(self) -> None:
        """Raise what a call that is done has found wrong."""
        for checks in list(self._checks):
            try:
                checks.look()
            finally:
                if checks.seen:
                    self._checks.pop(checks, None)

    def note(self, program: Program) -> None:
        """A program begins, of which a kernel may fail."""
        if len(self._begun) == MOST_BEGUN:
            self._begun.clear()
        self._begun[id(program)] = program

    # ---- memory
    def memory(self, nbytes: int) -> Memory:
        """RuntimeError if there is no room."""
        return Memory(self, self.allocator, nbytes, self.stream)

    def write(self, address: int, data: np.ndarray, wait: bool = True) -> None:
        """Copy to the device. `data` may change once this returns, unless it is pinned memory that
        nobody waits for.
        """
        if not data.nbytes:
            return
        if not is_pinned(data):
            self.driver.copy_in(self.stream, address, data)
            return
        self.driver.copy_in_later(self.stream, address, data)
        if wait:
            self.synchronize()
        else:
            self._hold(data)

    def _hold(self, data: np.ndarray) -> None:
        """Keep pinned memory until the copy from it is done."""
        with self._lock:
            while self._copies and self.driver.done(self._copies[0][0]):
                self.driver.release_event(self._copies.popleft()[0])
            self._copies.append((self.driver.event(self.stream), data))

    def read(self, data: np.ndarray, address: int, launches: Sequence[Launch] = ()) -> None:
        """Copy from the device to `data`, and wait for it."""
        with self._blamed(launches):
            if data.nbytes:
                self.driver.copy_out(self.stream, data, address)
                self._waited()

    # ---- kernels
    def functions(self, launches: Iterable[Launch]) -> dict[Kernel, int]:
        """The kernels of these launches, loaded."""
        kernels = dict.fromkeys(one.kernel for one in launches)
        return self.driver.functions(self.index, list(kernels))

    def _waited(self) -> None:
        """All that was in the current stream is done; others may still be at theirs."""
        if not self.has_several_streams:
            self._begun.clear()

    @contextmanager
    def _blamed(self, launches: Sequence[Launch] = (), alone: bool = False) -> Iterator[None]:
        """Within it, an error of the device says which kernels may have failed, and for what they
        are: those of `launches`, or of all programs that nobody has waited for yet.
        """
        try:
            yield
        except RuntimeError as error:
            begun = [one for program in list(self._begun.values()) for one in program.launches]
            rows = list(dict.fromkeys(
                f"  {one.kernel.name}: {one.origin[0] if one.origin else one.kernel.template}"
                for one in launches or begun
            ))
            if not rows:
                raise
            head = "The kernel that failed:" if alone else (
                "One of these kernels failed, or one before them. With CUDA_LAUNCH_BLOCKING=1 in "
                "the environment the error names it:"
            )
            more = [f"  and {len(rows) - MOST_ROWS} more"] if len(rows) > MOST_ROWS else []
            lines = str(error), head, *rows[:MOST_ROWS], *more
            raise RuntimeError("\n".join(lines)) from error
