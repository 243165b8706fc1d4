"""Worker processes that examine entries, so that a crash or a hang costs one entry and no more.

Each worker is a process that loads torch once and is handed names over a pipe; one that answers
too late, or dies, is replaced.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

SPAWN = mp.get_context("spawn")
START = 300  # seconds that loading torch may take on a busy machine


def work(pipe: Any, settings: dict) -> None:
    """The life of a worker: names come, records go."""
    import torch

    from .breadth import dtypes, errors
    from .compare import Outcome, examine
    from .entries import differentiable, entries, identity, ours

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # torch's own warnings
    known = {identity(op): op for op in entries()}
    pipe.send("ready")
    while (name := pipe.recv()) is not None:
        op = known[name]
        try:
            outcome = examine(op, settings["samples"], settings["eager_only"])
        except Exception as error:
            lines = str(error).splitlines() or [""]
            outcome = Outcome(name, "broken", "", f"{type(error).__name__}: {lines[0]}",
                              autograd=differentiable(op))
        record = outcome.record()
        present = outcome.status != "absent"
        record["dtypes"] = dtypes(op, ours(op)) if settings["dtypes"] and present else {}
        record["errors"] = list(errors(op, ours(op))) if settings["errors"] and present else []
        pipe.send(record)


class Worker:
    """A process, and the end of the pipe to it."""

    def __init__(self, settings: dict):
        self.pipe, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=work, args=(theirs, settings), daemon=True)
        self.process.start()
        theirs.close()
        if self.answer(START) != "ready":
            raise RuntimeError("a worker did not start")

    def answer(self, timeout: float) -> Any:
        """What the worker sends, or why it sends nothing."""
        try:
            return self.pipe.recv() if self.pipe.poll(timeout) else f"no answer in {timeout:.0f} s"
        except (EOFError, ConnectionError):
            self.process.join(5)
            return f"the process died with status {self.process.exitcode}"

    def examine(self, name: str, timeout: float) -> Any:
        self.pipe.send(name)
        return self.answer(timeout)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()


def run(names: Sequence[str], settings: dict, jobs: int, timeout: float,
        report: Callable[[dict], None]) -> list[dict]:
    """The records of all names, in their order; `report` is told each as it comes."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)
    records: dict[str, dict] = {}

    def serve() -> None:
        worker = None
        while True:
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                break
            worker = worker or Worker(settings)
            record = worker.examine(name, timeout)
            if isinstance(record, str):
                worker.stop()
                worker = None
                record = {"name": name, "status": "broken", "verdict": "broken", "reason": record,
                          "stage": "", "order": 0, "autograd": True, "seconds": timeout,
                          "sample": "", "dtypes": {}, "errors": []}
            records[name] = record
            report(record)
        if worker is not None:
            worker.stop()

    threads = [threading.Thread(target=serve) for _ in range(min(jobs, len(names)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [records[name] for name in names if name in records]
