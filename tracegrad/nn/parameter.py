"""Parameter, the tensor that a Module trains. Knows nothing of modules."""

from __future__ import annotations

from typing import Any

from ..functions.torch.creation import empty
from ..functions.torch_function import disabled, takes_over
from ..tracer.autograd.plans import PLAIN
from ..tracer.tensor.tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor that a Module registers when it is assigned to an attribute.

    data: a tensor, whose values are shared; requires_grad: whether it is trained.
    Shape and dtype: those of data. Raises RuntimeError for a dtype that is not floating point
    and for a tensor whose class has a `__torch_function__` of its own.

    >>> nn.Parameter(torch.tensor([1.0, 2.0]))
    Parameter containing:
    tensor([1., 2.], requires_grad=True)
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = empty(0)
        if not isinstance(data, Tensor):
            raise TypeError(
                f"Parameter(): argument 'data' must be Tensor, not {type(data).__name__}"
            )
        if takes_over(data):
            raise RuntimeError(
                f"a Parameter cannot keep the class of a {type(data).__name__}: give it "
                "x.as_subclass(torch.Tensor), or make a subclass of nn.Parameter"
            )
        if requires_grad and not data.dtype.is_floating_point:
            raise RuntimeError(
                "Only Tensors of floating point and complex dtype can require gradients"
            )
        return Tensor._make_subclass(cls, data, requires_grad)

    __torch_function__: Any = staticmethod(disabled)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    __str__ = __repr__


PLAIN.add(Parameter)


def is_lazy(param: object) -> bool:
    """False: parameters have their shape from the beginning."""
    return False


def forget_grad(p: Tensor, set_to_none: bool) -> None:
    """Drop the gradient of `p`, or fill it with zeros."""
    if set_to_none:
        p.grad = None  # unasked: a compiled step then does not depend on whether there was one
    elif p.grad is not None:
        p.grad.detach_().zero_()
