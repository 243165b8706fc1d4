"""Layers of torch that are rarely used: CrossMapLRN2d, LinearCrossEntropyLoss, NLLLoss2d."""

from __future__ import annotations

from typing import Any

from ..functions.torch.creation import arange
from ..tracer.tensor.tensor import Tensor
from . import functional as F
from .linear import Linear
from .loss import NLLLoss
from .module import Module

__all__ = ["CrossMapLRN2d", "LinearCrossEntropyLoss", "NLLLoss2d", "linear_cross_entropy"]


class CrossMapLRN2d(Module):
    """Divide by a power of the sum of squares of neighbouring channels, and of the first channel
    everywhere, as torch does.

    Shape: (N, C, H, W) -> the same. Raises ValueError for other ranks.

    >>> nn.CrossMapLRN2d(3)(torch.ones(1, 4, 2, 2)).shape
    tracegrad.Size([1, 4, 2, 2])
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim != 4:
            raise ValueError(f"CrossMapLRN2d: Expected input to be 4D, got {input.ndim}D instead.")
        reach = (self.size - 1) // 2 + 1
        of, other = arange(input.shape[1]).unsqueeze(1), arange(input.shape[1])
        near = ((of - other).abs() < reach) | ((other == 0) & (of >= reach))
        squares = (input * input).flatten(2)
        total = (near.to(input.dtype).to(input.device) @ squares).reshape(input.shape)
        return input * (self.k + self.alpha / self.size * total) ** -self.beta

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class NLLLoss2d(NLLLoss):  # type: ignore[valid-type,misc]
    """NLLLoss, by its name of long ago.

    Shape: that of NLLLoss. Raises what it raises.

    >>> nn.NLLLoss2d()(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64))
    tensor(-0.)
    """


def linear_cross_entropy(
    input: Tensor, linear_weight: Tensor, target: Tensor, *, linear_bias: Tensor | None = None,
    weight: Tensor | None = None, reduction: str = "mean", ignore_index: int | None = None,
    label_smoothing: float = 0.0, options: Any = None,
) -> Tensor:
    """cross_entropy(linear(input, linear_weight, linear_bias), target); the options say how torch
    computes it, and change nothing here.

    Shape: (N, in), (C, in), (N,) -> (). Raises RuntimeError for shapes that do not fit.

    >>> F.linear_cross_entropy(torch.ones(2, 3), torch.ones(4, 3), torch.tensor([0, 1]))
    tensor(1.3863)
    """
    ignored = -100 if ignore_index is None else ignore_index
    return F.cross_entropy(F.linear(input, linear_weight, linear_bias), target, weight,
                           ignore_index=ignored, reduction=reduction,
                           label_smoothing=label_smoothing)


class LinearCrossEntropyLoss(Module):
    """A linear layer and cross entropy of its outputs: (N, in_features), (N,) -> ().

    Shape: as above. Raises NotImplementedError for out_features.

    >>> nn.LinearCrossEntropyLoss(4, 3)(torch.ones(2, 4), torch.tensor([0, 2])).shape
    tracegrad.Size([])
    """

    weight: Tensor | None

    def __init__(self, in_features: int, num_classes: int, *, out_features: tuple[int, ...] = (),
                 bias: bool = False, device: Any = None, dtype: Any = None,
                 reduction: str = "mean", weight: Tensor | None = None,
                 ignore_index: int | None = None, label_smoothing: float = 0.0,
                 options: Any = None):
        super().__init__()
        if out_features:
            raise NotImplementedError(
                "LinearCrossEntropyLoss with out_features is not supported: use nn.Linear and "
                "nn.CrossEntropyLoss"
            )
        self.in_features, self.num_classes, self.out_features = in_features, num_classes, ()
        self.bias, self.reduction, self.ignore_index = bias, reduction, ignore_index
        self.label_smoothing, self.options = label_smoothing, options
        self.register_buffer("weight", weight)
        self.linear = Linear(in_features, num_classes, bias, device, dtype)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return linear_cross_entropy(
            input, self.linear.weight, target, linear_bias=self.linear.bias, weight=self.weight,
            reduction=self.reduction, ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )

    def extra_repr(self) -> str:
        names = ("in_features", "num_classes", "out_features", "bias", "reduction", "ignore_index",
                 "label_smoothing", "options")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)
