"""Names of torch's core in C++ that packages import."""

from enum import Flag, auto

from .functions import torch_function as _torch_function
from .tracer.tensor.device import device as device
from .tracer.tensor.generator import Generator as Generator
from .tracer.tensor.tensor import Size as Size, Tensor as TensorBase

_TensorBase = TensorBase
_disabled_torch_function_impl = _torch_function.disabled
DisableTorchFunctionSubclass = _torch_function.no_torch_function


class DispatchKey(Flag):
    """Names that packages register kernels for; there is no dispatcher that would ask for them."""

    CPU = auto()
    CUDA = auto()
    Meta = auto()
    Autograd = auto()
    AutocastCPU = auto()
    AutocastCUDA = auto()
    AutocastXPU = auto()
    CompositeExplicitAutograd = auto()
    CompositeImplicitAutograd = auto()


DispatchKeySet = DispatchKey


def _log_api_usage_once(event: str) -> None:
    """Nothing: no use is logged."""


def _get_tracing_state() -> None:
    """None: there is no trace of torch.jit's kind."""
