"""Where the time of training steps goes: `profile()` of workloads of this folder, by their names.

    python -m benchmarks.launches gpt layer-norm-gelu --threads 1 --traces /tmp
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from .contestants import Gradients, training_step


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.launches", description=__doc__)
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--runs", type=int, help="default: about a second of them")
    parser.add_argument("--tries", type=int, default=1, help="the shortest one is shown")
    parser.add_argument("--traces", type=Path, help="write Chrome traces to this folder")
    parser.add_argument("names", nargs="+", help="workloads")
    options = parser.parse_args()
    os.environ["NUMBA_NUM_THREADS"] = str(options.threads)
    import tracegrad as T

    from .workloads import WORKLOADS

    for name in options.names:
        job = WORKLOADS[name].torch_style(T, WORKLOADS[name].data())
        step = job.loss
        if WORKLOADS[name].trains:
            step = training_step(job.loss, job.optimizer or Gradients([]))
        step = T.compile(step)
        tries = [step.profile(*job.batch, runs=options.runs) for _ in range(options.tries)]
        found = min(tries, key=lambda one: one.call + one.launch_seconds)
        print(f"{name}, {found}\n", flush=True)
        if options.traces is not None:
            found.chrome_trace(options.traces / f"{name}.json")


if __name__ == "__main__":
    main()
