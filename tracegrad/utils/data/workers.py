"""The workers of a loader, seen from the main process: one process and one socket each.

Each worker answers in the order in which it is asked, and the workers are asked in turn. So the
next batch in order is always the next answer of one worker.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

from .collate import pinning
from .fetch import epoch, refuse_in_trace
from .messages import receive, send
from .worker import Again, Ended, Failure, Job, work

_MOST = 64  # batches that a worker is asked for ahead: what its socket surely holds
_GRACE = 5.0  # seconds that workers have to end by themselves


def default_context() -> Any:
    """How processes are started: as the program chose, else forked on Linux."""
    chosen = multiprocessing.get_start_method(allow_none=True)
    return multiprocessing.get_context(chosen or ("fork" if sys.platform == "linux" else None))


class Workers:
    """Processes that read batches, numbered from 0."""

    def __init__(self, loader: Any, seed: int):
        context = loader.multiprocessing_context or default_context()
        fetch = (loader.dataset, loader.collate_fn, loader.batch_sampler is not None,
                 loader.drop_last)
        self.timeout = loader.timeout
        self.connections: list[Any] = []
        self.processes: list[Any] = []
        done = context.RawValue("b")  # without a lock, which a killed process would keep
        self.stop = weakref.finalize(
            self, _stop, os.getpid(), done, self.connections, self.processes
        )
        for number in range(loader.num_workers):
            ours, theirs = context.Pipe()
            self.connections.append(ours)
            inherited = list(self.connections) if context.get_start_method() == "fork" else []
            job = Job(number, loader.num_workers, seed + number, fetch, loader.worker_init_fn,
                      inherited, done)
            process = context.Process(target=work, args=(job, theirs), daemon=True)
            process.start()
            theirs.close()  # so that its end is seen here
            self.processes.append(process)

    def ask(self, number: int, keys: Any) -> None:
        """Ask a worker for a batch."""
        try:
            send(self.connections[number], keys)
        except (BrokenPipeError, ConnectionResetError):
            raise self._died(number) from None

    def answer(self, number: int) -> Any:
        """The next answer of a worker."""
        connection, process = self.connections[number], self.processes[number]
        if not wait([connection, process.sentinel], self.timeout or None):
            raise RuntimeError(f"DataLoader timed out after {self.timeout} seconds")
        try:
            if not connection.poll():
                raise EOFError
            return receive(connection)
        except (EOFError, ConnectionResetError):
            raise self._died(number) from None
        except BaseException:  # half a message may be read
            self.stop()
            raise

    def _died(self, number: int) -> RuntimeError:
        process = self.processes[number]
        process.join(_GRACE)
        code, worker = process.exitcode, f"DataLoader worker (pid(s) {process.pid})"
        if code is not None and code < 0:
            how = f"is killed by signal: {signal.strsignal(-code)}"
        else:
            how = f"exited unexpectedly with exit code {code}"
        self.stop()
        return RuntimeError(f"{worker} {how}")


def _stop(owner: int, done: Any, connections: list, processes: list) -> None:
    """End the workers, by force those that do not by themselves."""
    if os.getpid() != owner:  # in a fork: they are not its children
        return
    done.value = True
    for connection in connections:
        with suppress(OSError):
            send(connection, None)
        connection.close()
    until = time.monotonic() + _GRACE
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            process.terminate()
            process.join()


class _MultiProcessingDataLoaderIter:
    """One epoch, read by workers; with persistent workers one after the other."""

    def __init__(self, loader: Any):
        seed, keys = epoch(loader)
        self._workers = Workers(loader, seed)
        self._persistent = loader.persistent_workers
        self._ahead = min(max(loader.prefetch_factor, 1), _MOST) * loader.num_workers
        self._asked: deque[int] = deque()  # by whom the next batches are read, in order
        self._pinned = pinning(loader)
        self._begin(loader, keys)

    def _begin(self, loader: Any, keys: Iterator) -> None:
        self._length = loader.__len__
        self._keys = keys
        self._turns = deque(range(loader.num_workers))
        for _ in range(self._ahead):
            self._ask()

    @property
    def alive(self) -> bool:
        """Whether the workers are there."""
        return self._workers.stop.alive

    def again(self, loader: Any) -> None:
        """Begin another epoch."""
        while self._asked:
            self._workers.answer(self._asked[0])
            self._asked.popleft()
        for number in range(loader.num_workers):
            self._workers.ask(number, Again())
        self._begin(loader, epoch(loader)[1])

    def _ask(self) -> None:
        if not self._turns:
            return
        for keys in self._keys:
            number = self._turns[0]
            self._turns.rotate(-1)
            self._asked.append(number)
            self._workers.ask(number, keys)
            return

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        refuse_in_trace()
        while self._asked and self.alive:
            number = self._asked[0]
            batch = self._workers.answer(number)
            self._asked.popleft()
            if isinstance(batch, Ended):
                with suppress(ValueError):  # said before
                    self._turns.remove(number)
            self._ask()
            if isinstance(batch, Failure):
                batch.reraise()
            if not isinstance(batch, Ended):
                return self._pinned(batch)
        if not self._persistent:
            self._workers.stop()
        raise StopIteration

    def __len__(self) -> int:
        return self._length()
