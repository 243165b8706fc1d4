"""Activations. A branch that `where` leaves out is kept finite, or its zero gradient would become
0 * inf = NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Any

from ...ir.dtype import bool_, uint8
from ...ir.ops import elementwise as ops, kinks
from ...ir.ops.elementwise import eq, erf, exp, expm1, ge, gt, le, log, log1p, lt, where
from ...tracer.autograd.graph import composite
from ...tracer.autograd.sketches import warn
from ...tracer.mode import forward_mode
from ...tracer.tensor.inplace import apply_inplace
from ...tracer.tensor.promotion import SCALAR_TYPE, checked_number
from ...tracer.tensor.tensor import Tensor
from ..arguments import computing, floats_only, no_bools, numbers_fit, rounded_once, with_slope
from ..torch import pointwise, reduction, shape
from ..torch.creation import zeros_like
from ..torch.random_sampling import rand_like
from ..torch.slicing_joining import narrow
from ..torch.tensors import finfo

__all__ = [
    "celu", "celu_", "elu", "elu_", "gelu", "glu", "gumbel_softmax", "hardshrink",
    "hardsigmoid", "hardswish", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_",
    "log_softmax", "logsigmoid", "mish", "prelu", "relu", "relu6", "relu_", "rrelu", "rrelu_",
    "selu", "selu_", "sigmoid", "silu", "softmax", "softmin", "softplus", "softshrink",
    "softsign", "tanh", "tanhshrink", "threshold", "threshold_",
]


_OF_FLOATS = """
    Shape: (*) -> (*). Dtype: that of input, which must be floating point.
    Raises NotImplementedError for integers.
