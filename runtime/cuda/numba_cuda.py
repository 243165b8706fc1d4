"""The one place that imports a compiler for CUDA: Numba's, or numba-cuda-mlir."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

MISSING = (
    "compiling for a GPU needs the packages of the extra `cuda`: pip install \"tracegrad[cuda]\""
)


@cache
def cuda() -> Any:
    """The module `numba.cuda`. RuntimeError if it is not installed."""
    try:
        from numba import cuda
    except ImportError as error:
        raise RuntimeError(f"{MISSING} ({error})") from error
    return cuda


def device(function: Callable[..., Any]) -> Any:
    """The function as one that kernels may call."""
    return cuda().jit(device=True)(function)
