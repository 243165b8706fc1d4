"""First calls: how long a training step takes until its first result, and what that goes into.

    python -m benchmarks.first_calls                          # all programs, cold and warm
    python -m benchmarks.first_calls --only recurrent,GPT     # by the beginning of names
    python -m benchmarks.first_calls --peers eager,compile    # torch beside it, where installed

Each call is made in a process of its own: cold with an empty cache on disk, warm with what the cold
one left there. All times are in seconds. `first call` begins when the library is imported and the
model made; `200 steps` is everything from the import to the end of that many steps. The phases are
those of `explain()`; `simplify` is taken out of lowering, `kernels` (generated, compiled or loaded)
out of loading.
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
from importlib import import_module
from pathlib import Path
from typing import Any

from .coldstart import caches
from .process import ROOT
from .programs import PROGRAMS

PATIENCE = 1800  # seconds
PHASES = ("trace", "simplify", "lower", "kernels", "load")
STEPS = 200
COLUMNS = ("nodes", "launches", "kernels built", "import", *PHASES, "first call", f"{STEPS} steps")
STAGES = re.compile(
    r"trace (?P<trace>[\d.]+) ms, (?P<nodes>\d+) nodes, lower (?P<lower>[\d.]+) ms, "
    r"(?P<launches>\d+) launches of (?P<built>\d+) kernels, load (?P<load>[\d.]+) ms"
)
PEERS = {"eager": "torch", "compile": "torch"}


# ---- in the process that is measured
def measured(name: str, contestant: str) -> dict[str, Any]:
    start = began = time.perf_counter()
    T = import_module(PEERS.get(contestant, "tracegrad"))
    imported = time.perf_counter() - began
    T.manual_seed(0)
    step, arguments = PROGRAMS[name](T)
    result: dict[str, Any] = {"import": imported}
    spent = simplifying() if contestant == "tracegrad" else [0.0]
    compiled: Any = step if contestant == "eager" else T.compile(step)
    began = time.perf_counter()
    loss = compiled(*arguments)
    result["first call"] = time.perf_counter() - began
    for _ in range(STEPS - 1):
        loss = compiled(*arguments)
    result["loss"] = float(loss.item())
    result[f"{STEPS} steps"] = time.perf_counter() - start
    if contestant == "tracegrad":
        result |= phases(compiled.explain(), spent[0])
    return result


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
def in_process(name: str, contestant: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.first_calls", "--in-process", name, contestant],
        cwd=ROOT, env={**os.environ, **caches(folder)}, capture_output=True, text=True,
        timeout=PATIENCE,
    )
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def table(rows: list[tuple[str, str, dict[str, Any]]]) -> str:
    lines = [
        f"| program | start | {' | '.join(COLUMNS)} |",
        f"|---|---|{'--:|' * len(COLUMNS)}",
    ]
    for name, start, row in rows:
        if "error" in row:
            cells = [row["error"][:60], *[""] * (len(COLUMNS) - 1)]
        else:
            cells = [word(row.get(column)) for column in COLUMNS]
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
    parser.add_argument("--peers", default="", help="eager, compile")
    parser.add_argument("--in-process", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_process:
        print(json.dumps(measured(*options.in_process)))
        return
    only, peers = options.only.split(","), [p for p in options.peers.split(",") if p]
    rows = []
    for name in (n for n in PROGRAMS if any(n.startswith(o) for o in only)):
        for contestant in ("tracegrad", *peers):
            mark = "" if contestant == "tracegrad" else f", torch {contestant}"
            with tempfile.TemporaryDirectory() as folder:
                for start in ("cold", "warm"):
                    print(f"{name}{mark}: {start}", file=sys.stderr)
                    row = in_process(name, contestant, Path(folder))
                    rows.append((name, start + mark, row))
    print(table(rows))


if __name__ == "__main__":
    main()
