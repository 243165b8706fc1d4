"""`Variable`, torch's first name of a tensor with gradients."""

from __future__ import annotations

from typing import Any

from ..tracer.tensor.tensor import Tensor


class _VariableType(type):
    def __call__(cls, data: Any, requires_grad: bool = False) -> Any:
        if not isinstance(data, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        return Tensor._make_subclass(Tensor, data, requires_grad)

    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, Tensor)


class Variable(metaclass=_VariableType):
    """A leaf tensor that shares the values of `data`; every tensor is an instance.

    Shape and dtype: those of data. Raises TypeError for what is no tensor.

    >>> torch.autograd.Variable(torch.ones(2), requires_grad=True)
    tensor([1., 1.], requires_grad=True)
    """
