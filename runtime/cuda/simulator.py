"""Kernels for a GPU in Numba's simulator of CUDA, on memory of the host. The process must have been
started with NUMBA_ENABLE_CUDASIM=1.
"""

from __future__ import annotations

import ast
from functools import cache
from typing import Any

import numpy as np

from ...codegen.program import Kernel, Launch, Slot
from ..cpu import python_executor
from ..cpu.python_executor import Pointers
from . import numba_cuda
from .builtins import PLAIN
from .exchanges import functions


@cache
def _function(kernel: Kernel) -> Any:
    names = {n.id for n in ast.walk(ast.parse(kernel.text)) if isinstance(n, ast.Name)}
    cuda = numba_cuda.cuda()
    namespace: dict[str, Any] = {**PLAIN, **functions(names), "cuda": cuda}
    exec(compile(kernel.text, f"<cuda {kernel.name}>", "exec"), namespace)
    return cuda.jit(namespace[kernel.name])


def run_launch(launch: Launch, pointers: Pointers, pieces: int = 1) -> None:
    """A launch of a program; one for the host as the CPU does it."""
    if launch.grid is None:
        python_executor.run_launch(launch, pointers, pieces)
        return
    args = [pointers[a.index] if isinstance(a, Slot) else a for a in launch.args]
    with np.errstate(all="ignore"):
        _function(launch.kernel)[launch.grid.blocks, launch.grid.threads](args)