"""
_EXAMPLE = "    >>> x = torch.tensor([-1.0, 0.0, 2.0])\n"


def _activation(kernel: str, title: str) -> Callable:
    """Mark an activation of floating point numbers, which is one operation with torch's `title` and
    rounds once: it takes torch's option `inplace`, too, the last one. torch's words of refusal name
    the `kernel`.
    """

    def mark(function: Callable) -> Callable:
        plain, of_halves = composite(title)(function), composite(title)(rounded_once(function))
        own = signature(function)
        options = len(own.parameters) - 1

        @wraps(function)
        def activation(input: Tensor, *args: Any, inplace: bool = False, **named: Any) -> Tensor:
            if len(args) > options:
                *args, inplace = args  # type: ignore[assignment]
            floats_only(kernel, input)
            compute = of_halves if input.dtype.is_half else plain
            if inplace:
                return apply_inplace(input, compute, *args, **named)
            return compute(input, *args, **named)

        kind = Parameter.POSITIONAL_OR_KEYWORD
        last = Parameter("inplace", kind, default=False, annotation="bool")
        parameters = (*own.parameters.values(), last)
        activation.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        text, _, example = (function.__doc__ or "").partition("    >>> ")
        activation.__doc__ = f"{text.rstrip()}\n{_OF_FLOATS}\n{_EXAMPLE}    >>> {example}"
        return activation

    return mark


def _applied(function: Callable, inplace: bool, x: Tensor, *options: Any) -> Tensor:
    return apply_inplace(x, function, *options) if inplace else function(x, *options)


# ---- kinked
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0).

    Shape: (*) -> (*). Dtype: that of input. Raises RuntimeError for bools.

    >>> x = torch.tensor([-1.0, 0.0, 2.0])
    >>> F.relu(x)
    tensor([0., 0., 2.])
    """
    return _applied(pointwise.relu, inplace, input)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else value.

    Shape: (*) -> (*). Dtype: that of input. Raises RuntimeError or NotImplementedError for bools.

    >>> x = torch.tensor([-1.0, 0.0, 2.0])
    >>> F.threshold(x, threshold=0.5, value=0.0)
    tensor([0., 0., 2.])
    """
    no_bools("threshold_cpu", input)
    return _applied(_threshold, inplace, input, threshold, value)


@composite("ThresholdBackward0")
def _threshold(x: Tensor, threshold: float, value: float) -> Tensor:
    value = checked_number(value, x.dtype) if isinstance(value, (int, float)) else value
    threshold = checked_number(threshold, computing(x.dtype))
    return _above(x, threshold, value).to(x.dtype)


@rounded_once  # a half is compared with the number as it is
def _above(x: Tensor, threshold: float, value: float) -> Tensor:
    return where(le(x, threshold), value, x)


@_activation("leaky_relu_cpu", "LeakyReluBackward0")
def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, else negative_slope * x.

    >>> F.leaky_relu(x, negative_slope=0.1)
    tensor([-0.1000,  0.0000,  2.0000])
    """
    numbers_fit(input.dtype, negative_slope)
    return where(gt(input, 0), input, input * negative_slope)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where x > 0, else weight * x: one weight, or one for each channel (axis 1).

    Shape: (*) -> (*). Dtype: that of input, which must be floating point.
    Raises RuntimeError if there is another number of weights than 1 or that of the channels.

    >>> x = torch.tensor([-1.0, 0.0, 2.0])
    >>> F.prelu(x, torch.tensor([0.5]))
    tensor([-0.5000,  0.0000,  2.0000])
    """
    count, channels = weight.numel(), input.shape[1] if input.ndim > 1 else 1
    if count not in (1, channels):
        raise RuntimeError(
            "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
            f"{count} and channel size = {channels}."
        )
    if weight.ndim > 1:
        raise RuntimeError(
            f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.ndim}"
        )
    floats_only("prelu_cpu", input)
    along = (1,) * input.ndim if count == 1 else (1, count, *(1,) * (input.ndim - 2))
    return _prelu(input, shape.reshape(weight, along))


@composite("PreluKernelBackward0")
def _prelu(x: Tensor, weight: Tensor) -> Tensor:
    positive = ge(x, 0) if forward_mode() else gt(x, 0)
    return where(positive, x, weight * where(positive, 0, x))


def rrelu(input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False,
          inplace: bool = False) -> Tensor:
    """leaky_relu whose slope is drawn from [lower, upper) while training, else their mean.

    Shape: (*) -> (*). Dtype: that of input, which must be floating point.
    Raises RuntimeError if lower is greater than upper; NotImplementedError for integers.

    >>> x = torch.tensor([-1.0, 0.0, 2.0])
    >>> F.rrelu(x)
    tensor([-0.2292,  0.0000,  2.0000])
    """
    if not math.isfinite(lower + upper):
        raise RuntimeError(f"rrelu: bounds must be finite, got {lower:g} and {upper:g}")
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    floats_only("rrelu_with_noise_out_cpu" if training else "leaky_relu_cpu", input)
    return _applied(_rrelu, inplace, input, lower, upper, training)


@composite("RreluWithNoiseBackward0")
def _rrelu(x: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Tensor:
    slope = rand_like(x) * (upper - lower) + lower if training else (lower + upper) / 2
    return where(gt(x, 0), x, x * slope)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0,
             inplace: bool = False) -> Tensor:
    """x cut to [min_val, max_val]; no gradient at the ends.

    Shape: (*) -> (*). Dtype: that of input.
    Raises ValueError if min_val is greater than max_val; RuntimeError for bools.

    >>> x = torch.tensor([-1.0, 0.0, 2.0])
    >>> F.hardtanh(x, min_val=-0.5, max_val=1.0)
    tensor([-0.5000,  0.0000,  1.0000])
    """
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    if input.dtype is bool_:
        raise RuntimeError("Bool inputs not supported for hardtanh")
    if input.dtype is uint8 and (min_val < 0 or max_val < 0):
        raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")
    numbers_fit(input.dtype, min_val, max_val)
    return _applied(_hardtanh, inplace, input, min_val, max_val)


@composite("HardtanhBackward0")
def _hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    inside = eq(le(x, min_val) | ge(x, max_val), False)  # NaN is: it has the gradient 1
    value = ops.minimum(ops.maximum(ops.stop_gradient(x), min_val), max_val)
    return pointwise.passing(value.to(x.dtype), inside, x)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """x cut to [0, 6].

    Shape: (*) -> (*). Dtype: that of input. Raises RuntimeError for bools.

    >>> x = torch.tensor([-1.0, 2.0, 8.0])
    >>> F.relu6(x)
    tensor([0., 2., 6.])
    """
    return hardtanh(input, 0, 6, inplace)


@_activation("hardsigmoid", "HardsigmoidBackward0")
def hardsigmoid(input: Tensor) -> Tensor:
    """x / 6 + 1/2, cut to [0, 1].

    >>> F.hardsigmoid(x)
    tensor([0.3333, 0.5000, 0.8333])
    """
    inside = gt(input, -3) & lt(input, 3)
    value = where(le(input, -3), 0, where(ge(input, 3), 1, ops.stop_gradient(input)))
    return where(inside, input * (1 / 6) + 0.5, value)


@_activation("hardswish_cpu", "HardswishBackward0")
def hardswish(input: Tensor) -> Tensor:
    """x * hardsigmoid(x).

    >>> F.hardswish(x)
    tensor([-0.3333,  0.0000,  1.6667])
    """
    inside = lt(ops.abs(input), 3)
    below = ops.stop_gradient(input) * 0  # zeros, and NaN of an infinity
    curve = with_slope(lambda x: x * (x + 3) * (1 / 6), lambda x: x * (1 / 3) + 0.5,
                       where(inside, input, 0))
    return where(inside, curve, where(le(input, -3), below, input))


@composite("HardshrinkBackward0")
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """0 where -lambd <= x <= lambd, else x.

    Shape: (*) -> (*). Dtype: that of input, which must be floating point.
    Raises NotImplementedError for integers.

    >>> x = torch.tensor([-1.0, 0.3, 2.0])
    >>> F.hardshrink(x, lambd=0.5)
    tensor([-1.,  0.,  2.])
    """
    floats_only("hardshrink_cpu", input)
    numbers_fit(input.dtype, lambd)
    return where(ge(input, -lambd) & le(input, lambd), 0, input)


@composite("SoftshrinkBackward0")
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x brought nearer to zero by lambd, at most to zero.

    Shape: (*) -> (*). Dtype: that of input, which must be floating point.
    Raises RuntimeError for a negative lambd; NotImplementedError for integers.

    >>> x = torch.tensor([-1.0, 0.3, 2.0])
    >>> F.softshrink(x, lambd=0.5)
    tensor([-0.5000,  0.0000,  1.5000])
    """
    floats_only("softshrink_check", input)
    if not 0 <= lambd <= finfo(input.dtype).max:
        raise RuntimeError(
            f"lambda must be in range [0, {finfo(input.dtype).max:g}] for input dtype "
            f"{SCALAR_TYPE[input.dtype]}, but found {lambd:g}"
        )
    return _shrunk(input, lambd)


