"""Functions of numbers, applied to every element, with broadcasting. Those that are one primitive
are in pointwise_primitives.py.
"""

from __future__ import annotations

import math
from typing import Any

from ...ir.dtype import bool_, float64, int64
from ...ir.ops import elementwise as ops, kinks
from ...tracer.autograd.graph import composite, with_grad_name
from ...tracer.mode import forward_mode, get_default_dtype
from ...tracer.tensor.dispatch import number
from ...tracer.tensor.promotion import SCALAR_TYPE, common_dtype
from ...tracer.tensor.tensor import Tensor
from ..arguments import (
    as_factor,
    check_alpha,
    computing,
    floats_only,
    numbers_fit,
    plus,
    refuse,
    rounded_once,
)
from .shape import broadcast_tensors
from .tensors import finfo

__all__ = [
    "add", "addcdiv", "addcmul", "angle", "clamp", "clamp_max", "clamp_min", "clip", "conj",
    "conj_physical", "deg2rad", "div", "divide", "exp2", "float_power", "frac",
    "heaviside", "imag", "lcm", "lerp", "nan_to_num", "positive", "pow",
    "rad2deg", "real", "relu", "resolve_conj", "resolve_neg", "round", "rsub", "sgn", "sign",
    "signbit", "square", "sub", "subtract", "true_divide",
]


# ---- arithmetic with options
def _one(alpha: Any) -> bool:
    return type(alpha) is int and alpha == 1


def _scaled(x: Tensor, factor: Any) -> Tensor:
    return x if _one(factor) else x * factor


@composite("AddBackward0")
def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input + alpha * other.

    Shape: (*), (*) -> the shape to which both broadcast.
    Dtype: the promoted dtype of the operands.
    Raises RuntimeError if the shapes do not broadcast, or for a fractional alpha of integers.

    >>> torch.add(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]), alpha=10)
    tensor([31., 42.])
    """
    return ops.add(input, other) if _one(alpha) else plus(input, other, alpha)


@composite("SubBackward0")
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input - alpha * other.

    Shape: (*), (*) -> the shape to which both broadcast.
    Dtype: the promoted dtype of the operands.
    Raises RuntimeError if the shapes do not broadcast, or for bools.

    >>> torch.sub(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0]))
    tensor([-2., -3.])
    """
    return ops.sub(input, other) if _one(alpha) else _minus(input, other, alpha)


