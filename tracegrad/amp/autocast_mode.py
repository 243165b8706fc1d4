"""`autocast`, and the functions of torch.amp around it."""

from __future__ import annotations

import warnings
from contextlib import ContextDecorator
from functools import partial
from typing import Any, Self

from .. import cuda
from ..ir.dtype import DType, bfloat16, float16
from ..tracer.tensor.device import device

__all__ = ["autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]


def is_autocast_available(device_type: str) -> bool:
    """Whether operations on this device can be cast."""
    return False


class autocast(ContextDecorator):
    """A `with` block, or decorator, in which some operations compute in bfloat16.

    Only `enabled=False` is here: on a device that is not available torch's warning is given, and
    nothing is cast. Raises RuntimeError otherwise.

    >>> with torch.autocast("cpu", enabled=False):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    tracegrad.float32
    """

    def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True,
                 cache_enabled: bool | None = None):
        self.device = device(device_type).type
        if enabled and self.device == "cuda" and not cuda.is_available():
            warnings.warn(
                "User provided device_type of 'cuda', but CUDA is not available. Disabling",
                stacklevel=2,
            )
            enabled = False
        if enabled:
            raise RuntimeError(
                f"autocast({device_type!r}) is not part of tracegrad; use enabled=False, or "
                "`model.to(torch.bfloat16)`"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """False: nothing is cast.

    >>> torch.is_autocast_enabled("cpu")
    False
    """
    return False


is_autocast_cpu_enabled = is_autocast_enabled


def get_autocast_dtype(device_type: str) -> DType:
    """The dtype that `autocast` takes if none is given.

    >>> torch.get_autocast_dtype("cpu")
    tracegrad.bfloat16
    """
    return bfloat16 if device(device_type).type == "cpu" else float16


def clear_autocast_cache() -> None:
    """Nothing: no cast is kept.

    >>> torch.clear_autocast_cache()
    """


def custom_fwd(fwd: Any = None, *, device_type: str = "cuda", cast_inputs: Any = None) -> Any:
    """The `forward` of a Function, as it is: outside of `autocast` torch does the same."""
    if fwd is None:
        return partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)
    return fwd


def custom_bwd(bwd: Any = None, *, device_type: str = "cuda") -> Any:
    """The `backward` of a Function, as it is."""
    return partial(custom_bwd, device_type=device_type) if bwd is None else bwd
