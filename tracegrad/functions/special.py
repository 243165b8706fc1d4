"""Special functions of mathematics: the public forms of the primitives, and composites of them.

`__all__` are those that torch has as torch.name; torch.special has all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..ir.dtype import bool_
from ..ir.ops import elementwise as ops, kinks, special as primitives
from ..tracer.autograd.graph import composite
from ..tracer.mode import forward_mode, get_default_dtype
from ..tracer.tensor.dispatch import number
from ..tracer.tensor.promotion import common_dtype
from ..tracer.tensor.tensor import Tensor
from .arguments import numbers_fit, of_floats
from .torch.pointwise import clamp
from .torch.pointwise_primitives import binary, unary
from .torch.shape import broadcast_tensors

__all__ = [
    "digamma", "erfinv", "i0", "igamma", "igammac", "lgamma", "logit", "mvlgamma", "polygamma",
    "sinc", "xlogy",
]

ROOT_HALF = math.sqrt(0.5)

bessel_j0 = unary(
    primitives.bessel_j0, "The Bessel function J_0 (DLMF 10.2.2)", "[0.0, 1.0]", "[1.0000, 0.7652]"
)
bessel_j1 = unary(
    primitives.bessel_j1, "The Bessel function J_1 (DLMF 10.2.2)", "[0.0, 1.0]", "[0.0000, 0.4401]"
)
digamma = unary(
    primitives.digamma, "The derivative of log(gamma(x)) (DLMF 5.2.2)",
    "[1.0, 2.0]", "[-0.5772,  0.4228]",
)
erfcx = unary(
    primitives.erfcx, "exp(x * x) * erfc(x), without overflow", "[0.0, 10.0]", "[1.0000, 0.0561]"
)
erfinv = unary(primitives.erfinv, "The y for which erf(y) is x", "[0.0, 0.5]", "[0.0000, 0.4769]")
i0 = unary(
    primitives.i0, "The modified Bessel function I_0 (DLMF 10.25.2)",
    "[0.0, 1.0]", "[1.0000, 1.2661]",
)
i0e = unary(
    primitives.i0e, "exp(-|x|) * i0(x), without overflow", "[0.0, 100.0]", "[1.0000, 0.0399]"
)
i1 = unary(
    primitives.i1, "The modified Bessel function I_1 (DLMF 10.25.2)",
    "[0.0, 1.0]", "[0.0000, 0.5652]",
)
i1e = unary(
    primitives.i1e, "exp(-|x|) * i1(x), without overflow", "[0.0, 100.0]", "[0.0000, 0.0397]"
)
lgamma = unary(primitives.lgamma, "log(|gamma(x)|) (DLMF 5.2.1)", "[3.0, 4.0]", "[0.6931, 1.7918]")
ndtri = unary(primitives.ndtri, "The y for which ndtr(y) is x", "[0.5, 0.975]", "[0.0000, 1.9600]")
zeta = binary(
    primitives.zeta, "The Hurwitz zeta function (DLMF 25.11.1)", "[2.0]; [1.0]", "[1.6449]"
)


# ---- the gamma function's family
igamma = binary(
    primitives.igamma, "The regularised incomplete gamma function P(input, other) (DLMF 8.2.4)",
    "[1.0]; [2.0]", "[0.8647]",
)
igammac = binary(
    primitives.igammac, "Its complement Q(input, other) = 1 - P(input, other) (DLMF 8.2.4)",
    "[1.0]; [2.0]", "[0.1353]",
)


def polygamma(n: int, input: Tensor) -> Tensor:
    """The derivative of order n of digamma: (-1)**(n + 1) n! zeta(n + 1, x), DLMF 25.11.12.

    Shape: (*) -> (*). Dtype: that of input; integers become the default dtype.
    Raises RuntimeError for a negative n.

    >>> torch.polygamma(1, torch.tensor([1.0]))
    tensor([1.6449])
    """
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    return primitives.digamma(input) if n == 0 else _polygamma(input, n)


@composite("PolygammaBackward0")
@of_floats
def _polygamma(x: Tensor, n: int) -> Tensor:
    return (-1) ** (n + 1) * float(math.factorial(n)) * primitives.zeta(n + 1.0, x)


def mvlgamma(input: Tensor, p: int) -> Tensor:
    """The logarithm of the multivariate gamma function, of dimension p: DLMF 35.3.4.

    Shape: (*) -> (*). Dtype: that of input; integers become the default dtype.
    Raises RuntimeError for bools, or for p below 1.

    >>> torch.mvlgamma(torch.tensor([3.0]), 2)
    tensor([1.5502])
    """
    if input.dtype is bool_:
        raise RuntimeError("The input tensor may not be a boolean tensor.")
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    return _mvlgamma(input, p)


@composite("MvlgammaBackward0")
@of_floats
def _mvlgamma(input: Tensor, p: int) -> Tensor:
    y = primitives.lgamma(input)
    for j in range(1, p):
        y = y + primitives.lgamma(input - 0.5 * j)
    return y + p * (p - 1) / 4 * math.log(math.pi)


# ---- the normal distribution
@composite("SpecialNdtrBackward0")
@of_floats
def ndtr(input: Tensor) -> Tensor:
    """The normal distribution's function.

    Shape: (*) -> (*). Dtype: that of input; integers become the default dtype.
    Raises TypeError without a tensor. It is erfc(-x / sqrt(2)) / 2 (DLMF 7.2.2).

    >>> torch.special.ndtr(torch.tensor([0.0, 1.96]))
    tensor([0.5000, 0.9750])
    """
    return 0.5 * ops.erfc(input * -ROOT_HALF)


@composite("SpecialLogNdtrBackward0")
@of_floats
def log_ndtr(input: Tensor) -> Tensor:
    """log(ndtr(x)), by erfcx where ndtr would underflow.

    Shape: (*) -> (*). Dtype: that of input; integers become the default dtype.
    Raises TypeError without a tensor.

    >>> torch.special.log_ndtr(torch.tensor([0.0, -40.0]))
    tensor([-6.9315e-01, -8.0461e+02])
    """
    t = ops.mul(input, ROOT_HALF)
    left = ops.lt(t, -ROOT_HALF)
    low = ops.where(left, t, -1)
    tail = ops.log(0.5 * primitives.erfcx(-low)) - low * low
    return ops.where(left, tail, ops.log1p(-0.5 * ops.erfc(ops.where(left, 0, t))))


# ---- logarithms of probabilities
@composite("LogitBackward0")
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), of x cut to [eps, 1 - eps].

    Shape: (*) -> (*). Dtype: that of input; integers become the default dtype. NaN outside [0, 1].
    Raises TypeError without a tensor.

    >>> torch.logit(torch.tensor([0.5, 0.9]))
    tensor([0.0000, 2.1972])
    """
    numbers_fit(input.dtype if input.is_floating_point() else get_default_dtype(), eps)
    return _logit(input, eps)


