"""What operations with their own derivative are made of, by torch's names."""

from ..tracer.autograd.function import Function, FunctionCtx, once_differentiable

__all__ = ["Function", "FunctionCtx", "once_differentiable"]
