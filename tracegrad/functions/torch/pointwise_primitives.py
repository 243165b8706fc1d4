"""The public forms of primitives of one or two operands.

A row gives the primitive, the formula and an example; names and dtypes come from the record. Names
that are only in torch.special are made in special.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ...ir.op import OpDef, Types
from ...ir.ops import elementwise as ops
from ...tracer.mode import forward_mode
from ...tracer.tensor.promotion import common_dtype
from ...tracer.tensor.tensor import Tensor

__all__ = [
    "abs", "absolute", "acos", "acosh", "arccos", "arccosh", "arcsin", "arcsinh", "arctan",
    "arctan2", "arctanh", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_and",
    "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
    "ceil", "copysign", "cos", "cosh", "eq", "erf", "erfc", "exp", "expm1", "fix", "floor",
    "floor_divide", "fmod", "gcd", "ge", "greater", "greater_equal", "gt", "hypot", "isnan",
    "le", "less", "less_equal", "log", "log10", "log1p", "log2", "logical_and", "logical_not",
    "logical_or", "logical_xor", "lt", "maximum", "minimum", "mul", "multiply", "ne", "neg",
    "negative", "not_equal", "reciprocal", "remainder", "rsqrt", "sigmoid", "sin", "sinh",
    "sqrt", "tan", "tanh", "trunc",
]


class Unary(Protocol):
    """A function of one tensor."""

    __name__: str

    def __call__(self, input: Tensor) -> Tensor: ...


class Binary(Protocol):
    """A function of two tensors, or of a tensor and a number."""

    __name__: str

    def __call__(self, input: Any, other: Any) -> Tensor: ...


_DTYPES = {
    Types.SAME: "the promoted dtype of the operands",
    Types.FLOAT: "the promoted dtype of the operands; integers and bools become the default dtype",
    Types.COMPARE: "bool",
    Types.LOGICAL: "bool; zero is False, other numbers are True",
}
_KINDS = {"bool": "bools", "int": "integers", "float": "floats"}


def _document(function: Any, op: OpDef, path: str, formula: str, example: tuple[str, ...]) -> None:
    operands = example[0].split("; ")
    shape, raises = "(*) -> (*)", ["TypeError without a tensor"]
    if len(operands) == 2:
        shape = "(*), (*) -> the shape to which both broadcast"
        raises.append("RuntimeError if the shapes do not broadcast")
    if op.refused.bools:
        raises.append("RuntimeError for bools")
    if kinds := " and ".join(_KINDS[kind] for kind in op.refused.kinds if kind in _KINDS):
        raises.append(f"NotImplementedError for {kinds}")
    types = Types.SAME if "int" in op.refused.kinds else op.types
    tensors = ", ".join(f"torch.tensor({x})" for x in operands)
    function.__name__ = function.__qualname__ = path.rpartition(".")[2]
    function.__doc__ = (
        f"{formula}, elementwise.\n\nShape: {shape}.\nDtype: {_DTYPES[types]}.\n"
        f"Raises {'; '.join(raises)}.\n\n>>> torch.{path}({tensors})\ntensor({example[1]})\n"
    )


def unary(op: OpDef, formula: str, *example: str, path: str = "") -> Unary:
    """The public function of a primitive of one operand; the example is its argument and result."""

    def function(input: Tensor) -> Tensor:
        return op(input)

    _document(function, op, path or op.public[0], formula, example)
    return function


def binary(
    op: OpDef, formula: str, *example: str, path: str = "",
    run: Callable[[Any, Any], Any] | None = None,
) -> Binary:
    """The public function of a primitive of two operands; the arguments are `first; second`. `run`
    is what it calls, if not the primitive.
    """
    call = op if run is None else run

    def function(input: Any, other: Any) -> Tensor:
        return call(input, other)

    _document(function, op, path or op.public[0], formula, example)
    return function


def unaries(op: OpDef, formula: str, *example: str) -> tuple[Unary, ...]:
    """One function for each public name."""
    return tuple(unary(op, formula, *example, path=path) for path in op.public)


def binaries(op: OpDef, formula: str, *example: str) -> tuple[Binary, ...]:
    return tuple(binary(op, formula, *example, path=path) for path in op.public)


def _with_tangents(op: OpDef) -> Callable[[Any, Any], Any]:
    """A maximum or minimum. Beside NaN it has the tangent of the second operand, as in torch; its
    gradient goes to both.
    """

    def extreme(a: Any, b: Any) -> Any:
        if forward_mode() and isinstance(a, Tensor) and isinstance(b, Tensor):
            nans, same = ops.isnan(a) | ops.isnan(b), ops.cast(a, dtype=common_dtype((a, b)))
            a = ops.where(nans, ops.stop_gradient(same), same)
        return op(a, b)

    return extreme


# ---- one operand
abs, absolute = unaries(ops.abs, "|x|", "[-1.0, 2.0]", "[1., 2.]")
acos, arccos = unaries(
    ops.acos, "arccos(x), in radians from 0 to pi; NaN outside [-1, 1]",
    "[-1.0, 0.0, 1.0]", "[3.1416, 1.5708, 0.0000]",
)
acosh, arccosh = unaries(
    ops.acosh, "arcosh(x) = log(x + sqrt(x * x - 1)); NaN below 1", "[1.0, 2.0]", "[0.0000, 1.3170]"
)
asin, arcsin = unaries(
    ops.asin, "arcsin(x), in radians from -pi / 2 to pi / 2; NaN outside [-1, 1]",
    "[-1.0, 0.0, 1.0]", "[-1.5708,  0.0000,  1.5708]",
)
asinh, arcsinh = unaries(
    ops.asinh, "arsinh(x) = log(x + sqrt(x * x + 1))", "[0.0, 1.0]", "[0.0000, 0.8814]"
)
atan, arctan = unaries(
    ops.atan, "arctan(x), in radians from -pi / 2 to pi / 2",
    "[-1.0, 0.0, 1.0]", "[-0.7854,  0.0000,  0.7854]",
)
atanh, arctanh = unaries(
    ops.atanh, "artanh(x) = log((1 + x) / (1 - x)) / 2; NaN outside [-1, 1]",
    "[0.0, 0.5]", "[0.0000, 0.5493]",
)
bitwise_not = unary(
    ops.bitwise_not, "every bit of an integer inverted, not x of a bool",
    "[0, 1, -2]", "[-1, -2,  1]",
)
ceil = unary(ops.ceil, "the least integer that is not below x", "[-0.5, 1.2]", "[-0., 2.]")
cos = unary(ops.cos, "cos(x), x in radians", "[0.0, 1.0]", "[1.0000, 0.5403]")
cosh = unary(ops.cosh, "cosh(x) = (exp(x) + exp(-x)) / 2", "[0.0, 1.0]", "[1.0000, 1.5431]")
erf = unary(
    ops.erf, "erf(x), 2 / sqrt(pi) times the integral of exp(-t * t) from 0 to x (DLMF 7.2.1)",
    "[0.0, 0.5]", "[0.0000, 0.5205]",
)
erfc = unary(
    ops.erfc, "1 - erf(x), accurate for large x (DLMF 7.2.2)", "[0.0, 0.5]", "[1.0000, 0.4795]"
)
exp = unary(ops.exp, "e ** x", "[0.0, 1.0]", "[1.0000, 2.7183]")
expm1 = unary(
    ops.expm1, "exp(x) - 1, accurate for small x", "[0.0, 1e-08]", "[0.0000e+00, 1.0000e-08]"
)
floor = unary(ops.floor, "the greatest integer that is not above x", "[-0.5, 1.2]", "[-1.,  1.]")
isnan = unary(ops.isnan, "whether x is NaN", "[1.0, float('nan')]", "[False,  True]")
log = unary(
    ops.log, "the natural logarithm of x; -inf at 0, NaN below", "[1.0, 10.0]", "[0.0000, 2.3026]"
)
log10 = unary(
    ops.log10, "the logarithm of x to base 10; -inf at 0, NaN below",
    "[1.0, 100.0]", "[0.0000, 2.0000]",
)
log1p = unary(
    ops.log1p, "log(1 + x), accurate for small x", "[0.0, 1e-08]", "[0.0000e+00, 1.0000e-08]"
)
log2 = unary(
    ops.log2, "the logarithm of x to base 2; -inf at 0, NaN below", "[1.0, 8.0]", "[0., 3.]"
)
logical_not = unary(ops.logical_not, "not x", "[0.0, 2.0]", "[ True, False]")
neg, negative = unaries(ops.neg, "-x", "[1.0, -2.0]", "[-1.,  2.]")
reciprocal = unary(ops.reciprocal, "1 / x", "[2.0, 4.0]", "[0.5000, 0.2500]")
rsqrt = unary(ops.rsqrt, "1 / sqrt(x)", "[4.0, 16.0]", "[0.5000, 0.2500]")
sigmoid = unary(ops.sigmoid, "1 / (1 + exp(-x))", "[-1.0, 0.0, 1.0]", "[0.2689, 0.5000, 0.7311]")
sin = unary(ops.sin, "sin(x), x in radians", "[0.0, 1.0]", "[0.0000, 0.8415]")
sinh = unary(ops.sinh, "sinh(x) = (exp(x) - exp(-x)) / 2", "[0.0, 1.0]", "[0.0000, 1.1752]")
sqrt = unary(ops.sqrt, "the square root of x; NaN below 0", "[4.0, 9.0]", "[2., 3.]")
tan = unary(ops.tan, "tan(x), x in radians", "[0.0, 1.0]", "[0.0000, 1.5574]")
tanh = unary(
    ops.tanh, "tanh(x) = sinh(x) / cosh(x)", "[-1.0, 0.0, 1.0]", "[-0.7616,  0.0000,  0.7616]"
)
trunc, fix = unaries(
    ops.trunc, "x without its fraction, rounded toward 0", "[-1.5, 1.5]", "[-1.,  1.]"
)


# ---- two operands
atan2, arctan2 = binaries(
    ops.atan2, "the angle of the point (other, input), in radians from -pi to pi",
    "[1.0, 1.0]; [1.0, -1.0]", "[0.7854, 2.3562]",
)
bitwise_and = binary(
    ops.bitwise_and, "a & b of integers or bools, bit by bit", "[12, 10]; [10, 6]", "[8, 2]"
)
bitwise_or = binary(
    ops.bitwise_or, "a | b of integers or bools, bit by bit", "[12, 10]; [10, 6]", "[14, 14]"
)
bitwise_xor = binary(
    ops.bitwise_xor, "a ^ b of integers or bools, bit by bit", "[12, 10]; [10, 6]", "[ 6, 12]"
)
copysign = binary(
    ops.copysign, "|input| with the sign of `other`, which may be that of -0.0",
    "[1.0, 2.0]; [-1.0, 3.0]", "[-1.,  2.]",
)
eq = binary(ops.eq, "input == other", "[1, 2]; [1, 3]", "[ True, False]")
floor_divide = binary(ops.floor_div, "floor(input / other)", "[7, -7]; [2, 2]", "[ 3, -4]")
fmod = binary(
    ops.fmod, "input - other * trunc(input / other), with the sign of input",
    "[7.0, -7.0]; [3.0, 3.0]", "[ 1., -1.]",
)
gcd = binary(ops.gcd, "the greatest common divisor of integers", "[12, 9]; [8, 6]", "[4, 3]")
ge, greater_equal = binaries(ops.ge, "input >= other", "[1, 2]; [1, 3]", "[ True, False]")
gt, greater = binaries(ops.gt, "input > other", "[1, 4]; [1, 3]", "[False,  True]")
hypot = binary(
    ops.hypot, "sqrt(input ** 2 + other ** 2), without overflow on the way",
    "[3.0, 5.0]; [4.0, 12.0]", "[ 5., 13.]",
)
le, less_equal = binaries(ops.le, "input <= other", "[1, 4]; [1, 3]", "[ True, False]")
logical_and = binary(
    ops.logical_and, "input and other", "[True, True]; [True, False]", "[ True, False]"
)
logical_or = binary(
    ops.logical_or, "input or other", "[False, False]; [True, False]", "[ True, False]"
)
logical_xor = binary(
    ops.logical_xor, "whether exactly one of the two is true",
    "[True, True]; [True, False]", "[False,  True]",
)
lt, less = binaries(ops.lt, "input < other", "[1, 2]; [1, 3]", "[False,  True]")
maximum = binary(
    ops.maximum, "the greater of two numbers; NaN if one is NaN",
    "[1.0, 4.0]; [2.0, 3.0]", "[2., 4.]", run=_with_tangents(ops.maximum),
)
minimum = binary(
    ops.minimum, "the smaller of two numbers; NaN if one is NaN",
    "[1.0, 4.0]; [2.0, 3.0]", "[1., 3.]", run=_with_tangents(ops.minimum),
)
mul, multiply = binaries(ops.mul, "input * other", "[1.0, 2.0]; [3.0, 4.0]", "[3., 8.]")
ne, not_equal = binaries(ops.ne, "input != other", "[1, 2]; [1, 3]", "[False,  True]")
remainder = binary(
    ops.remainder, "input - other * floor(input / other), with the sign of other",
    "[7.0, -7.0]; [3.0, 3.0]", "[1., 2.]",
)
bitwise_left_shift = binary(
    ops.shift_left, "input * 2 ** other of integers, by shifting bits", "[1, 3]; [4, 1]", "[16,  6]"
)
bitwise_right_shift = binary(
    ops.shift_right, "floor(input / 2 ** other) of integers, by shifting bits",
    "[16, -3]; [4, 1]", "[ 1, -2]",
)