@of_floats
def _logit(input: Tensor, eps: float | None) -> Tensor:
    if eps is not None:
        x = clamp(input, eps, 1 - eps)
    else:
        inside = ops.logical_and(ops.ge(input, 0), ops.le(input, 1)).to(input.dtype)
        x = input * (inside / inside)  # NaN outside, and so is the gradient
    return ops.log(x) - ops.log1p(-x)


def _x_log(log_rule: Callable, input: Any, other: Any) -> Tensor:
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        raise TypeError(f"expected a Tensor among the arguments, got {input!r} and {other!r}")
    dtype = common_dtype((input, other))
    dtype = dtype if dtype.is_floating_point else get_default_dtype()
    # not computed in float32: torch rounds the logarithm of a half before the product
    operands = (x.to(dtype) if isinstance(x, Tensor) else number(x, dtype) for x in (input, other))
    return log_rule(*broadcast_tensors(*operands))


@composite("XlogyBackward0")
def xlogy(input: Any, other: Any) -> Tensor:
    """input * log(other), and zero where input is, unless other is NaN.

    Shape: two that broadcast -> the shape to which they do. Dtype: the promoted one; integers
    become the default dtype. Raises RuntimeError if the shapes do not broadcast.

    >>> torch.xlogy(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 3.0]))
    tensor([0.0000, 2.1972])
    """
    rule = kinks.x_log_y_forward if forward_mode() else kinks.x_log_y
    return _x_log(rule, input, other)


@composite("SpecialXlog1PyBackward0")
def xlog1py(input: Any, other: Any) -> Tensor:
    """input * log1p(other), and zero where input is, unless other is NaN.

    Shape: two that broadcast -> the shape to which they do. Dtype: the promoted one; integers
    become the default dtype. Raises RuntimeError if the shapes do not broadcast.

    >>> torch.special.xlog1py(torch.tensor([0.0, 2.0]), torch.tensor([-1.0, 3.0]))
    tensor([0.0000, 2.7726])
    """
    rule = kinks.x_log1p_y_forward if forward_mode() else kinks.x_log1p_y
    return _x_log(rule, input, other)


@composite("SpecialEntrBackward0")
@of_floats
def entr(input: Tensor) -> Tensor:
    """-x * log(x), zero at zero, and -inf where x is negative.

    Shape: (*) -> (*). Dtype: that of input; integers become the default dtype.
    Raises TypeError without a tensor.

    >>> torch.special.entr(torch.tensor([0.0, 0.5]))
    tensor([0.0000, 0.3466])
    """
    x = ops.stop_gradient(input)
    y = ops.where(ops.eq(x, 0), 0, ops.where(ops.lt(x, 0), -math.inf, -x * ops.log(x)))
    return kinks.entr(y, input)


@composite("SincBackward0")
@of_floats
def sinc(input: Tensor) -> Tensor:
    """sin(pi * x) / (pi * x), and 1 at zero.

    Shape: (*) -> (*). Dtype: that of input; integers become the default dtype.
    Raises TypeError without a tensor.

    >>> torch.sinc(torch.tensor([0.0, 0.5]))
    tensor([1.0000, 0.6366])
    """
    z = input * math.pi
    near = ops.lt(ops.abs(z), 0.5)  # derivatives of sin(z) / z cancel, and end at 0
    far = ops.where(near, 1, z)
    square = ops.where(near, z, 0) ** 2
    series = 1.0
    for k in range(16, 1, -2):  # to the 16th power
        series = 1 - square * series / (k * (k + 1))
    return ops.where(near, series, ops.sin(far) / far)
