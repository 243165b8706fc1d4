"""Gradients on demand, by torch's names: `autograd.grad`, `autograd.backward`, and the modes."""

from .tracer.backward import backward, grad
from .tracer.mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from .tracer.tensor import Tensor as Variable

__all__ = [
    "Variable", "backward", "enable_grad", "grad", "inference_mode", "is_grad_enabled",
    "is_inference_mode_enabled", "no_grad", "set_grad_enabled",
]  # fmt: skip
