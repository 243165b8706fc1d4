"""Cold start: a fresh process from the import to the end of its first step.

Measured with the framework's disk caches empty, and again with what that first run left there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from .contestants import Contestant
from .process import Worker, WorkerFailed
from .workload import Workload


@dataclass
class ColdStart:
    label: str
    empty: float = 0.0  # seconds
    warm: float = 0.0
    peak_mb: float = 0.0  # of the start with empty caches
    error: str = ""


def caches(folder: Path) -> dict[str, str]:
    return {
        "TRACEGRAD_CACHE_DIR": str(folder / "tracegrad"),
        "NUMBA_CACHE_DIR": str(folder / "numba"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "torch"),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "jax"),
        # By default JAX keeps only what took it a second or more to compile.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def cold_start(workload: Workload, contestant: Contestant, threads: int, repeats: int) -> ColdStart:
    empty, warm, peaks = [], [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            environment = caches(Path(folder))
            try:
                with Worker(workload, contestant, threads, environment) as worker:
                    empty.append(worker.cold_seconds)
                    peaks.append(worker.peak_mb)
                with Worker(workload, contestant, threads, environment) as worker:
                    warm.append(worker.cold_seconds)
            except WorkerFailed as failure:
                return ColdStart(contestant.label, error=str(failure))
    return ColdStart(contestant.label, median(empty), median(warm), median(peaks))


def cold_starts(
    workload: Workload,
    contestants: list[Contestant],
    threads: int,
    repeats: int,
    say: Callable[[str], None],
) -> dict[str, ColdStart]:
    found = {}
    for contestant in contestants:
        say(f"{workload.name}: cold start of {contestant.label}")
        found[contestant.key] = cold_start(workload, contestant, threads, repeats)
    return found
