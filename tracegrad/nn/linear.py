"""Layers that mix features or only pass them on: Linear, Bilinear, Identity, Flatten."""

from __future__ import annotations

import math
from typing import Any

from ..functions.torch.creation import empty
from ..functions.torch.shape import flatten, unflatten
from ..tracer.tensor.tensor import Tensor
from . import functional as F, init
from .module import Module
from .parameter import Parameter


class Linear(Module):
    """y = x @ weight.T + bias: (*, in_features) -> (*, out_features).

    weight (out_features, in_features) and bias (out_features,) begin uniform within
    1 / sqrt(in_features). Shape: as above; Raises RuntimeError for an input of another width.

    >>> nn.Linear(20, 30)(torch.randn(128, 20)).shape
    tracegrad.Size([128, 30])
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device: Any = None,
                 dtype: Any = None):
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(empty(out_features, in_features, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial values again."""
        if self.in_features == 0:
            return
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # which is 1 / sqrt(in_features) too
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Bilinear(Module):
    """y_k = x1 @ weight[k] @ x2 + bias[k]: (*, in1), (*, in2) -> (*, out_features).

    weight (out_features, in1_features, in2_features) and bias (out_features,) begin uniform within
    1 / sqrt(in1_features).

    Shape: as above. Raises ValueError for no features; RuntimeError if the shapes do not fit.

    >>> nn.Bilinear(2, 3, 4)(torch.ones(5, 2), torch.ones(5, 3)).shape
    tracegrad.Size([5, 4])
    """

    def __init__(self, in1_features: int, in2_features: int, out_features: int, bias: bool = True,
                 device: Any = None, dtype: Any = None):
        if in1_features <= 0:
            raise ValueError(f"in1_features must be > 0, but got {in1_features}")
        super().__init__()
        self.in1_features, self.in2_features = in1_features, in2_features
        self.out_features = out_features
        shape = (out_features, in1_features, in2_features)
        self.weight = Parameter(empty(*shape, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial values again."""
        bound = 1 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


class Identity(Module):
    """Returns its input and ignores all options: it stands in for a layer that is left out.

    Shape: (*) -> (*). Raises nothing.

    >>> nn.Identity(54, unused=0.1)(torch.tensor([1.0]))
    tensor([1.])
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input


class Flatten(Module):
    """Makes one dimension of several: (N, a, b, c) -> (N, a * b * c).

    Shape: (N, *) -> (N, product of the rest) by default. Raises IndexError for a dimension out of
    range.

    >>> nn.Flatten()(torch.ones(2, 3, 4)).shape
    tracegrad.Size([2, 12])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        return flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Makes several dimensions of one: (N, 6, L) -> (N, 2, 3, L).

    Shape: as above. Raises RuntimeError if the sizes do not multiply to the extent.

    >>> nn.Unflatten(1, (2, 3))(torch.ones(4, 6)).shape
    tracegrad.Size([4, 2, 3])
    """

    def __init__(self, dim: int, unflattened_size: Any):
        super().__init__()
        self.dim, self.unflattened_size = dim, unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        return unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
