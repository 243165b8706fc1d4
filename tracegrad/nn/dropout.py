"""Dropout layers, from one table: a function of nn.functional, active while training."""

from __future__ import annotations

from collections.abc import Callable

from ..tracer.tensor.tensor import Tensor
from . import functional as F
from .layer import documentation
from .module import Module


class _DropoutNd(Module):
    """While training, `function(input, p)`; in eval mode the input."""

    function: Callable

    def __init__(self, p: float = 0.5, inplace: bool = False):
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        super().__init__()
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


def _layer(name: str, function: Callable) -> type[_DropoutNd]:
    body = {
        "function": staticmethod(function), "__doc__": documentation(name, function),
        "__module__": __name__,
    }
    return type(name, (_DropoutNd,), body)


Dropout = _layer("Dropout", F.dropout)
Dropout1d = _layer("Dropout1d", F.dropout1d)
Dropout2d = _layer("Dropout2d", F.dropout2d)
Dropout3d = _layer("Dropout3d", F.dropout3d)
AlphaDropout = _layer("AlphaDropout", F.alpha_dropout)
FeatureAlphaDropout = _layer("FeatureAlphaDropout", F.feature_alpha_dropout)
