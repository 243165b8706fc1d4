"""Names of torch's core in C++ that packages import."""

from .functions import torch_function as _torch_function
from .tracer.tensor.device import device as device
from .tracer.tensor.generator import Generator as Generator
from .tracer.tensor.tensor import Size as Size, Tensor as TensorBase

_TensorBase = TensorBase
_disabled_torch_function_impl = _torch_function.disabled
DisableTorchFunctionSubclass = _torch_function.no_torch_function


def _log_api_usage_once(event: str) -> None:
    """Nothing: no use is logged."""


def _get_tracing_state() -> None:
    """None: there is no trace of torch.jit's kind."""
