"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from ...functions.torch.shape import reshape
from ...functions.torch.slicing_joining import cat
from ...tracer.mode import no_grad
from ...tracer.tensor.tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All numbers of the parameters, one after another.

    Shape: any -> (the number of all elements,). Raises TypeError for what is no tensor.

    >>> nn.utils.parameters_to_vector(nn.Linear(2, 1).parameters()).shape
    tracegrad.Size([3])
    """
    return cat([reshape(p, (-1,)) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy the numbers of a vector into the parameters; nothing if there are too few.

    Shape: (the number of all elements,) -> those of the parameters. Raises TypeError for what is no
    tensor.

    >>> model = nn.Linear(2, 1)
    >>> nn.utils.vector_to_parameters(torch.tensor([1.0, 2.0, 3.0]), model.parameters())
    >>> model.bias
    Parameter containing:
    tensor([3.], requires_grad=True)
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected tracegrad.Tensor, but got: {type(vec).__name__}")
    parameters = list(parameters)
    wanted = sum(p.numel() for p in parameters)
    if wanted > vec.numel():
        raise RuntimeError(
            f"the parameters have {wanted} numbers, more than the vector of shape "
            f"{list(vec.shape)}"
        )
    with no_grad():
        start = 0
        for p in parameters:
            p.copy_(reshape(vec[start : start + p.numel()], tuple(p.shape)))
            start += p.numel()
