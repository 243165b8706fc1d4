"""Linear and bilinear maps."""

from __future__ import annotations

from ...tracer.functions import contract, movement
from ...tracer.functions.distance import pdist
from ...tracer.functions.products import bilinear_form
from ...tracer.tensor import Tensor

__all__ = ["bilinear", "linear", "pdist"]


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias: (*, in), (out, in), (out,) -> (*, out)."""
    if bias is None or weight.ndim != 2 or input.ndim == 0:
        product = contract.matmul(input, movement.t(weight))
        return product if bias is None else product + bias
    rows = input if input.ndim == 2 else movement.reshape(input, -1, input.shape[-1])
    y = contract.addmm(bias, rows, movement.t(weight))
    return y if input.ndim == 2 else movement.view(y, (*input.shape[:-1], weight.shape[0]))


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input1 . weight[k] . input2 + bias[k]: (*, I), (*, J), (K, I, J), (K,) -> (*, K)."""
    if input1.ndim != input2.ndim:
        raise RuntimeError(
            f"bilinear(): input dimensions do not match: got {input1.ndim} and {input2.ndim}"
        )
    for d, (n, m) in enumerate(zip(input1.shape[:-1], input2.shape[:-1], strict=True)):
        if n != m:
            raise RuntimeError(
                f"bilinear(): input batch dimensions do not match at dim {d}: got {n} and {m}"
            )
    for k, (x, n) in enumerate(zip((input1, input2), weight.shape[1:], strict=True), 1):
        if x.shape[-1] != n:
            raise RuntimeError(
                f"bilinear(): input{k} size does not match weight size: got {x.shape[-1]} but "
                f"expected {n}"
            )
    y = bilinear_form(input1, weight, input2)
    return y if bias is None else y + bias
