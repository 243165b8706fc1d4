"""First calls: how long a training step takes until its first result, and what that goes into.

    python -m benchmarks.first_calls                          # all programs, cold and warm
    python -m benchmarks.first_calls --only recurrent,GPT     # by the beginning of names
    python -m benchmarks.first_calls --peers eager,compile,jax  # those that are installed
    python -m benchmarks.first_calls --steps 20               # a shorter run after the first call

Each call is made in a process of its own: cold with an empty cache on disk, warm with what the cold
one left there. All times are in seconds. `first call` begins when the library is imported and the
model made; `200 steps` is everything from the import to the end of that many steps; `new size` is
the first call with three quarters of the batch after those. The phases are those of `explain()`;
`simplify` is taken out of lowering, `kernels` (generated, compiled or loaded) out of loading.
Programs are those of programs.py and workloads/; not all of the first have been written in JAX.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from .coldstart import caches
from .contestants import training_step
from .jax_programs import jax_program
from .process import ROOT
from .programs import NETWORKS, PROGRAMS
from .worker import number
from .workloads import WORKLOADS

PATIENCE = 1800  # seconds
PHASES = ("trace", "simplify", "lower", "kernels", "load")
STEPS = 200
STAGES = re.compile(
    r"trace (?P<trace>[\d.]+) ms, (?P<nodes>\d+) nodes, lower (?P<lower>[\d.]+) ms, "
    r"(?P<launches>\d+) launches of (?P<built>\d+) kernels, load (?P<load>[\d.]+) ms"
)
PEERS = {"eager": "torch", "compile": "torch", "jax": "jax"}
LABELS = {"eager": "torch eager", "compile": "torch compile", "jax": "JAX"}


# ---- in the process that is measured
def measured(name: str, contestant: str, steps: int) -> dict[str, Any]:
    start = began = time.perf_counter()
    framework = import_module(PEERS.get(contestant, "tracegrad"))
    result: dict[str, Any] = {"import": time.perf_counter() - began}
    made = in_jax(framework, name) if contestant == "jax" else in_torch(framework, name)
    if made is None:
        return {"error": "not written"}
    step, arguments = made
    spent = simplifying() if contestant == "tracegrad" else [0.0]
    call: Any = framework.compile(step) if contestant in ("tracegrad", "compile") else step
    result["first call"] = seconds(call, arguments)
    for _ in range(steps - 1):
        loss = call(*arguments)
    result["loss"] = number(loss)
    result["steps"] = time.perf_counter() - start
    if contestant == "tracegrad":
        result |= phases(call.explain(), spent[0])
    if name in NETWORKS:
        result["new size"] = seconds(call, [a[: len(a) * 3 // 4] for a in arguments])
    return result


def seconds(call: Callable[..., Any], arguments: Sequence[Any]) -> float:
    began = time.perf_counter()
    number(call(*arguments))  # which waits for the result
    return time.perf_counter() - began


def in_torch(T: Any, name: str) -> tuple[Callable[..., Any], Sequence[Any]]:
    """A step and its arguments, in torch or tracegrad."""
    T.manual_seed(0)
    if name in PROGRAMS:
        return PROGRAMS[name](T)
    workload = WORKLOADS[name]
    job = workload.torch_style(T, workload.data())
    return training_step(job.loss, job.optimizer) if job.optimizer else job.loss, job.batch


def in_jax(jax: Any, name: str) -> tuple[Callable[..., Any], Sequence[Any]] | None:
    """The same in JAX; None if the program is not written in it."""
    if name in WORKLOADS:
        workload = WORKLOADS[name]
        job = workload.jax_style(jax, workload.data())
    elif (program := jax_program(name)) is not None:
        job = program(jax)
    else:
        return None
    step, state = jax.jit(job.step), job.state

    def call(*batch: Any) -> Any:
        nonlocal state
        state, loss = step(state, *batch)
        return loss

    return call, job.batch


def simplifying() -> list[float]:
    """A list whose one number is the time spent in rewriting from now on."""
    module, spent = import_module("tracegrad.ir.simplify"), [0.0]
    rewrite = module.rewrite

    def timed(*args: Any) -> Any:
        began = time.perf_counter()
        try:
            return rewrite(*args)
        finally:
            spent[0] += time.perf_counter() - began

    vars(module)["rewrite"] = timed
    return spent


def phases(explained: str, simplify: float) -> dict[str, Any]:
    found = STAGES.search(explained)
    assert found is not None, explained
    stages = {k: float(v) / 1e3 for k, v in found.groupdict().items() if k in PHASES}
    counts = {k: int(found[k]) for k in ("nodes", "launches")}
    kernels = import_module("tracegrad.runtime.cpu.compiler").statistics.seconds
    return {
        **counts, "kernels built": int(found["built"]), "trace": stages["trace"],
        "simplify": simplify, "lower": max(stages["lower"] - simplify, 0.0), "kernels": kernels,
        "load": max(stages["load"] - kernels, 0.0),
    }


# ---- in the process that asks
def in_process(name: str, contestant: str, steps: int, folder: Path) -> dict[str, Any]:
    command = ["-m", "benchmarks.first_calls", "--in-process", name, contestant]
    done = subprocess.run(
        [sys.executable, *command, "--steps", str(steps)], cwd=ROOT,
        env={**os.environ, **caches(folder)}, capture_output=True, text=True, timeout=PATIENCE,
    )
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def table(rows: list[tuple[str, str, dict[str, Any]]], steps: int) -> str:
    ends = {"first call": "first call", "steps": f"{steps} steps", "new size": "new size"}
    columns = ("nodes", "launches", "kernels built", "import", *PHASES, *ends)
    lines = [
        f"| program | start | {' | '.join(ends.get(c, c) for c in columns)} |",
        f"|---|---|{'--:|' * len(columns)}",
    ]
    for name, start, row in rows:
        if "error" in row:
            cells = [row["error"][:60], *[""] * (len(columns) - 1)]
        else:
            cells = [word(row.get(column)) for column in columns]
        lines.append(f"| {name} | {start} | {' | '.join(cells)} |")
    return "\n".join(lines)


def word(value: float | int | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        "benchmarks.first_calls", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default="", help="beginnings of names of programs")
    parser.add_argument("--peers", default="", help=", ".join(PEERS))
    parser.add_argument("--steps", type=int, default=STEPS, help="of a run")
    parser.add_argument("--in-process", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_process:
        name, contestant = options.in_process
        print(json.dumps(measured(name, contestant, options.steps)))
        return
    only, peers = options.only.split(","), [p for p in options.peers.split(",") if p]
    if unknown := set(peers) - set(PEERS):
        parser.error(f"no such peers: {', '.join(sorted(unknown))}")
    rows = []
    for name in (n for n in (*PROGRAMS, *WORKLOADS) if any(n.startswith(o) for o in only)):
        for contestant in ("tracegrad", *peers):
            mark = "" if contestant == "tracegrad" else f", {LABELS[contestant]}"
            with tempfile.TemporaryDirectory() as folder:
                for start in ("cold", "warm"):
                    print(f"{name}{mark}: {start}", file=sys.stderr)
                    row = in_process(name, contestant, options.steps, Path(folder))
                    rows.append((name, start + mark, row))
    print(table(rows, options.steps))


if __name__ == "__main__":
    main()
