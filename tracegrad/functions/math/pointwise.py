"""Functions of numbers, applied to every element, with broadcasting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...ir.dtype import bool_, float64, int64, uint8
from ...ir.op import OpDef
from ...ir.ops import elementwise as ops, kinks
from ...ir.value import REGISTRY
from ...tracer.autograd.graph import composite, with_grad_name
from ...tracer.mode import get_default_dtype
from ...tracer.tensor.dispatch import number
from ...tracer.tensor.promotion import SCALAR_TYPE, common_dtype
from ...tracer.tensor.tensor import Tensor
from ..tensors.broadcasting import broadcast_tensors
from .scaled_operands import as_factor, check_alpha, floats_only, plus, refuse
from .upcast import rounded_once

# primitives of one tensor, public under their own names and these
UNARY = {
    "abs": ("absolute",), "acos": ("arccos",), "acosh": ("arccosh",), "asin": ("arcsin",),
    "asinh": ("arcsinh",), "atan": ("arctan",), "atanh": ("arctanh",), "bitwise_not": (),
    "ceil": (), "cos": (), "cosh": (), "erf": (), "erfc": (), "exp": (), "expm1": (), "floor": (),
    "isnan": (), "log": (), "log10": (), "log1p": (), "log2": (), "logical_not": (),
    "neg": ("negative",), "reciprocal": (), "rsqrt": (), "sigmoid": (), "sin": (), "sinh": (),
    "sqrt": (), "tan": (), "tanh": (), "trunc": ("fix",),
}  # fmt: skip

# primitives of two operands
BINARY = {
    "atan2": ("arctan2",), "bitwise_and": (), "bitwise_or": (), "bitwise_xor": (), "copysign": (),
    "eq": (), "floor_div": ("floor_divide",), "fmod": (), "gcd": (), "ge": ("greater_equal",),
    "gt": ("greater",), "hypot": (), "le": ("less_equal",), "logical_and": (), "logical_or": (),
    "logical_xor": (), "lt": ("less",), "maximum": (), "minimum": (), "mul": ("multiply",),
    "ne": ("not_equal",), "remainder": (), "shift_left": ("bitwise_left_shift",),
    "shift_right": ("bitwise_right_shift",),
}  # fmt: skip
# these go by their other names alone
_UNPUBLISHED = ("floor_div", "shift_left", "shift_right")


def public(name: str, op: OpDef, operands: int) -> Callable:
    """A primitive of one or two operands, with torch's names for them."""
    if operands == 1:

        def function(input: Tensor) -> Tensor:
            return op(input)
    else:

        def function(input: Any, other: Any) -> Tensor:  # type: ignore[misc]
            return op(input, other)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Elementwise `{name.replace('_', ' ')}`."
    return function


for _name, _aliases in (UNARY | BINARY).items():
    for _alias in (_name, *_aliases):
        globals()[_alias] = public(_alias, REGISTRY[_name], 1 if _name in UNARY else 2)

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """The names of the tables, for those who check types."""



# ---- arithmetic with options
def _one(alpha: Any) -> bool:
    return type(alpha) is int and alpha == 1


@composite("AddBackward0")
def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input + alpha * other."""
    return ops.add(input, other) if _one(alpha) else plus(input, other, alpha)


@composite("SubBackward0")
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input - alpha * other."""
    return ops.sub(input, other) if _one(alpha) else _minus(input, other, alpha)


