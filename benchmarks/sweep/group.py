"""One group in a process of its own: `python -m benchmarks.sweep.group GROUP SECONDS THREADS`.

Writes the times of a cell as a line of JSON, as soon as it has them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from importlib import import_module
from typing import Any

from ..machine import cores
from .cell import measured
from .groups import shuffled

ROUNDS = 0.3  # seconds for the rounds of a cell
ORDER = ("tracegrad", "torch", "jax")


def libraries(threads: int) -> dict[str, Any]:
    every: dict[str, Any] = {}
    for name in ORDER:
        try:
            every[name] = import_module(name)
        except ImportError:
            print(f"without {name}", file=sys.stderr)
    if "torch" in every:
        every["torch"].set_num_threads(threads)
    if "jax" in every:
        every["jax"].config.update("jax_enable_x64", True)
    return every


def main(group: str, seconds: str, threads: str) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores()[: int(threads)])
    # The processor time of one thread is less disturbed by other processes than the time of day.
    clock = time.process_time if int(threads) == 1 else time.perf_counter
    every, end = libraries(int(threads)), time.monotonic() + float(seconds)
    for cell in shuffled(group):
        if time.monotonic() > end:
            break
        times = measured(cell, every, ROUNDS, clock)
        print(json.dumps(asdict(times)), file=answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
