"""Programs for GPUs on memory of the host, on tiny grids: the kernels as plain Python, or in
Numba's simulator of CUDA if the process was started with NUMBA_ENABLE_CUDASIM=1.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from unittest.mock import patch

import numpy as np

from tracegrad.codegen import build as building
from tracegrad.codegen.cuda import product, teams
from tracegrad.codegen.cuda.backend import CUDA
from tracegrad.codegen.program import Grid, Launch, Program
from tracegrad.runtime.cpu import python_executor

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
if SIMULATED:
    from tracegrad.runtime.cuda.simulator import run_launch
else:
    from tracegrad.runtime.cuda.plain import run_launch
THREADS = 32  # of a block; a warp
TINY = product.Tile(4, 2)  # a block of 4 threads


def build(*args, **options) -> Program:
    """A program for a GPU."""
    return building.build(*args, **options, backend=CUDA())


@contextmanager
def small_tiles() -> Iterator[None]:
    with ExitStack() as stack:
        for name in ("SMALL", "LARGE", "HUGE"):
            stack.enter_context(patch.object(product, name, TINY))
        stack.enter_context(patch.object(teams, "BLOCK", replace(teams.BLOCK, each=THREADS)))
        yield


def shrunk(launch: Launch) -> Launch:
    """The launch with a grid of one block or two. A product's tile says how many threads it has."""
    if launch.grid is None:
        return launch
    threads = launch.grid.threads if launch.kernel.template == "gemm" else THREADS
    return replace(launch, grid=Grid(min(launch.grid.blocks, 2), threads))


def execute(program: Program, inputs: Sequence[np.ndarray], start=run_launch) -> list:
    """The outputs; `start` does a launch."""
    return python_executor.execute(
        program, inputs, 1, lambda launch, pointers, pieces: start(shrunk(launch), pointers)
    )
