"""A loader's worker: a process that reads the batches it is asked for, until nobody wants more."""

from __future__ import annotations

import os
import pickle
import random
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...driver.thread_count import set_num_threads
from ...tracer.tensor.generator import manual_seed
from .fetch import Fetch
from .messages import receive, send

__all__ = ["WorkerInfo", "get_worker_info"]

_PATIENCE = 5.0  # seconds between two looks at whether the main process still lives


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker knows of itself: its number, how many there are, its seed, its data set."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """Which worker of a DataLoader this process is; None in the main process.

    >>> torch.utils.data.get_worker_info() is None
    True
    """
    return _info


class Failure:
    """An exception of a worker, to be raised in the main process."""

    def __init__(self, where: str):
        kind = sys.exc_info()[0]
        assert kind is not None
        self.kind: type[BaseException] = kind
        self.text = f"Caught {kind.__name__} {where}.\nOriginal {traceback.format_exc()}"
        try:
            pickle.dumps(kind)
        except Exception:  # a class that has no path
            self.kind = RuntimeError

    def reraise(self) -> None:
        """Raise an exception of the same type, or RuntimeError if that takes more than a text."""
        try:
            error = self.kind(_Text(self.text) if issubclass(self.kind, KeyError) else self.text)
        except Exception:
            raise RuntimeError(self.text) from None
        raise error


class _Text(str):
    """Shown as it is where Python shows the repr: in a KeyError."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Ended:
    """In place of a batch: the worker's IterableDataset has no more."""


@dataclass
class Job:
    """What a worker is told when it starts."""

    number: int
    count: int
    seed: int
    fetch: tuple  # the arguments of Fetch
    init: Callable | None
    inherited: list  # connections of the main process that a fork copies
    done: Any  # shared: true if nothing more is wanted


class Again:
    """In place of keys: another epoch begins, in a worker that stays."""


def _start(job: Job) -> None:
    global _info
    set_num_threads(1)
    random.seed(job.seed)
    np.random.seed(np.random.SeedSequence(job.seed % 2**64).generate_state(4))
    manual_seed(job.seed)
    _info = WorkerInfo(job.number, job.count, job.seed, job.fetch[0])
    if job.init is not None:
        job.init(job.number)


def work(job: Job, connection: Any) -> None:
    """Answer requests until there are no more, or nobody is there to hear."""
    for other in job.inherited:
        other.close()
    try:
        _serve(job, connection)
    except (KeyboardInterrupt, EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the main process says what it was
    finally:
        connection.close()


def _serve(job: Job, connection: Any) -> None:
    where = f"in DataLoader worker process {job.number}"
    begun: Failure | None = None
    parent = os.getppid()
    try:
        _start(job)
    except Exception:
        begun = Failure(where)
    fetch = None
    while True:
        while not connection.poll(_PATIENCE):
            if os.getppid() != parent:
                return
        keys = receive(connection)
        if job.done.value:
            return
        if isinstance(keys, Again):
            fetch = None
            continue
        try:
            if begun is None:
                fetch = fetch or Fetch(*job.fetch)
            batch = begun or fetch(keys)  # type: ignore[misc]
        except StopIteration:
            batch = Ended()
        except Exception:
            batch = Failure(where)
        _reply(connection, batch, where)


def _reply(connection: Any, batch: Any, where: str) -> None:
    try:
        send(connection, batch)
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception:  # what cannot be pickled
        send(connection, Failure(where))
