"""One contestant in a process of its own, answering over stdin and stdout, a JSON object a line.

`python -m benchmarks.worker WORKLOAD CONTESTANT CPUS` prepares, does the first step and reports
`cold_seconds` and `loss`; then each `{"steps": n, "warm": m, "every": bool}` is answered by
`seconds` (of n steps, after m that are not timed), `losses` (the last one, or every one) and
`peak_mb`, and `{"flops": true}` by the operations of a step's products, as torch counts them. A
failure is reported as `error` and `traceback`. The end of stdin ends the worker.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

from .contestants import CONTESTANTS, Contestant, Run
from .flops import of_products


def number(loss: Any) -> float:
    """The loss as a Python number, which also waits for whatever still runs behind it."""
    return float(loss.item() if loss.ndim == 0 else loss.sum().item())


def prepare(workload_name: str, contestant: Contestant) -> tuple[Run, dict[str, Any]]:
    started = time.perf_counter()
    framework = import_module(contestant.framework)
    workload = import_module("benchmarks.workloads").WORKLOADS[workload_name]
    imported = time.perf_counter()
    data = workload.data()  # the making of data is nobody's start-up time
    made = time.perf_counter()
    run = contestant.build(framework, workload, data)
    loss = number(run(1))
    seconds = time.perf_counter() - made + imported - started
    return run, {"cold_seconds": seconds, "loss": loss}


def do(
    run: Run, steps: int = 1, warm: int = 0, every: bool = False, flops: bool = False
) -> dict[str, Any]:
    if flops:
        return {"flops": of_products(run), "losses": []}
    if warm:
        number(run(warm))
    started = time.perf_counter()
    losses = [number(run(1)) for _ in range(steps)] if every else [number(run(steps))]
    return {"seconds": time.perf_counter() - started, "losses": losses}


def peak_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def failure(error: Exception, framework: str) -> dict[str, str]:
    if isinstance(error, ModuleNotFoundError) and error.name == framework:
        return {"error": "not installed"}
    lines = str(error).strip().splitlines() or [""]
    message = f"{type(error).__name__}: {lines[0]}"
    return {"error": message, "traceback": traceback.format_exc()}


def replies(
    workload_name: str, contestant: Contestant, commands: Iterable[str]
) -> Iterator[dict[str, Any]]:
    run, first = prepare(workload_name, contestant)
    yield first
    for command in commands:
        yield do(run, **json.loads(command))


def main(workload_name: str, key: str, cpus: str) -> None:
    # Whatever a framework prints goes to stderr, so that stdout carries answers only.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
    contestant = CONTESTANTS[key]
    try:
        for reply in replies(workload_name, contestant, sys.stdin):
            print(json.dumps({**reply, "peak_mb": peak_mb()}), file=answers)
    except Exception as error:
        print(json.dumps(failure(error, contestant.framework)), file=answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
