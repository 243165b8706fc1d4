"""Linear and bilinear maps."""

from __future__ import annotations

from ...tracer.functions import contract, movement
from ...tracer.functions.distance import pdist
from ...tracer.functions.products import bilinear
from ...tracer.tensor import Tensor

__all__ = ["bilinear", "linear", "pdist"]


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias: (*, in), (out, in), (out,) -> (*, out)."""
    if bias is None or weight.ndim != 2 or input.ndim == 0:
        product = contract.matmul(input, movement.t(weight))
        return product if bias is None else product + bias
    rows = input if input.ndim == 2 else movement.reshape(
        input, input.shape[:-1].numel(), input.shape[-1]
    )
    y = contract.addmm(bias, rows, movement.t(weight))
    return y if input.ndim == 2 else movement.view(y, (*input.shape[:-1], weight.shape[0]))
