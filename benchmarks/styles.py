"""`python -m benchmarks.styles`: training steps in the two styles, the whole step compiled or the
loss only, in turns in one process. Given is the least processor time of one thread for a step, in
microseconds, which other processes disturb less than the time of a clock; then their ratio.
"""

from __future__ import annotations

import argparse
import os
import time

from .contestants import BASELINE, CONTESTANTS
from .workload import Workload

STYLES = BASELINE, "loss-only"


def least(workload: Workload, seconds: float) -> list[float]:
    """The least microseconds of a step in each style."""
    import tracegrad

    runs = [CONTESTANTS[key].build(tracegrad, workload, workload.data()) for key in STYLES]
    best = [float("inf") for _ in runs]
    for run in runs:
        run(3)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for k, run in enumerate(runs):
            count = 20 if best[k] < 1000 else 1
            began = time.thread_time()
            run(count)
            best[k] = min(best[k], (time.thread_time() - began) / count * 1e6)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.styles", description=__doc__)
    parser.add_argument("--only", default="", help="the beginnings of names, with commas")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each; default: %(default)s")
    chosen = parser.parse_args()
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    from .workloads import named

    print("| | whole step | loss only | ratio |\n|---|--:|--:|--:|")
    for workload in named(chosen.only):
        if workload.trains:
            whole, loss = least(workload, chosen.seconds)
            print(f"| {workload.name} | {whole:,.1f} | {loss:,.1f} | {loss / whole:.2f} |",
                  flush=True)


if __name__ == "__main__":
    main()
