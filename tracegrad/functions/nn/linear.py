"""Linear and bilinear maps."""

from __future__ import annotations

import math

from ...ir.ops.movement import reshape
from ...tracer.tensor.tensor import Tensor
from ..torch import blas, shape
from ..torch.blas import bmm, matmul

__all__ = ["bilinear", "linear"]


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias: (*, in), (out, in), (out,) -> (*, out).

    Shape: as above. Dtype: that of all, which must agree. Raises RuntimeError if they do not fit.

    >>> F.linear(torch.tensor([1.0, 2.0]), torch.tensor([[3.0, 4.0]]), torch.tensor([0.5]))
    tensor([11.5000])
    """
    if bias is None or weight.ndim != 2 or input.ndim == 0:
        product = blas.matmul(input, shape.t(weight))
        return product if bias is None else product + bias
    rows = input if input.ndim == 2 else shape.reshape(
        input, input.shape[:-1].numel(), input.shape[-1]
    )
    y = blas.addmm(bias, rows, shape.t(weight))
    return y if input.ndim == 2 else shape.view(y, (*input.shape[:-1], weight.shape[0]))


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input1 . weight[k] . input2 + bias[k]: (*, I), (*, J), (K, I, J), (K,) -> (*, K).

    Shape: as above. Dtype: that of all, which must agree. Raises RuntimeError if the shapes do not
    fit.

    >>> F.bilinear(torch.ones(5, 2), torch.ones(5, 3), torch.ones(4, 2, 3)).shape
    tracegrad.Size([5, 4])
    """
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
    lead, (k, i, j) = tuple(input1.shape[:-1]), weight.shape
    rows = math.prod(lead)
    flat = reshape(weight.permute(1, 0, 2), shape=(i, k * j))
    left = reshape(matmul(reshape(input1, shape=(rows, i)), flat), shape=(rows, k, j))
    y = reshape(bmm(left, reshape(input2, shape=(rows, j, 1))), shape=(*lead, k))
    return y if bias is None else y + bias
