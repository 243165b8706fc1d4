"""`autocast`, and the functions of torch.amp around it."""

from __future__ import annotations

import warnings
from contextlib import ContextDecorator
from functools import partial, wraps
from typing import Any, Self

from .. import cuda
from ..ir.dtype import DType, bfloat16, float16
from ..tracer.mode import casting, mode
from ..tracer.tensor.device import device
from .policy import LISTS, POLICIES, take_part

__all__ = ["autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]
_USUAL = {"cpu": bfloat16, "cuda": float16}


def is_autocast_available(device_type: str) -> bool:
    """Whether operations on this device can be cast.

    >>> torch.amp.is_autocast_available("cpu")
    True
    """
    return device(device_type).type in LISTS


class autocast(ContextDecorator):
    """A `with` block, or decorator, in which products and convolutions of tensors on a device
    compute in a lower precision, and losses in float32: torch's lists for CPUs and for GPUs.

    dtype: bfloat16, the usual one on CPUs, or float16, that on GPUs. On a device that is not
    available torch's warning is given, and nothing is cast. Shapes: any. Raises RuntimeError within
    a block for the other device; and for recurrent layers in the block. Recurrent cells stay in
    float32.

    >>> with torch.autocast("cpu"):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    tracegrad.bfloat16
    """

    def __init__(self, device_type: str, dtype: Any = None, enabled: bool = True,
                 cache_enabled: bool | None = None):
        self.device = device(device_type).type
        self.dtype = _USUAL.get(self.device, bfloat16) if dtype is None else dtype
        if enabled and self.device == "cuda" and not cuda.is_available():
            warnings.warn(
                "User provided device_type of 'cuda', but CUDA is not available. Disabling",
                stacklevel=2,
            )
            enabled = False
        if enabled and self.device not in LISTS:
            raise RuntimeError(
                f"autocast({device_type!r}) is not part of tracegrad; use "
                "`model.to(torch.bfloat16)`"
            )
        if enabled and (self.device, self.dtype) not in POLICIES:
            warnings.warn(
                f"In {self.device.upper()} autocast, but the target dtype is not supported: "
                f"{dtype}. Disabling",
                stacklevel=2,
            )
            enabled = False
        self.enabled = enabled
        self.before: list[Any] = []

    def __enter__(self) -> Self:
        before = mode.autocast
        if self.enabled:
            if before is not None and before.device != self.device:
                raise RuntimeError(
                    f"autocast({self.device!r}) within autocast({before.device!r}): one kind of "
                    "device at a time"
                )
            policy = POLICIES[self.device, self.dtype]
            take_part(policy)
            mode.autocast = policy
        elif before is not None and before.device == self.device:
            mode.autocast = None
        self.before.append(before)
        return self

    def __exit__(self, *error: object) -> None:
        mode.autocast = self.before.pop()


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether operations on this device are cast now.

    >>> torch.is_autocast_enabled("cpu")
    False
    """
    return mode.autocast is not None and mode.autocast.device == device(device_type).type


def is_autocast_cpu_enabled() -> bool:
    """Whether operations on the CPU are cast now.

    >>> torch.is_autocast_cpu_enabled()
    False
    """
    return is_autocast_enabled("cpu")


def get_autocast_dtype(device_type: str) -> DType:
    """The dtype that operations are cast to, or would be if `autocast` were not told.

    >>> torch.get_autocast_dtype("cpu")
    tracegrad.bfloat16
    """
    if is_autocast_enabled(device_type):
        return mode.autocast.lower
    return _USUAL.get(device(device_type).type, float16)


def clear_autocast_cache() -> None:
    """Nothing: no cast is kept.

    >>> torch.clear_autocast_cache()
    """


def custom_fwd(fwd: Any = None, *, device_type: str = "cuda", cast_inputs: Any = None) -> Any:
    """The `forward` of a Function, whose `backward` is then cast like it: see `custom_bwd`.

    Raises RuntimeError for `cast_inputs`.
    """
    if cast_inputs is not None:
        raise RuntimeError("custom_fwd: cast_inputs is not part of tracegrad")
    if fwd is None:
        return partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @wraps(fwd)
    def forward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        ctx._autocast = mode.autocast
        return fwd(ctx, *args, **kwargs)

    return forward


def custom_bwd(bwd: Any = None, *, device_type: str = "cuda") -> Any:
    """The `backward` of a Function, with the casts that its `forward` ran with."""
    if bwd is None:
        return partial(custom_bwd, device_type=device_type)

    @wraps(bwd)
    def backward(ctx: Any, *grads: Any) -> Any:
        with casting(ctx._autocast):
            return bwd(ctx, *grads)

    return backward
