"""Programs that are run in a process of their own, where a test may hang or crash."""

from __future__ import annotations

import subprocess
import sys

BEGIN = """
import gc, os, signal, sys, threading, time
import tracegrad as tg
signal.signal(signal.SIGVTALRM, lambda *_: os._exit(9))  # a test that hangs
running = []
def soon(handler, seconds):
    # called again and again, but not in the middle of itself
    def once(*args):
        if not running:
            running.append(1)
            try:
                handler(*args)
            finally:
                running.clear()
    signal.signal(signal.SIGALRM, once)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    return once
def enough():
    signal.setitimer(signal.ITIMER_REAL, 0)
"""


def run(code: str, timeout: float = 100) -> str:
    """What a program prints; a hang or a crash is a failure."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", BEGIN + code],
        capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
