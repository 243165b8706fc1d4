"""The parent's side of a worker: start it, ask it, end it, and say plainly what went wrong."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .contestants import Contestant
from .machine import cores
from .workload import Workload

ROOT = Path(__file__).parent.parent
# Each library has its own idea of a thread count; the CPU set of the worker settles the rest.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
PATIENCE = 600.0  # seconds; torch.compile may take half a minute to start


class WorkerFailed(RuntimeError):
    """A contestant could not do what it was asked; `details` holds its traceback or stderr."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class Worker:
    """One contestant at one workload, started and past its first step once constructed.

    `folder` is where Python is started, so the packages in it hide others of the same names.
    """

    def __init__(
        self,
        workload: Workload,
        contestant: Contestant,
        threads: int,
        environment: dict[str, str] | None = None,
        folder: Path = ROOT,
    ) -> None:
        limits = dict.fromkeys(THREAD_VARIABLES, str(threads))
        cpus = ",".join(map(str, cores()[:threads]))
        self._stderr = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", workload.name, contestant.key, cpus],
            cwd=folder,
            env={**os.environ, **limits, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
        )
        try:
            first = self._reply()
        except BaseException:
            self.close()
            raise
        self.cold_seconds: float = first["cold_seconds"]
        self.first_loss: float = first["loss"]
        self.peak_mb: float = first["peak_mb"]

    def ask(self, **command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        reply = self._reply()
        self.peak_mb = reply["peak_mb"]
        return reply

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        if not ready:
            raise WorkerFailed(f"no answer within {PATIENCE:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerFailed(reply["error"], reply.get("traceback", ""))
        return reply

    def _ended(self) -> WorkerFailed:
        code = self._process.wait()
        self._stderr.seek(0)
        return WorkerFailed(f"ended with code {code}", self._stderr.read().decode(errors="replace"))

    def close(self) -> None:
        with self._process:
            self._process.kill()
        self._stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
