"""Activations. A branch that `where` leaves out is kept finite, or its zero gradient would become
0 * inf = NaN.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from ...ir.ops import elementwise as ops
from ...ir.ops.elementwise import erf, exp, expm1, gt, log1p, where
from ...tracer.functions import pointwise, reduce
from ...tracer.inplace import update
from ...tracer.tape import composite
from ...tracer.tensor import Tensor

__all__ = [
    "elu", "gelu", "leaky_relu", "log_softmax", "logsigmoid", "relu", "sigmoid", "silu", "softmax",
    "softplus", "tanh",
]  # fmt: skip


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0)."""
    return update(input, pointwise.relu) if inplace else pointwise.relu(input)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return ops.sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return ops.tanh(input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope * x."""
    return update(input, _leaky, negative_slope) if inplace else _leaky(input, negative_slope)


@composite("LeakyReluBackward0")
def _leaky(x: Tensor, slope: float) -> Tensor:
    return where(gt(x, 0), x, x * slope)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (exp(x) - 1)."""
    return update(input, _elu, alpha) if inplace else _elu(input, alpha)


@composite("EluBackward0")
def _elu(x: Tensor, alpha: float) -> Tensor:
    positive = gt(x, 0)
    return where(positive, x, alpha * expm1(where(positive, 0, x)))


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)."""
    return update(input, _silu) if inplace else _silu(input)


@composite("SiluBackward0")
def _silu(x: Tensor) -> Tensor:
    return x * ops.sigmoid(x)


@composite("GeluBackward0")
def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x * Phi(x), with the normal distribution's Phi by erf or, for approximate='tanh', by tanh.

    Hendrycks and Gimpel (2016), equations 1 and 2.
    """
    x = input
    if approximate == "none":
        return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))
    if approximate == "tanh":
        return 0.5 * x * (1 + ops.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    raise RuntimeError("approximate argument must be either none or tanh.")


@composite("SoftplusBackward0")
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x > threshold."""
    z = input * beta
    positive = gt(z, 0)
    # log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)); `where` keeps it smooth at 0, abs would not
    y = where(positive, z, 0) + log1p(exp(where(positive, -z, z)))
    return where(gt(z, threshold), input, y / beta)


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    return _logsigmoid(input)


@composite("LogSigmoidBackward0")
def _logsigmoid(x: Tensor) -> Tensor:
    positive = gt(x, 0)
    return where(positive, 0, x) - log1p(exp(where(positive, -x, x)))


def _implicit_dim(input: Tensor, name: str) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include "
        "dim=X as an argument.",
        stacklevel=4,
    )
    return 0 if input.ndim in (0, 1, 3) else 1


def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """exp(x) divided by its sum along `dim`."""
    d = _implicit_dim(input, "softmax") if dim is None else dim
    return reduce.softmax(input, d, dtype)


def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """The logarithm of `softmax`, without overflow."""
    d = _implicit_dim(input, "log_softmax") if dim is None else dim
    return reduce.log_softmax(input, d, dtype)