@rounded_once
def _shrunk(x: Tensor, lambd: float) -> Tensor:
    zeros = ops.stop_gradient(x) * 0  # of either sign
    return where(le(ops.abs(x), lambd), zeros, x - ops.sign(x) * lambd)


# ---- exponential
@_activation("elu_cpu", "EluBackward0")
def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha * (exp(x) - 1).

    >>> F.elu(x, alpha=2.0)
    tensor([-1.2642,  0.0000,  2.0000])
    """
    return _rising(input, alpha)


def _rising(x: Tensor, alpha: float, over: float = 1.0) -> Tensor:
    """x where x > 0, else alpha * (exp(x * over) - 1): at 0 the slope from the left and, as torch
    has it, no curvature. The branch that is left out is kept finite.
    """
    numbers_fit(x.dtype, alpha)
    negative, middle = lt(x, 0), eq(x, 0)
    return with_slope(
        lambda x: where(negative, alpha * expm1(where(negative, x, 0) * over),
                        where(middle, x * (alpha * over), x)),
        lambda x: where(negative | middle, alpha * over * exp(where(negative, x, 0) * over), 1), x,
    )


@_activation("elu_cpu", "EluBackward0")
def selu(input: Tensor) -> Tensor:
    """elu, scaled so that a layer keeps mean 0 and variance 1.

    The constants are those of Klambauer et al. (2017), equation 14.

    >>> F.selu(x)
    tensor([-1.1113,  0.0000,  2.1014])
    """
    return 1.0507009873554805 * _rising(input, 1.6732632423543772)


@_activation("elu_cpu", "CeluBackward0")
def celu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha * (exp(x / alpha) - 1).

    Raises RuntimeError for an alpha of 0.

    >>> F.celu(x, alpha=2.0)
    tensor([-0.7869,  0.0000,  2.0000])
    """
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _rising(input, alpha, 1 / alpha)


