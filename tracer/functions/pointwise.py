"""Functions of numbers, applied to every element, with broadcasting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...ir.op import OpDef
from ...ir.ops import elementwise as ops
from ...ir.value import REGISTRY
from ..promotion import as_dtype, common_dtype
from ..tape import composite, retitled
from ..tensor import Tensor

# primitives of one tensor, public under their own names and these
UNARY = {
    "abs": ("absolute",), "acos": ("arccos",), "acosh": ("arccosh",), "asin": ("arcsin",),
    "asinh": ("arcsinh",), "atan": ("arctan",), "atanh": ("arctanh",), "bitwise_not": (),
    "ceil": (), "cos": (), "cosh": (), "erf": (), "erfc": (), "exp": (), "expm1": (), "floor": (),
    "isnan": (), "lgamma": (), "log": (), "log1p": (), "logical_not": (), "neg": ("negative",),
    "reciprocal": (), "rsqrt": (), "sigmoid": (), "sign": (), "sin": (), "sinh": (), "sqrt": (),
    "tan": (), "tanh": (), "trunc": ("fix",),
}  # fmt: skip

# primitives of two operands
BINARY = {
    "atan2": ("arctan2",), "bitwise_and": (), "bitwise_or": (), "bitwise_xor": (), "eq": (),
    "ge": ("greater_equal",), "gt": ("greater",), "le": ("less_equal",), "logical_and": (),
    "logical_or": (), "logical_xor": (), "lt": ("less",), "maximum": (), "minimum": (),
    "mul": ("multiply",), "ne": ("not_equal",), "remainder": (),
}  # fmt: skip


def _public(name: str, op: OpDef) -> Callable:
    if name in UNARY:

        def function(input: Tensor) -> Tensor:
            return op(input)
    else:

        def function(input: Any, other: Any) -> Tensor:  # type: ignore[misc]
            return op(input, other)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Elementwise `{name.replace('_', ' ')}`."
    return function


for _name, _aliases in (UNARY | BINARY).items():
    _function = _public(_name, REGISTRY[_name])
    globals().update(dict.fromkeys((_name, *_aliases), _function))


# ---- arithmetic with options
def _scaled(other: Any, alpha: Any) -> Any:
    return other if alpha == 1 else other * alpha


@composite("AddBackward0")
def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input + alpha * other."""
    return ops.add(input, _scaled(other, alpha))


@composite("SubBackward0")
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """input - alpha * other."""
    return ops.sub(input, _scaled(other, alpha))


