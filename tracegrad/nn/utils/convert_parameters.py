"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from ...functions.tensors.joining import cat
from ...functions.tensors.shape import reshape
from ...tracer.mode import no_grad
from ...tracer.tensor.tensor import Tensor


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All numbers of the parameters, one after another."""
    return cat([reshape(p, (-1,)) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copy the numbers of a vector into the parameters; nothing if there are too few."""
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
