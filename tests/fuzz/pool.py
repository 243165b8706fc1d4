"""Worker processes that examine programs, so that a crash or a hang costs one program."""

from __future__ import annotations

import multiprocessing as mp
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

SPAWN = mp.get_context("spawn")
START = 300  # seconds that loading torch may take on a busy machine
SPAN = 400  # compiled programs of one process, which keeps their kernels


def work(pipe: Any, seed: int) -> None:
    """The life of a worker: numbers of programs come, records go."""
    import torch

    from .examine import record

    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # warnings of either library
    seen: set = set()
    pipe.send("ready")
    while (task := pipe.recv()) is not None:
        pipe.send(record(seed, *task, seen))


class Worker:
    def __init__(self, seed: int):
        self.pipe, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=work, args=(theirs, seed), daemon=True)
        self.process.start()
        theirs.close()
        self.done = 0
        if self.answer(START) != "ready":
            raise RuntimeError("a worker did not start")

    def answer(self, timeout: float) -> Any:
        try:
            return self.pipe.recv() if self.pipe.poll(timeout) else f"no answer in {timeout:.0f} s"
        except (EOFError, ConnectionError):
            self.process.join(5)
            return f"the process died with status {self.process.exitcode}"

    def examine(self, index: int, compile: bool, timeout: float) -> Any:
        self.pipe.send((index, compile))
        self.done += compile
        return self.answer(timeout)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()


def run(tasks: Iterator[tuple[int, bool]], seed: int, jobs: int, report: Callable[[dict], None],
        limit: float = float("inf"), timeout: float = 120) -> None:
    """Examine all (index, compiled); `report` is told each record. After `limit` seconds no new
    program is begun.
    """
    end, lock = time.monotonic() + limit, threading.Lock()

    def serve() -> None:
        worker = None
        while time.monotonic() < end:
            with lock:
                task = next(tasks, None)
            if task is None:
                break
            worker = worker or Worker(seed)
            found = worker.examine(*task, timeout)
            died = isinstance(found, str)
            if died:
                crash = {"kind": "crash", "at": 0, "detail": found, "reason": ""}
                found = {"index": task[0], "compiled": task[1], "statements": 0,
                         "sort": ["crash"], "difference": crash}
            if died or worker.done >= SPAN:
                worker.stop()
                worker = None
            with lock:
                report(found)
        if worker is not None:
            worker.stop()

    threads = [threading.Thread(target=serve) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