@composite("RsubBackward1")
def rsub(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """other - alpha * input."""
    return ops.sub(other, _scaled(input, alpha))


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
    dtype = common_dtype((input, other))
    return ops.trunc(ops.div(input, other)).to(dtype)


def floor_divide(input: Any, other: Any) -> Tensor:
    """The quotient, rounded down."""
    return ops.floor_div(input, other)


def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent."""
    if isinstance(input, Tensor) and not isinstance(exponent, Tensor):
        if input.dtype.kind in ("int", "uint") and isinstance(exponent, int) and exponent < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        return ops.pow(input, exponent)
    return retitled(ops.pow(input, exponent), f"PowBackward{1 if isinstance(input, Tensor) else 2}")


@composite("PowBackward0")
def square(input: Tensor) -> Tensor:
    """input ** 2."""
    return input * input


def positive(input: Tensor) -> Tensor:
    """The tensor itself."""
    return input


# ---- choice
@composite("WhereBackward0")
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds, `other` elsewhere; with the condition alone, the positions
    where it holds.
    """
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    return ops.where(condition, input, other)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """The nearest number in [min, max]; either bound may be missing, a number or a tensor."""
    if min is None and max is None:
        raise RuntimeError("clamp: At least one of 'min' or 'max' must not be None")
    return _clamp(input, min, max)


@composite("ClampBackward1")
def _clamp(input: Tensor, low: Any, high: Any) -> Tensor:
    # not maximum and minimum: at a bound the whole gradient goes to the input
    dtype = common_dtype([x for x in (input, low, high) if x is not None])
    y = input.to(dtype)
    if low is not None:
        y = ops.where(ops.lt(y, low), low, y)
    if high is not None:
        y = ops.where(ops.gt(y, high), high, y)
    return y.to(dtype)


clip = clamp


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """The elements, none smaller than `min`."""
    return clamp(input, min=min)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """The elements, none greater than `max`."""
    return clamp(input, max=max)


@composite("ReluBackward0")
def relu(input: Tensor) -> Tensor:
    """The elements, zero where they are negative."""
    return ops.where(ops.le(input, 0), 0, input)


@composite("RoundBackward0")
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest integers; halves go to the even one."""
    if decimals == 0:
        return ops.round(input)
    return (
        ops.round(input * 10**decimals) / 10**decimals
        if decimals > 0
        else ops.round(input / 10**-decimals) * 10**-decimals
    )


@composite("FracBackward0")
def frac(input: Tensor) -> Tensor:
    """What `trunc` leaves over."""
    return input - ops.trunc(input)


@composite("FmodBackward0")
def fmod(input: Tensor, other: Any) -> Tensor:
    """The remainder with the sign of the dividend."""
    dtype = common_dtype((input, other))
    if dtype.kind != "float":
        r = ops.remainder(ops.abs(input), abs_(other))
        return ops.where(ops.lt(input, 0), -r, r)
    return input - ops.trunc(input / other) * other


def abs_(x: Any) -> Any:
    return ops.abs(x) if isinstance(x, Tensor) else -x if x < 0 else x


@composite("LerpBackward0")
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight * (end - input)."""
    return input + weight * (end - input)


@composite("AddcmulBackward0")
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    return input + _scaled(tensor1 * tensor2, value)


@composite("AddcdivBackward0")
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 / tensor2."""
    return input + _scaled(tensor1 / tensor2, value)


@composite("Log2Backward0")
def log2(input: Tensor) -> Tensor:
    """The logarithm to base 2."""
    return ops.log(input) * (1 / math.log(2))


@composite("Log10Backward0")
def log10(input: Tensor) -> Tensor:
    """The logarithm to base 10."""
    return ops.log(input) * (1 / math.log(10))


@composite("Exp2Backward0")
def exp2(input: Tensor) -> Tensor:
    """2 ** input."""
    return ops.pow(2.0, input)


@composite("HypotBackward0")
def hypot(input: Tensor, other: Tensor) -> Tensor:
    """sqrt(input ** 2 + other ** 2), without overflow on the way."""
    a, b = ops.abs(input), ops.abs(other)
    big = ops.maximum(a, b)
    small, safe = ops.minimum(a, b), ops.where(ops.eq(big, 0), 1, big)
    r = small / safe
    return ops.where(ops.eq(big, math.inf), big, big * ops.sqrt(1 + r * r))


# ---- questions
def isinf(input: Tensor) -> Tensor:
    """True for the infinities."""
    return ops.eq(ops.abs(input), math.inf) if input.is_floating_point() else ops.ne(input, input)


def isfinite(input: Tensor) -> Tensor:
    """True for neither an infinity nor NaN."""
    return ops.lt(ops.abs(input), math.inf) if input.is_floating_point() else ops.eq(input, input)


def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tensor:
    """Whether |input - other| <= atol + rtol * |other|."""
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{input.dtype} did not match {other.dtype}")
    near = ops.eq(input, other)
    if input.is_floating_point():
        near = near | (
            isfinite(other) & ops.le(ops.abs(input - other), atol + rtol * ops.abs(other))
        )
    elif input.dtype.kind != "bool":
        a, b = input.double(), other.double()
        near = near | ops.le(ops.abs(a - b), atol + rtol * ops.abs(b))
    return near | (ops.isnan(input) & ops.isnan(other)) if equal_nan else near


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether all elements are close."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shapes and all elements are equal."""
    return tuple(input.shape) == tuple(other.shape) and bool(ops.eq(input, other).all())


def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a floating point type."""
    return input.dtype.is_floating_point


def is_complex(input: Tensor) -> bool:
    """Whether the dtype is a complex type."""
    return False


def is_nonzero(input: Tensor) -> bool:
    """The truth of a tensor of one element."""
    return bool(input)


def nan_to_num(
    input: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """NaN and the infinities replaced by numbers."""
    largest = float(_largest(input.dtype))
    y = ops.where(ops.isnan(input), nan, input)
    y = ops.where(ops.eq(y, math.inf), largest if posinf is None else posinf, y)
    return ops.where(ops.eq(y, -math.inf), -largest if neginf is None else neginf, y)


def _largest(dtype: Any) -> float:
    return finfo(dtype).max


def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(exp(input) + exp(other)), without overflow."""
    return _logaddexp(input, other)


@composite("LogaddexpBackward0")
def _logaddexp(a: Tensor, b: Tensor) -> Tensor:
    same = ops.eq(a, b)  # also for two infinities, whose difference is NaN
    high = ops.maximum(a, b)
    gap = ops.where(same, 0, ops.abs(a - b))
    return high + ops.log1p(ops.exp(-gap))


class finfo:
    """The limits of a floating point type."""

    def __init__(self, type: Any = None):
        d = as_dtype(float if type is None else type)
        if not d.is_floating_point:
            raise TypeError(f"finfo expects a floating point type, got {d}; use iinfo for integers")
        digits, exponent = {
            "float64": (52, 1023),
            "float32": (23, 127),
            "float16": (10, 15),
            "bfloat16": (7, 127),
        }[d.name]
        self.bits, self.dtype = d.bits, d.name
        self.eps, self.max = 2.0**-digits, (2 - 2.0**-digits) * 2.0**exponent
        self.min, self.tiny = -self.max, 2.0 ** (1 - exponent)
        self.smallest_normal, self.resolution = (
            self.tiny,
            10.0 ** -math.floor(digits * math.log10(2)),
        )


class iinfo:
    """The limits of an integer type."""

    def __init__(self, type: Any):
        d = as_dtype(type)
        if d.kind not in ("int", "uint"):
            raise TypeError(
                f"iinfo expects an integer type, got {d}; use finfo for floating point types"
            )
        self.bits, self.dtype = d.bits, d.name
        self.min = -(2 ** (d.bits - 1)) if d.kind == "int" else 0
        self.max = 2 ** (d.bits - (d.kind == "int")) - 1


subtract, divide, true_divide, absolute_value = sub, div, div, abs_
__all__ = [  # noqa: PLE0604
    *(n for name, aliases in (UNARY | BINARY).items() for n in (name, *aliases)), "add", "addcdiv",
    "addcmul", "allclose", "clamp", "clamp_max", "clamp_min", "clip", "div", "divide", "equal",
    "exp2", "finfo", "floor_divide", "fmod", "frac", "hypot", "iinfo", "is_complex",
    "is_floating_point", "is_nonzero", "isclose", "isfinite", "isinf", "lerp", "log10", "log2",
    "logaddexp", "nan_to_num", "positive", "pow", "relu", "round", "rsub", "square", "sub",
    "subtract", "true_divide", "where",
]  # fmt: skip
