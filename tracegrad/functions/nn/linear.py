"""Linear and bilinear maps."""

from __future__ import annotations

from ...tracer.tensor.tensor import Tensor
from ..linalg import matmul
from ..linalg.chained_products import bilinear
from ..math.distance import pdist
from ..tensors import shape

__all__ = ["bilinear", "linear", "pdist"]


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias: (*, in), (out, in), (out,) -> (*, out).

    Shape: as above. Dtype: that of all, which must agree. Raises RuntimeError if they do not fit.

    >>> F.linear(torch.tensor([1.0, 2.0]), torch.tensor([[3.0, 4.0]]), torch.tensor([0.5]))
    tensor([11.5000])
    """
    if bias is None or weight.ndim != 2 or input.ndim == 0:
        product = matmul.matmul(input, shape.t(weight))
        return product if bias is None else product + bias
    rows = input if input.ndim == 2 else shape.reshape(
        input, input.shape[:-1].numel(), input.shape[-1]
    )
    y = matmul.addmm(bias, rows, shape.t(weight))
    return y if input.ndim == 2 else shape.view(y, (*input.shape[:-1], weight.shape[0]))