# ---- smooth
def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x)).

    Shape: (*) -> (*). Dtype: that of input; integers become the default dtype.
    Raises TypeError without a tensor.

    >>> x = torch.tensor([-1.0, 0.0, 2.0])
    >>> F.sigmoid(x)
    tensor([0.2689, 0.5000, 0.8808])
    """
    return ops.sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent.

    Shape: (*) -> (*). Dtype: that of input; integers become the default dtype.
    Raises TypeError without a tensor.

    >>> x = torch.tensor([-1.0, 0.0, 2.0])
    >>> F.tanh(x)
    tensor([-0.7616,  0.0000,  0.9640])
    """
    return ops.tanh(input)


@_activation("silu_cpu", "SiluBackward0")
def silu(input: Tensor) -> Tensor:
    """x * sigmoid(x).

    >>> F.silu(x)
    tensor([-0.2689,  0.0000,  1.7616])
    """
    return with_slope(lambda x: x * ops.sigmoid(x), "silu", input)


@_activation("mish_cpu", "MishBackward0")
def mish(input: Tensor) -> Tensor:
    """x * tanh(log(1 + exp(x))).

    >>> F.mish(x)
    tensor([-0.3034,  0.0000,  1.9440])
    """
    return with_slope(lambda x: x * ops.tanh(kinks.log1p_exp(x)), "mish", input)


@composite("GeluBackward0")
@rounded_once
def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x * Phi(x), with the normal distribution's Phi by erf or, for approximate='tanh', by tanh.

    Hendrycks and Gimpel (2016), equations 1 and 2.

    Shape: (*) -> (*). Dtype: that of input, which must be floating point.
    Raises RuntimeError for another `approximate`; NotImplementedError for integers.

    >>> x = torch.tensor([-1.0, 0.0, 2.0])
    >>> F.gelu(x)
    tensor([-0.1587,  0.0000,  1.9545])
    """
    floats_only("GeluKernelImpl", input)
    if approximate == "none":
        return with_slope(lambda x: 0.5 * x * (1 + erf(x * math.sqrt(0.5))), "gelu", input)
    if approximate == "tanh":
        return with_slope(lambda x: 0.5 * x * kinks.gelu_tanh(x), "gelu_tanh", input)
    raise RuntimeError("approximate argument must be either none or tanh.")


@composite("SoftplusBackward0")
@rounded_once
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x > threshold.

    Shape: (*) -> (*). Dtype: that of input, which must be floating point.
    Raises NotImplementedError for integers.

    >>> x = torch.tensor([-1.0, 0.0, 2.0])
    >>> F.softplus(x)
    tensor([0.3133, 0.6931, 2.1269])
    """
    floats_only("softplus_cpu", input)
    numbers_fit(computing(input.dtype), beta, threshold)
    straight = gt(input * beta, threshold)
    return with_slope(
        lambda x: where(straight, x, kinks.log1p_exp(x * beta) / beta),
        lambda x: where(straight, 1, kinks.log1p_exp_slope(x * beta)), input,
    )


@composite("LogSigmoidBackward0")
@rounded_once
def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)), without overflow.

    Shape: (*) -> (*). Dtype: that of input, which must be floating point.
    Raises NotImplementedError for integers.

    >>> x = torch.tensor([-1.0, 0.0, 2.0])
    >>> F.logsigmoid(x)
    tensor([-1.3133, -0.6931, -0.1269])
    """
    floats_only("log_sigmoid_cpu", input)
    # a difference, as a zero is 0.0
    return with_slope(lambda x: 0.0 - kinks.log1p_exp(-x), "logsigmoid", input)


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x).

    Shape: (*) -> (*). Dtype: that of input; integers become the default dtype.
    Raises TypeError without a tensor.

    >>> x = torch.tensor([-1.0, 0.0, 2.0])
    >>> F.tanhshrink(x)
    tensor([-0.2384,  0.0000,  1.0360])
    """
    return input - ops.tanh(input)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|).

    Shape: (*) -> (*). Dtype: that of input; integers become the default dtype.
    Raises TypeError without a tensor.

    >>> x = torch.tensor([-1.0, 0.0, 2.0])
    >>> F.softsign(x)
    tensor([-0.5000,  0.0000,  0.6667])
    """
    return input / (1 + ops.abs(input))


@composite("GluBackward0")
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b), a and b the halves of the input along `dim`. Dauphin et al. (2016).

    Shape: (*A, 2 n, *B) -> (*A, n, *B). Dtype: that of input, which must be floating point.
    Raises RuntimeError for an odd extent; IndexError for a dimension out of range.

    >>> x = torch.tensor([1.0, 2.0, 0.0, 0.0])
    >>> F.glu(x, dim=0)
    tensor([0.5000, 1.0000])
    """
    if input.ndim == 0:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    if not -input.ndim <= dim < input.ndim:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-input.ndim}, "
            f"{input.ndim - 1}], but got {dim})"
        )
    floats_only("glu_cpu", input)
    size = input.shape[dim]
    if size % 2:
        raise RuntimeError(
            f"Halving dimension must be even, but dimension {dim % input.ndim} is size {size}"
        )
    half = size // 2
    return narrow(input, dim, 0, half) * ops.sigmoid(narrow(input, dim, half, half))


