"""The one place that imports a compiler for CUDA: Numba's."""

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


class _Simulated:
    """The module `numba.cuda` as the thread of a simulated kernel sees it.

    The simulator would put it in the place of the real one in the globals of each device function
    that is called, and take it away when that returns, while other threads are still in it.
    """

    def __getattr__(self, name: str) -> Any:
        from numba.cuda.simulator import kernel

        return getattr(kernel._get_kernel_context(), name)


def cuda_of_device_functions() -> Any:
    """What the text of device functions calls `cuda`."""
    return _Simulated() if vars(cuda().config)["ENABLE_CUDASIM"] else cuda()


def device(function: Callable[..., Any]) -> Any:
    """The function as one that kernels may call."""
    return cuda().jit(device=True)(function)
