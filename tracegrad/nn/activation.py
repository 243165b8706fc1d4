"""Activation layers, from one table: a function of nn.functional with its options. And those with
a weight or a mode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..functions.torch.creation import empty
from ..tracer.tensor.tensor import Tensor
from . import functional as F
from .init import constant_
from .layer import NEEDED, layer
from .module import Module
from .parameter import Parameter

_INPLACE = {"inplace": False}
# layer -> function, and its options with their defaults
_LAYERS: dict[str, tuple[Callable, dict[str, Any]]] = {
    "Threshold": (F.threshold, {"threshold": NEEDED, "value": NEEDED, **_INPLACE}),
    "ReLU": (F.relu, _INPLACE),
    "ReLU6": (F.relu6, _INPLACE),
    "Hardtanh": (F.hardtanh, {"min_val": -1.0, "max_val": 1.0, **_INPLACE}),
    "Hardsigmoid": (F.hardsigmoid, _INPLACE),
    "Hardswish": (F.hardswish, _INPLACE),
    "Hardshrink": (F.hardshrink, {"lambd": 0.5}),
    "Softshrink": (F.softshrink, {"lambd": 0.5}),
    "LeakyReLU": (F.leaky_relu, {"negative_slope": 0.01, **_INPLACE}),
    "ELU": (F.elu, {"alpha": 1.0, **_INPLACE}),
    "SELU": (F.selu, _INPLACE),
    "CELU": (F.celu, {"alpha": 1.0, **_INPLACE}),
    "SiLU": (F.silu, _INPLACE),
    "Mish": (F.mish, _INPLACE),
    "GELU": (F.gelu, {"approximate": "none"}),
    "GLU": (F.glu, {"dim": -1}),
    "Sigmoid": (F.sigmoid, {}),
    "Tanh": (F.tanh, {}),
    "Softplus": (F.softplus, {"beta": 1.0, "threshold": 20.0}),
    "LogSigmoid": (F.logsigmoid, {}),
    "Tanhshrink": (F.tanhshrink, {}),
    "Softsign": (F.softsign, {}),
    "Softmin": (F.softmin, {"dim": None}),
    "Softmax": (F.softmax, {"dim": None}),
    "LogSoftmax": (F.log_softmax, {"dim": None}),
}


(
    Threshold, ReLU, ReLU6, Hardtanh, Hardsigmoid, Hardswish, Hardshrink, Softshrink, LeakyReLU,
    ELU, SELU, CELU, SiLU, Mish, GELU, GLU, Sigmoid, Tanh, Softplus, LogSigmoid, Tanhshrink,
    Softsign, Softmin, Softmax, LogSoftmax,
) = (layer(name, *row, __name__) for name, row in _LAYERS.items())


class PReLU(Module):
    """x where x > 0, else weight * x, with a weight that is learned, one or one per channel.

    Shape: (*) -> (*); weight (num_parameters,), which is 1 or the channels (axis 1). Dtype: float.
    Raises RuntimeError if the channels do not fit. He et al. (2015).

    >>> nn.PReLU()(torch.tensor([-1.0, 2.0]))
    tensor([-0.2500,  2.0000], grad_fn=<PreluKernelBackward0>)
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class RReLU(Module):
    """leaky_relu whose slope is drawn from [lower, upper) while training, else their mean.

    Shape: (*) -> (*). Dtype: that of input, floating point.
    Raises RuntimeError if lower is greater than upper; NotImplementedError for integers.

    >>> nn.RReLU(0.5, 0.5)(torch.tensor([-1.0, 2.0]))
    tensor([-0.5000,  2.0000])
    """

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False) -> None:
        super().__init__()
        self.lower, self.upper, self.inplace = lower, upper, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        told = f"lower={self.lower}, upper={self.upper}"
        return told + (", inplace=True" if self.inplace else "")


class Softmax2d(Module):
    """softmax over the channels of (N, C, H, W) or (C, H, W).

    Shape: (N, C, H, W) or (C, H, W) -> the same. Raises ValueError for other ranks.

    >>> nn.Softmax2d()(torch.zeros(1, 2, 1, 1)).flatten()
    tensor([0.5000, 0.5000])
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (3, 4):
            raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got {input.ndim}D instead")
        return F.softmax(input, -3)
