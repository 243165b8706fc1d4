"""Names of torch's core in C++ that packages import."""

from typing import Any

from .tracer.tensor.device import device as device
from .tracer.tensor.generator import Generator as Generator
from .tracer.tensor.tensor import Size as Size, Tensor as TensorBase

_TensorBase = TensorBase


def _log_api_usage_once(event: str) -> None:
    """Nothing: no use is logged."""


def _get_tracing_state() -> None:
    """None: there is no trace of torch.jit's kind."""


def _disabled_torch_function_impl(func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """The function as it is for Tensor, for a subclass that takes nothing over."""
    return func(*args, **(kwargs or {}))
