"""What the launches of a training step take, each alone: on one thread, and on two with the longer
half of what they share. So a machine with other things to do can say what a step costs on an idle
one, but for what meetings of threads cost.

    python -m benchmarks.launches gru-layer char-lstm
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from typing import Any

ROUNDS = 60
CALL = 0.4  # microseconds of a call from here


def executable_of(name: str) -> tuple[Any, Any]:
    """The program of a workload's step, ready to be walked, and whose memory it looks at."""
    import tracegrad as T
    from tracegrad.runtime.cpu import executable

    from .contestants import training_step
    from .workloads import WORKLOADS

    workload = WORKLOADS[name]
    job = workload.torch_style(T, workload.data())
    step = T.compile(training_step(job.loss, job.optimizer))
    before = set(executable._living)
    for _ in range(3):
        step(*job.batch)
    longest = max(executable._living - before, key=lambda e: len(e.program.launches))
    return longest, (job, step)


def measured(executable: Any) -> tuple[float, float]:
    """Microseconds of all launches whole, and of the longer halves of those that are shared."""
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, *3 * [ctypes.c_int64])
    rows = executable._launches.tolist()[: executable._spans[0, 2]]
    best: dict[tuple[int, int, int], float] = {}
    for _ in range(ROUNDS):
        for k, (kernel, block, start, stop, pieces) in enumerate(rows):
            for first, last in parts_of(start, stop, pieces):
                begin = time.perf_counter()
                kind(kernel)(block, first, last, 0)
                took = 1e6 * (time.perf_counter() - begin) - CALL
                best[k, first, last] = min(best.get((k, first, last), took), took)
    whole = halves = 0.0
    for k, (_, _, start, stop, pieces) in enumerate(rows):
        own = [best[k, *part] for part in parts_of(start, stop, pieces)]
        whole, halves = whole + own[0], halves + max(own[1:] or own)
    if executable.failed():
        raise RuntimeError("a launch has failed, and loops after it ended early")
    return whole, halves


def parts_of(start: int, stop: int, pieces: int) -> list[tuple[int, int]]:
    """All of a launch; and its halves, if threads share it."""
    middle = (start + stop) // 2
    return [(start, stop), *([(start, middle), (middle, stop)] if pieces > 1 else [])]


if __name__ == "__main__":
    os.environ.setdefault("NUMBA_NUM_THREADS", "2")
    for name in sys.argv[1:]:
        executable, owners = executable_of(name)
        whole, halves = measured(executable)
        print(f"{name:16} one thread {whole:8.1f} us, two {halves:8.1f} us", flush=True)
