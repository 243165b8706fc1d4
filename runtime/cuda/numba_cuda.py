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
    """The module `numba.cuda`. RuntimeError if it is not installed.

    Numba brings one of its own, which the extra replaces. Only its simulator is used: it lacks the
    functions of libdevice, and compiles for no recent device.
    """
    try:
        from numba import cuda
    except ImportError as error:
        raise RuntimeError(f"{MISSING} ({error})") from error
    if not hasattr(cuda, "libdevice") and not vars(cuda.config)["ENABLE_CUDASIM"]:
        raise RuntimeError(MISSING)
    return cuda


def device(function: Callable[..., Any]) -> Any:
    """The function as one that kernels may call."""
    return cuda().jit(device=True)(function)