@composite("RsubBackward1")
def rsub(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """other - alpha * input."""
    return ops.sub(other, input) if _one(alpha) else _minus(other, input, alpha)


def _minus(a: Any, b: Any, alpha: Any) -> Tensor:
    if any(isinstance(x, bool) or (isinstance(x, Tensor) and x.dtype is bool_) for x in (a, b)):
        return ops.sub(a, b)  # which refuses it
    check_alpha(alpha, common_dtype((a, b)))
    return plus(a, b, -alpha)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other; `rounding_mode` may be 'floor' or 'trunc'."""
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
    """input ** exponent."""
    if isinstance(input, Tensor) and not isinstance(exponent, Tensor):
        if input.dtype.kind in ("int", "uint") and isinstance(exponent, int) and exponent < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
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
    """input ** 2."""
    return input * input if input.dtype is not bool_ else input.to(int64)


def float_power(input: Any, exponent: Any) -> Tensor:
    """input ** exponent, in float64."""
    wide = (x.to(float64) if isinstance(x, Tensor) else float(x) for x in (input, exponent))
    return pow(*wide)


def positive(input: Tensor) -> Tensor:
    """The tensor itself."""
    if input.dtype is bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


def lcm(input: Tensor, other: Tensor) -> Tensor:
    """The least common multiple of integers, zero where one of them is."""
    divisor = ops.gcd(input, other)
    return ops.abs(ops.floor_div(input, ops.where(ops.eq(divisor, 0), 1, divisor)) * other)


@composite("MulBackward0")
def deg2rad(input: Tensor) -> Tensor:
    """Degrees as radians."""
    return ops.mul(input, math.pi / 180)


@composite("MulBackward0")
def rad2deg(input: Tensor) -> Tensor:
    """Radians as degrees."""
    return ops.mul(input, 180 / math.pi)


# ---- choice
@composite("WhereBackward0")
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds, `other` elsewhere; with the condition alone, the positions
    where it holds.
    """
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    if isinstance(condition, Tensor) and condition.dtype is uint8:
        condition = ops.ne(condition, 0)
    return ops.where(condition, input, other)


@composite("RoundBackward0")
@rounded_once
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest integers; halves go to the even one."""
    if decimals == 0:
        return ops.round(input)
    floats_only("round_cpu", input)
    return (
        ops.round(input * 10**decimals) / 10**decimals
        if decimals > 0
        else ops.round(input / 10**-decimals) * 10**-decimals
    )


def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1; 0 for NaN."""
    return input.clone() if input.dtype is bool_ else ops.sign(input)


sgn = sign


def relu(input: Tensor) -> Tensor:
    """The elements, negative ones as 0."""
    if input.dtype is bool_:
        raise RuntimeError("Boolean inputs not supported for relu")
    return ops.relu(input)


@composite("FracBackward0")
def frac(input: Tensor) -> Tensor:
    """What `trunc` leaves over."""
    if not input.is_floating_point():
        raise NotImplementedError(f"\"frac_cpu\" not implemented for '{SCALAR_TYPE[input.dtype]}'")
    return input - ops.trunc(input)


def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight * (end - input), from the end that is nearer."""
    if end.dtype is not input.dtype:
        raise RuntimeError(f"expected dtype {input.dtype} for `end` but got dtype {end.dtype}")
    if not input.is_floating_point():
        kind = "tensor" if isinstance(weight, Tensor) else "scalar"
        raise refuse(f"lerp_kernel_{kind}", input.dtype)
    return _lerp(input, end, weight)


@composite("LerpBackward0")
@rounded_once
def _lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    if not isinstance(weight, Tensor):
        weight = number(weight, input.dtype)
    a, b, w = (ops.stop_gradient(x) for x in (input, end, weight))
    near, far = a + w * (b - a), b - (b - a) * (1 - w)
    y = ops.where(ops.lt(ops.abs(w), 0.5), near, far)
    return kinks.lerp(y, *broadcast_tensors(input, end, weight))


def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two numbers; of a number and NaN the number."""
    return _chosen(input, other, ops.ge)


def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two numbers; of a number and NaN the number."""
    return _chosen(input, other, ops.le)


def _chosen(a: Tensor, b: Tensor, compare: OpDef) -> Tensor:
    # at a tie the whole gradient goes to the first
    return ops.where(ops.logical_or(compare(a, b), ops.isnan(b)), a, b)


def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 for negative numbers, 1 for positive ones, and `values` at zero."""
    if not isinstance(values, Tensor):
        kind = type(values).__name__
        raise TypeError(f"heaviside(): argument 'values' (position 2) must be Tensor, not {kind}")
    if input.dtype is not values.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    return ops.where(ops.eq(input, 0), values, ops.gt(input, 0).to(input.dtype))


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    dtype = common_dtype((input, tensor1, tensor2))
    if dtype is bool_:
        raise refuse("addcmul_cpu_out", dtype)
    xs = (x.to(dtype) for x in (input, tensor1, tensor2))
    return _addcmul(*xs, as_factor(value, dtype))


@composite("AddcmulBackward0")
@rounded_once
def _addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, value: Any) -> Tensor:
    product = tensor1 * tensor2
    return input + (product if _one(value) else product * value)


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 / tensor2."""
    if common_dtype((tensor1, tensor2)).kind != "float":
        raise RuntimeError("Integer division with addcdiv is not supported: use torch.div")
    dtype = common_dtype((input, tensor1, tensor2))
    return _addcdiv(*(x.to(dtype) for x in (input, tensor1, tensor2)), value)


@composite("AddcdivBackward0")
@rounded_once
def _addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, value: Any) -> Tensor:
    quotient = tensor1 / tensor2
    return input + (quotient if _one(value) else quotient * value)


@composite("Exp2Backward0")
def exp2(input: Tensor) -> Tensor:
    """2 ** input."""
    return ops.pow(2.0, input)


# ---- complex numbers, of which the real ones are a part
def angle(input: Tensor) -> Tensor:
    """pi for negative numbers, 0 for others."""
    x = input if input.is_floating_point() else input.to(get_default_dtype())
    y = ops.stop_gradient(x)
    half_turn = ops.where(ops.lt(y, 0), number(math.pi, y.dtype), 0)
    return kinks.steps(ops.where(ops.isnan(y), y, half_turn), x)


def conj(input: Tensor) -> Tensor:
    """The tensor itself: there are no complex tensors."""
    return input


def imag(input: Tensor) -> Tensor:
    """Refused, as torch does for tensors that are not complex."""
    raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")


conj_physical = real = resolve_conj = resolve_neg = conj
subtract, divide, true_divide = sub, div, div
__all__ = [  # noqa: PLE0604
    *(n for name, aliases in (UNARY | BINARY).items() for n in (name, *aliases)
      if n not in _UNPUBLISHED),
    "add", "addcdiv", "addcmul", "angle", "conj",
    "conj_physical", "deg2rad", "div", "divide", "exp2", "float_power", "fmax", "fmin", "frac",
    "heaviside", "imag", "lcm", "lerp", "positive", "pow", "rad2deg", "real", "relu",
    "resolve_conj", "resolve_neg", "round", "rsub", "sgn", "sign", "square", "sub", "subtract",
    "true_divide", "where",
]  # fmt: skip