# ---- over a dimension, where the results sum to 1
def _implicit_dim(input: Tensor, name: str) -> int:
    warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include "
        "dim=X as an argument.",
        stacklevel=4,
    )
    return 0 if input.ndim in (0, 1, 3) else 1


def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """exp(x) divided by its sum along `dim`.

    Shape: (*) -> (*). Dtype: that of input, which must be floating point, or `dtype`.
    Raises IndexError for a dimension out of range; NotImplementedError for integers.

    >>> x = torch.tensor([0.0, 1.0, 1.0])
    >>> F.softmax(x, dim=0)
    tensor([0.1554, 0.4223, 0.4223])
    """
    d = _implicit_dim(input, "softmax") if dim is None else dim
    return reduction.softmax(input, d, dtype)


def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """The softmax of -x.

    Shape: (*) -> (*). Dtype: that of input, which must be floating point, or `dtype`.
    Raises IndexError for a dimension out of range; NotImplementedError for integers.

    >>> x = torch.tensor([0.0, 1.0, 1.0])
    >>> F.softmin(x, dim=0)
    tensor([0.5761, 0.2119, 0.2119])
    """
    d = _implicit_dim(input, "softmin") if dim is None else dim
    return reduction.softmax(-input, d, dtype)


def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """The logarithm of `softmax`, without overflow.

    Shape: (*) -> (*). Dtype: that of input, which must be floating point, or `dtype`.
    Raises IndexError for a dimension out of range; NotImplementedError for integers.

    >>> x = torch.tensor([0.0, 1.0, 1.0])
    >>> F.log_softmax(x, dim=0)
    tensor([-1.8620, -0.8620, -0.8620])
    """
    d = _implicit_dim(input, "log_softmax") if dim is None else dim
    return reduction.log_softmax(input, d, dtype)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10,
                   dim: int = -1) -> Tensor:
    """The softmax of (logits + Gumbel noise) / tau, a draw of one class made differentiable.

    With `hard` the result is one-hot and its gradient that of the soft one. Jang et al. (2016).

    Shape: (*) -> (*). Dtype: that of logits. Raises IndexError for a dimension out of range.

    >>> logits = torch.tensor([0.0, 1.0])
    >>> F.gumbel_softmax(logits, hard=True).sum()
    tensor(1.)
    """
    exponential = ops.maximum(-log1p(-rand_like(logits)), finfo(logits.dtype).tiny)
    soft = reduction.softmax((logits - log(exponential)) / tau, dim)
    if not hard:
        return soft
    index = reduction.argmax(soft, dim, keepdim=True)
    return zeros_like(soft).scatter(dim, index, 1.0) - soft.detach() + soft


# ---- in place, by names of their own
def _in_place(function: Callable) -> Callable:
    @wraps(function)
    def method(input: Tensor, *options: Any, **named: Any) -> Tensor:
        return function(input, *options, inplace=True, **named)

    name, own = function.__name__, signature(function)
    options = [p for p in own.parameters.values() if p.name != "inplace"]
    method.__signature__ = own.replace(parameters=options)  # type: ignore[attr-defined]
    method.__name__ = method.__qualname__ = f"{name}_"
    text = function.__doc__ or ""
    method.__doc__ = "In place: " + text.replace(f"F.{name}(", f"F.{name}_(")
    return method


_NAMED: tuple[Callable, ...] = (celu, elu, hardtanh, leaky_relu, relu, rrelu, selu, threshold)
celu_, elu_, hardtanh_, leaky_relu_, relu_, rrelu_, selu_, threshold_ = map(_in_place, _NAMED)
