"""Operations with a user-defined derivative, by the names of torch.autograd.function."""

from ..tracer.autograd.function import Function, FunctionCtx, once_differentiable

__all__ = ["Function", "FunctionCtx", "once_differentiable"]
