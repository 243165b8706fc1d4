"""Programs that are run in a process of their own, where a test may hang, crash, fork or be killed.

A program is a function of a test module. It is called in a new Python, which imports that module,
with arguments that JSON can carry; what it prints is what the test gets.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 100  # of processor time, or what is set; then a program counts as hanging


def start(program: Callable, *args: Any, env: dict[str, str] | None = None, **options: Any):
    """A process that calls a function of a test module; `env` is added to the environment."""
    there = Path(program.__code__.co_filename).stem
    command = [sys.executable, "-X", "faulthandler", __file__]
    command += [there, program.__name__, json.dumps(args)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(command, env=os.environ | (env or {}), text=True, **pipes)


def run(program: Callable, *args: Any, timeout: float = 100, **options: Any) -> str:
    """What a program prints; a hang or a crash is a failure."""
    with start(program, *args, **options) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert process.returncode == 0, err[-2000:]
    return out


def prints(expected: str) -> Callable[[Callable], Callable]:
    """Make a program into the test that it prints this."""

    def decorated(program: Callable) -> Callable:
        def test() -> None:
            assert run(program) == expected

        test.__name__, test.__doc__, test.program = program.__name__, program.__doc__, program
        return test

    return decorated


# ---- for programs that are interrupted
_running: list[int] = []


def soon(handler: Callable, seconds: float) -> Callable:
    """Call a signal handler again and again, but not in the middle of itself; what is installed."""

    def once(*args: Any) -> None:
        if not _running:
            _running.append(1)
            try:
                handler(*args)
            finally:
                _running.clear()

    signal.signal(signal.SIGALRM, once)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    return once


def enough() -> None:
    """No more of these calls."""
    signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    _, module, name, args = sys.argv
    signal.signal(signal.SIGVTALRM, lambda *_: os._exit(9))  # see test_forks.py
    found = getattr(importlib.import_module(module), name)
    getattr(found, "program", found)(*json.loads(args))