@composite("RsubBackward1")
def rsub(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """other - alpha * input.

    Shape: two that broadcast -> the shape to which they do. Dtype: the promoted one. Raises
    RuntimeError for bools.

    >>> torch.rsub(torch.tensor([1.0, 2.0]), 10)
    tensor([9., 8.])
    """
    return ops.sub(other, input) if _one(alpha) else _minus(other, input, alpha)


def _minus(a: Any, b: Any, alpha: Any) -> Tensor:
    if any(isinstance(x, bool) or (isinstance(x, Tensor) and x.dtype is bool_) for x in (a, b)):
        return ops.sub(a, b)  # which refuses it
    check_alpha(alpha, common_dtype((a, b)))
    return plus(a, b, -alpha)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other; `rounding_mode` may be 'floor' or 'trunc'.

    Shape: (*), (*) -> the shape to which both broadcast.
    Dtype: the promoted dtype of the operands; without rounding, integers become the default dtype.
    Raises RuntimeError if the shapes do not broadcast, for another rounding_mode, and for an
    integer divided by zero with rounding.

    >>> x = torch.tensor([7, -7])
    >>> torch.div(x, 2), torch.div(x, 2, rounding_mode="trunc")
    (tensor([ 3.5000, -3.5000]), tensor([ 3, -3]))
    """
    if rounding_mode is None:
        return ops.div(input, other)
    if rounding_mode == "floor":
        return ops.floor_div(input, other)
    if rounding_mode != "trunc":
        raise RuntimeError(
            "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
            f"'{rounding_mode}'"
        )
    if common_dtype((input, other)).kind == "float":
        a, b = (ops.stop_gradient(x) if isinstance(x, Tensor) else x for x in (input, other))
        return _stepping(_cut_quotient(a, b), input, other)
    dtype = common_dtype((input, other))
    a, b = (x.to(dtype) if isinstance(x, Tensor) else x for x in (input, other))
    return ops.floor_div(a - ops.fmod(a, b), b)


@rounded_once
def _cut_quotient(a: Any, b: Any) -> Tensor:
    return ops.trunc(ops.div(a, b))


@composite("DivBackward1")
def _stepping(value: Tensor, *others: Any) -> Tensor:
    """The value, which depends on the others by steps alone: their gradients are zero."""
    for x in others:
        if isinstance(x, Tensor) and x.is_floating_point():
            value = kinks.steps(value, x)
    return value


def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent.

    Shape: (*), (*) -> the shape to which both broadcast.
    Dtype: the promoted dtype of the operands.
    Raises RuntimeError if the shapes do not broadcast, or for an integer to a negative integer
    number.

    >>> torch.pow(torch.tensor([2.0, 3.0]), 2)
    tensor([4., 9.])
    """
    if isinstance(input, Tensor) and not isinstance(exponent, Tensor):
        if input.dtype.kind != "float" and isinstance(exponent, int) and exponent < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        dtype = common_dtype((input, exponent))
        if dtype.is_half or dtype.kind != "float":
            numbers_fit(dtype, exponent)
        return ops.pow(input, exponent)
    if exponent.dtype.kind == "int" and common_dtype((input, exponent)).kind == "int":
        return _whole_power(input, exponent)
    return with_grad_name(
        ops.pow(input, exponent), f"PowBackward{1 if isinstance(input, Tensor) else 2}"
    )


def _whole_power(base: Any, exponent: Tensor) -> Tensor:
    """base ** exponent of integers; 1 / base**n is cut to a whole number, and so 0 but for +-1."""
    if isinstance(base, Tensor):
        base = base.to(common_dtype((base, exponent)))
    y = ops.pow(base, ops.maximum(exponent, 0))
    unit = (base == 1) | (base == -1)
    inverse = ops.where(unit, ops.pow(base, ops.bitwise_and(exponent, 1)), 0)
    return ops.where(ops.ge(exponent, 0), y, inverse)


@composite("PowBackward0")
def square(input: Tensor) -> Tensor:
    """input ** 2.

    Shape: (*) -> (*). Dtype: that of input; int64 of bools.
    Raises TypeError without a tensor.

    >>> torch.square(torch.tensor([-2.0, 3.0]))
    tensor([4., 9.])
    """
    return input * input if input.dtype is not bool_ else input.to(int64)


def float_power(input: Any, exponent: Any) -> Tensor:
    """input ** exponent, in float64.

    Shape: two that broadcast -> the shape to which they do. Dtype: float64.
    Raises RuntimeError if the shapes do not broadcast.

    >>> torch.float_power(torch.tensor([2, 3]), 2)
    tensor([4., 9.], dtype=tracegrad.float64)
    """
    wide = (x.to(float64) if isinstance(x, Tensor) else float(x) for x in (input, exponent))
    return pow(*wide)


def positive(input: Tensor) -> Tensor:
    """The tensor itself.

    Shape: (*) -> (*). Dtype: that of input. Raises RuntimeError for bools.

    >>> torch.positive(torch.tensor([-1.0]))
    tensor([-1.])
    """
    if input.dtype is bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


def lcm(input: Tensor, other: Tensor) -> Tensor:
    """The least common multiple of integers, zero where one of them is.

    Shape: two that broadcast -> the shape to which they do. Dtype: the promoted one.
    Raises RuntimeError if the shapes do not broadcast; NotImplementedError for floats.

    >>> torch.lcm(torch.tensor([4, 6]), torch.tensor([6, 8]))
    tensor([12, 24])
    """
    divisor = ops.gcd(input, other)
    return ops.abs(ops.floor_div(input, ops.where(ops.eq(divisor, 0), 1, divisor)) * other)


@composite("MulBackward0")
def deg2rad(input: Tensor) -> Tensor:
    """Degrees as radians.

    Shape: (*) -> (*). Dtype: that of input; integers become the default dtype.
    Raises TypeError without a tensor.

    >>> torch.deg2rad(torch.tensor([180.0]))
    tensor([3.1416])
    """
    return ops.mul(input, math.pi / 180)


@composite("MulBackward0")
def rad2deg(input: Tensor) -> Tensor:
    """Radians as degrees.

    Shape: (*) -> (*). Dtype: that of input; integers become the default dtype.
    Raises TypeError without a tensor.

    >>> torch.rad2deg(torch.tensor([3.14159265]))
    tensor([180.])
    """
    return ops.mul(input, 180 / math.pi)


@composite("RoundBackward0")
@rounded_once
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest integers; halves go to the even one.

    Shape: (*) -> (*). Dtype: that of input.
    Raises NotImplementedError for bools, and for integers with `decimals`.

    >>> torch.round(torch.tensor([0.5, 1.5, 2.6])), torch.round(torch.tensor([1.26]), decimals=1)
    (tensor([0., 2., 3.]), tensor([1.3000]))
    """
    if decimals == 0:
        return ops.round(input)
    floats_only("round_cpu", input)
    return (
        ops.round(input * 10**decimals) / 10**decimals
        if decimals > 0
        else ops.round(input / 10**-decimals) * 10**-decimals
    )


def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1; 0 for NaN.

    Shape: (*) -> (*). Dtype: that of input.
    Raises TypeError without a tensor.

    >>> torch.sign(torch.tensor([-2.0, 0.0, 3.0]))
    tensor([-1.,  0.,  1.])
    """
    return input.clone() if input.dtype is bool_ else ops.sign(input)


sgn = sign


def relu(input: Tensor) -> Tensor:
    """The elements, negative ones as 0.

    Shape: (*) -> (*). Dtype: that of input.
    Raises RuntimeError for bools.

    >>> torch.relu(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    if input.dtype is bool_:
        raise RuntimeError("Boolean inputs not supported for relu")
    return ops.relu(input)


@composite("FracBackward0")
def frac(input: Tensor) -> Tensor:
    """What `trunc` leaves over.

    Shape: (*) -> (*). Dtype: that of input. Raises NotImplementedError for integers.

    >>> torch.frac(torch.tensor([1.5, -1.5]))
    tensor([ 0.5000, -0.5000])
    """
    if not input.is_floating_point():
        raise NotImplementedError(f"\"frac_cpu\" not implemented for '{SCALAR_TYPE[input.dtype]}'")
    return input - ops.trunc(input)


def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight * (end - input), from the end that is nearer.

    Shape: three that broadcast -> the shape to which they do. Dtype: that of input, floating point.
    Raises RuntimeError if the dtypes differ or the shapes do not broadcast.

    >>> torch.lerp(torch.tensor([0.0, 10.0]), torch.tensor([1.0, 20.0]), 0.5)
    tensor([ 0.5000, 15.0000])
    """
    if end.dtype is not input.dtype:
        raise RuntimeError(f"expected dtype {input.dtype} for `end` but got dtype {end.dtype}")
    if not input.is_floating_point():
        kind = "tensor" if isinstance(weight, Tensor) else "scalar"
        raise refuse(f"lerp_kernel_{kind}", input.dtype)
    numbers_fit(computing(input.dtype), weight)
    return _lerp(input, end, weight.to(input.dtype) if isinstance(weight, Tensor) else weight)


@composite("LerpBackward0")
@rounded_once
def _lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    if not isinstance(weight, Tensor):
        weight = number(weight, input.dtype)
    a, b, w = (ops.stop_gradient(x) for x in (input, end, weight))
    near, far = a + w * (b - a), b - (b - a) * (1 - w)
    y = ops.where(ops.lt(ops.abs(w), 0.5), near, far)
    return kinks.lerp(y, *broadcast_tensors(input, end, weight))


def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 for negative numbers, 1 for positive ones, and `values` at zero.

    Shape: two that broadcast -> the shape to which they do. Dtype: that of both.
    Raises RuntimeError if the dtypes differ; TypeError for a number as values.

    >>> torch.heaviside(torch.tensor([-1.0, 0.0, 2.0]), torch.tensor(0.5))
    tensor([0.0000, 0.5000, 1.0000])
    """
    if not isinstance(values, Tensor):
        kind = type(values).__name__
        raise TypeError(f"heaviside(): argument 'values' (position 2) must be Tensor, not {kind}")
    if input.dtype is not values.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    return ops.where(ops.eq(input, 0), values, ops.gt(input, 0).to(input.dtype))


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 * tensor2.

    Shape: three that broadcast -> the shape to which they do. Dtype: the promoted one.
    Raises RuntimeError if the shapes do not broadcast; NotImplementedError for bools.

    >>> torch.addcmul(torch.ones(2), torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]), value=0.5)
    tensor([2.5000, 5.0000])
    """
    dtype = common_dtype((input, tensor1, tensor2))
    if dtype is bool_:
        raise refuse("addcmul_cpu_out", dtype)
    xs = (x.to(dtype) for x in (input, tensor1, tensor2))
    return _addcmul(*xs, as_factor(value, dtype))


@composite("AddcmulBackward0")
@rounded_once
def _addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, value: Any) -> Tensor:
    return input + _scaled(tensor1, value) * tensor2


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 / tensor2.

    Shape: three that broadcast -> the shape to which they do. Dtype: the promoted one.
    Raises RuntimeError if the shapes do not broadcast, or for integers as numerator and
    denominator.

    >>> torch.addcdiv(torch.ones(2), torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0]), value=2)
    tensor([2., 2.])
    """
    if common_dtype((tensor1, tensor2)).kind != "float":
        raise RuntimeError("Integer division with addcdiv is not supported: use torch.div")
    dtype = common_dtype((input, tensor1, tensor2))
    xs = (x.to(dtype) for x in (input, tensor1, tensor2))
    return _addcdiv(*xs, as_factor(value, dtype))


@composite("AddcdivBackward0")
@rounded_once
def _addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, value: Any) -> Tensor:
    return input + _scaled(tensor1, value) / tensor2


@composite("Exp2Backward0")
def exp2(input: Tensor) -> Tensor:
    """2 ** input.

    Shape: (*) -> (*). Dtype: that of input; integers become the default dtype.
    Raises TypeError without a tensor.

    >>> torch.exp2(torch.tensor([0.0, 3.0]))
    tensor([1., 8.])
    """
    return ops.pow(2.0, input)


# ---- complex numbers, of which the real ones are a part
def angle(input: Tensor) -> Tensor:
    """pi for negative numbers, 0 for others.

    Shape: (*) -> (*). Dtype: that of input; integers become the default dtype. NaN stays NaN.

    >>> torch.angle(torch.tensor([-1.0, 0.0, 2.0]))
    tensor([3.1416, 0.0000, 0.0000])
    """
    x = input if input.is_floating_point() else input.to(get_default_dtype())
    y = ops.stop_gradient(x)
    half_turn = ops.where(ops.lt(y, 0), number(math.pi, y.dtype), 0)
    return kinks.steps(ops.where(ops.isnan(y), y, half_turn), x)


def conj(input: Tensor) -> Tensor:
    """The tensor itself: there are no complex tensors.

    Shape: (*) -> (*). Dtype: that of input.

    >>> torch.conj(torch.tensor([1.0]))
    tensor([1.])
    """
    return input


def imag(input: Tensor) -> Tensor:
    """Refused, as torch does for tensors that are not complex."""
    raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")


conj_physical = real = resolve_conj = resolve_neg = conj
subtract, divide, true_divide = sub, div, div


def signbit(input: Tensor) -> Tensor:
    """True where the sign is minus, as it is of -0.0.

    Shape: (*) -> (*). Dtype: bool.

    >>> torch.signbit(torch.tensor([-0.0, 1.0]))
    tensor([ True, False])
    """
    return ops.lt(ops.copysign(1.0, input) if input.is_floating_point() else input, 0)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """The nearest number in [min, max]; either bound may be missing, a number or a tensor.

    Shape: (*), and bounds that broadcast with it. Dtype: the promoted one of all.
    Raises RuntimeError if both bounds are missing, or if the shapes do not broadcast.

    >>> torch.clamp(torch.tensor([-2.0, 0.5, 2.0]), min=-1, max=1)
    tensor([-1.0000,  0.5000,  1.0000])
    """
    return _clamp(input, min, max)


@composite("ClampBackward1")
def _clamp(input: Tensor, low: Any, high: Any, tie: bool = False) -> Tensor:
    if low is None and high is None:
        raise RuntimeError("clamp: At least one of 'min' or 'max' must not be None")
    # maximum and minimum give the value alone: at a bound the whole gradient goes to the input,
    # and where a NaN is compared nothing does
    dtype = common_dtype([x for x in (input, low, high) if x is not None])
    if dtype is bool_ and [isinstance(b, Tensor) for b in (low, high) if b is not None] != [True]:
        raise refuse("clamp_cpu", dtype)
    numbers_fit(dtype, low, high)
    x = input.to(dtype)
    low, high = (b.to(dtype) if isinstance(b, Tensor) else b for b in (low, high))
    y, inside = ops.stop_gradient(x), ops.eq(x, x)
    for bound, cut, within in ((low, ops.maximum, ops.ge), (high, ops.minimum, ops.le)):
        if bound is not None:
            inside = inside & within(x, bound)
            y = cut(y, ops.stop_gradient(bound) if isinstance(bound, Tensor) else bound)
    if forward_mode() and any(isinstance(bound, Tensor) for bound in (low, high)):
        return _with_tangents(y, x, low, high, tie)
    y = passing(y, inside, x)
    if isinstance(low, Tensor):
        below = ops.lt(x, low)
        y = passing(y, below if high is None else below & ops.lt(low, high), low)
    if isinstance(high, Tensor):
        above = ops.gt(x, high)
        y = passing(y, above if low is None else above | ops.gt(low, high), high)
    return y


def _with_tangents(y: Tensor, x: Tensor, low: Any, high: Any, tie: bool) -> Tensor:
    """The value of clamp, with the tangent that torch gives it: at a single bound the bound's,
    unless `tie`.
    """
    if low is None:
        to_x, to_low = (ops.le if tie else ops.lt)(x, high), None
        to_high = ops.logical_not(to_x)
    elif high is None:
        to_x, to_high = (ops.ge if tie else ops.gt)(x, low), None
        to_low = ops.logical_not(to_x)
    else:
        to_high = ops.gt(low, high) | (ops.gt(x, high) & ops.logical_not(ops.lt(x, low)))
        to_low = ops.lt(x, low) & ops.logical_not(to_high)
        to_x = ops.logical_not(to_low | to_high)
    for t, condition in ((x, to_x), (low, to_low), (high, to_high)):
        if isinstance(t, Tensor):
            y = passing(y, condition, t)
    return y


def passing(value: Tensor, condition: Any, x: Tensor) -> Tensor:
    """The value, of which x gets the gradient where the condition holds."""
    if not x.is_floating_point():
        return value
    return kinks.passing(*broadcast_tensors(value, condition, x))


clip = clamp


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """The elements, none smaller than `min`.

    Shape: two that broadcast. Dtype: the promoted one. Raises RuntimeError if they do not.

    >>> torch.clamp_min(torch.tensor([-1.0, 2.0]), 0)
    tensor([0., 2.])
    """
    return _clamp(input, min, None, tie=True)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """The elements, none greater than `max`.

    Shape: two that broadcast. Dtype: the promoted one. Raises RuntimeError if they do not.

    >>> torch.clamp_max(torch.tensor([-1.0, 2.0]), 0)
    tensor([-1.,  0.])
    """
    return _clamp(input, None, max, tie=True)


def nan_to_num(
    input: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """NaN and the infinities replaced by numbers.

    Shape: (*) -> (*). Dtype: that of input. The infinities become the largest finite numbers by
    default.
    Raises TypeError without a tensor.

    >>> torch.nan_to_num(torch.tensor([1.0, float("nan"), float("inf")]), posinf=9.0)
    tensor([1., 0., 9.])
    """
    if not input.is_floating_point():
        return input.clone()
    largest = finfo(input.dtype).max
    # what takes a NaN's or an infinity's place may be one of them itself
    y = ops.where(ops.isnan(input), nan, input)
    y = ops.where(ops.eq(input, math.inf), largest if posinf is None else posinf, y)
    return ops.where(ops.eq(input, -math.inf), -largest if neginf is None else neginf, y)
