"""Floating-point operations of a step, and how many the machine's cores can do in a second."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from .machine import cores
from .process import ROOT, THREAD_VARIABLES

SIZE, REPEATS = 2048, 8
SCRIPT = f"""
import json, os, sys, time
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, map(int, sys.argv[1:]))
import numpy
a = numpy.random.default_rng(0).standard_normal(({SIZE}, {SIZE})).astype(numpy.float32)
best = float("inf")
for _ in range({REPEATS}):
    began = time.perf_counter()
    a @ a
    best = min(best, time.perf_counter() - began)
print(json.dumps(2 * {SIZE} ** 3 / best))
"""


def product_rate(threads: int) -> float:
    """Operations a second of NumPy's product of two large float32 matrices: the roofline."""
    limits = dict.fromkeys(THREAD_VARIABLES, str(threads))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, cores()[:threads])], cwd=ROOT,
        env={**os.environ, **limits}, capture_output=True, text=True, check=True,
    )
    return float(json.loads(done.stdout))


def of_products(run: Callable[[int], Any]) -> float:
    """Operations of the matrix products and convolutions of a step, which torch runs eagerly."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run(1)
    return float(counter.get_total_flops())
