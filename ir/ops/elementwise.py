"""Primitives that map numbers to numbers, with NumPy's broadcasting.

A rule gets the cotangent g, the answer y and the inputs; there is one per input, and None where
there is no gradient. Kinks and ties follow torch. `{T}` in an expression is the constructor of the
operands' type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy

from ..dtype import DType, bool_, int64, uint8
from ..faults import DIVISOR, TARGET, division_by_zero, out_of_bounds
from ..op import (
    DIVIDE,
    TRANSCENDENTAL,
    Check,
    Law,
    OpDef,
    Refused,
    Rule,
    Types,
    elementwise,
    floats_only,
)
from .choice import chosen, positive_part
from .source import zeros_like

FLOAT, COMPARE, LOGICAL = Types.FLOAT, Types.COMPARE, Types.LOGICAL
NUMBERS, INTEGERS = Refused(("bool",)), Refused(("bool", "float"))  # which alone are taken


# ---- comparisons and logic: no gradients
def _sign(ref: np.ufunc, sign: str, *public: str, **fields: Any) -> OpDef:
    """The primitive that a sign stands for, between its operands."""
    return elementwise(public[0], ref=ref, expr=f"{{0}} {sign} {{1}}", public=public, **fields)


def _logical(name: str, ref: np.ufunc, sign: str) -> OpDef:
    return _sign(ref, sign, name, types=LOGICAL, commutative=True)


def _bitwise(name: str, ref: np.ufunc, sign: str, operator: str) -> OpDef:
    return _sign(ref, sign, name, operator=operator, commutative=True, refused=Refused(("float",)))


eq = _sign(np.equal, "==", "eq", types=COMPARE, commutative=True)
ne = _sign(np.not_equal, "!=", "ne", "not_equal", types=COMPARE, commutative=True)
lt = _sign(np.less, "<", "lt", "less", types=COMPARE, operator="__lt__")
le = _sign(np.less_equal, "<=", "le", "less_equal", types=COMPARE, operator="__le__")
gt = _sign(np.greater, ">", "gt", "greater", types=COMPARE, operator="__gt__")
ge = _sign(np.greater_equal, ">=", "ge", "greater_equal", types=COMPARE, operator="__ge__")
isnan = elementwise("isnan", ref=np.isnan, expr="{0} != {0}", types=COMPARE, public=("isnan",))
logical_not = elementwise(
    "logical_not", ref=np.logical_not, expr="not {0}", types=LOGICAL, public=("logical_not",)
)
logical_and = _logical("logical_and", np.logical_and, "&")
logical_or = _logical("logical_or", np.logical_or, "|")
logical_xor = _logical("logical_xor", np.logical_xor, "^")
bitwise_and = _bitwise("bitwise_and", np.bitwise_and, "&", "__and__")
bitwise_or = _bitwise("bitwise_or", np.bitwise_or, "|", "__or__")
bitwise_xor = _bitwise("bitwise_xor", np.bitwise_xor, "^", "__xor__")
bitwise_not = elementwise(
    "bitwise_not", ref=np.invert, expr="invert({0})", operator="__invert__",
    refused=Refused(("float",)), public=("bitwise_not",),
)
shift_left = elementwise(
    "shift_left", ref=np.left_shift, expr="shift_left({0}, {1})", operator="__lshift__",
    refused=INTEGERS, public=("bitwise_left_shift",),
)
shift_right = elementwise(
    "shift_right", ref=np.right_shift, expr="shift_right({0}, {1})", operator="__rshift__",
    refused=INTEGERS, public=("bitwise_right_shift",),
)

# ---- structure
where = elementwise(
    "where", ref=chosen, expr="select({0}, {1}, {2})", types=Types.SELECT, exact=True,
    chooses=True, law=Law("the condition is bool", lambda c, a, b: c.dtype is bool_),
    vjp=(None, lambda g, y, c, a, b: where(c, g, 0), lambda g, y, c, a, b: where(c, 0, g)),
)


def _cast(x: np.ndarray, *, dtype: DType) -> np.ndarray:
    x = np.asarray(x)
    if dtype is uint8 and x.dtype == np.float64:
        x = x.astype(np.int64)  # as in torch; NumPy keeps 32 bits of it
    return x.astype(dtype.compute)


cast = elementwise(
    "cast", ref=_cast, expr="cast({0}, {Y}(0))",
    types=Types.FREE,
    vjp=(lambda g, y, x, *, dtype: cast(g, dtype=x.dtype),), grad_name="ToCopyBackward0",
)
# bits(x, dtype=): the same bits as numbers of another dtype of the same size, neither of them half
bits = elementwise(
    "bits", ref=lambda x, *, dtype: np.asarray(x).view(dtype.storage), expr="bits({0}, {Y}(0))",
    types=Types.FREE,
)
# relu's derivative asks the answer, so that what it was computed from need not be kept
relu = elementwise(
    "relu", ref=positive_part,
    expr="select({0} < {T}(0), {T}(0), {0})", vjp=(lambda g, y, x: where(le(y, 0), 0, g),),
    exact=True, chooses=True,
)
stop_gradient = elementwise("stop_gradient", ref=lambda x: x, expr="{0}", exact=True)
copy = elementwise(
    "copy", ref=lambda x: np.array(x, order="K"), expr="{0}", vjp=(lambda g, y, x: g,),
    grad_name="CloneBackward0", exact=True,
)
# values that a program for a GPU hands to the CPU, or takes from there; see Trace.on_host
to_host, to_device = [
    elementwise(
        name, ref=lambda x: np.array(x, order="K"), expr="{0}", vjp=(back,),
        grad_name="ToCopyBackward0", exact=True,
    )
    for name, back in (("to_host", lambda g, y, x: to_device(g)),
                       ("to_device", lambda g, y, x: to_host(g)))
]

# ---- arithmetic
add = elementwise(
    "add", ref=np.add, expr="{0} + {1}", operator="__add__", commutative=True,
    vjp=(lambda g, y, a, b: g, lambda g, y, a, b: g),
)
sub = elementwise(
    "sub", ref=np.subtract, expr="{0} - {1}", operator="__sub__",
    vjp=(lambda g, y, a, b: g, lambda g, y, a, b: -g),
    refused=Refused(
        bools="Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` "
        "or `logical_xor()` operator instead.",
        one_bool="Subtraction, the `-` operator, with a bool tensor is not supported. If you are "
        "trying to invert a mask, use the `~` or `logical_not()` operator instead.",
    ),
)
mul = elementwise(
    "mul", ref=np.multiply, expr="{0} * {1}",
    public=("mul", "multiply"), operator="__mul__", commutative=True,
    op_math=(0, 1),  # a * b is b * a
    vjp=(lambda g, y, a, b: g * b, lambda g, y, a, b: g * a),
)
div = elementwise(
    "div", ref=np.true_divide, expr="{0} / {1}", types=FLOAT, cost=DIVIDE, domain=(0.5, 3),
    operator="__truediv__", op_math=(0, 1),  # a / b is written with a number first, too
    vjp=(lambda g, y, a, b: g / b, lambda g, y, a, b: -g * (a / b / b)),  # y may change
)
floor_div = elementwise(
    "floor_div", ref=np.floor_divide, expr="floor_div({0}, {1})", cost=DIVIDE,
    public=("floor_divide",), operator="__floordiv__", refused=NUMBERS, op_math=(1,), divides=True,
    vjp=(lambda g, y, a, b: zeros_like(g, a), lambda g, y, a, b: zeros_like(g, b)),
)


def _modulo(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a - b * floor(a / b); a zero has the sign of `a`, as in torch, and not that of `b`."""
    y = np.remainder(a, b)
    return np.where(y == 0, np.copysign(y, a), y) if y.dtype.kind == "f" else y


remainder = elementwise(
    "remainder", ref=_modulo, expr="remainder({0}, {1})", cost=DIVIDE, domain=(0.5, 3),
    public=("remainder",), operator="__mod__", refused=NUMBERS, divides=True,
    vjp=(lambda g, y, a, b: g, lambda g, y, a, b: -g * stop_gradient(floor_div(a, b))),
)
fmod = elementwise(
    "fmod", ref=np.fmod, expr="fmod({0}, {1})", cost=DIVIDE, domain=(0.5, 3),
    public=("fmod",), refused=NUMBERS, divides=True,
    vjp=(lambda g, y, a, b: g, lambda g, y, a, b: -g * stop_gradient(trunc(a / b))),
)


# torch's formulas for the exponents that most powers have; ir/rules/algebra.py has them too
_POWERS: dict[float, Callable[..., Any]] = {
    1: np.copy, 2: lambda a: a * a, 3: lambda a: a * a * a, -1: lambda a: 1 / a,
    -2: lambda a: 1 / (a * a), 0.5: np.sqrt, -0.5: lambda a: 1 / np.sqrt(a),
}


def _power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    whole = np.ndim(b) or a.dtype.kind != "f"
    formula = None if whole else _POWERS.get(float(b))
    return np.power(a, b) if formula is None else formula(a)


pow = elementwise(
    "pow", ref=_power, expr="power({0}, {1})", cost=40 * TRANSCENDENTAL, domain=(0.5, 3),
    operator="__pow__", refused=NUMBERS,
    # where b is 0 the branch not taken is differentiated too, and forward: no negative power in
    # it, and of NaN nothing
    vjp=(lambda g, y, a, b: where(
            eq(b, 0), 0, where(eq(b, 0), 0, g) * b * a ** where(eq(b, 0), 1, b - 1)),
         lambda g, y, a, b: g * where(logical_and(eq(a, 0), ge(b, 0)), 0, y * log(a))),
)
maximum = elementwise(
    "maximum", ref=np.maximum, expr="maximum({0}, {1})", exact=True, chooses=True,
    public=("maximum",), beside_number="at_least({0}, {1})", commutative=True,
    vjp=(lambda g, y, a, b: where(eq(a, b), g * 0.5, where(a < b, 0, g)),
         lambda g, y, a, b: where(eq(a, b), g * 0.5, where(b < a, 0, g))),
)
minimum = elementwise(
    "minimum", ref=np.minimum, expr="minimum({0}, {1})", exact=True, chooses=True,
    public=("minimum",), beside_number="at_most({0}, {1})", commutative=True,
    vjp=(lambda g, y, a, b: where(eq(a, b), g * 0.5, where(a > b, 0, g)),
         lambda g, y, a, b: where(eq(a, b), g * 0.5, where(b > a, 0, g))),
)


def _over(x: Any, square: Any) -> Any:
    """x / square, and 0 at the origin, where the derivative has no limit."""
    return where(eq(square, 0), 0, x / square)


atan2 = elementwise(
    "atan2", ref=np.arctan2, expr="atan2({0}, {1})", types=FLOAT, cost=TRANSCENDENTAL,
    public=("atan2", "arctan2"), domain=(0.5, 3),
    vjp=(lambda g, y, a, b: g * _over(b, a * a + b * b),
         lambda g, y, a, b: g * _over(-a, a * a + b * b)),
)
hypot = elementwise(
    "hypot", ref=np.hypot, expr="hypot({0}, {1})", types=FLOAT, cost=TRANSCENDENTAL,
    public=("hypot",), refused=floats_only("hypot"),
    domain=(0.5, 3), vjp=(lambda g, y, a, b: g * (a / y), lambda g, y, a, b: g * (b / y)),
)
copysign = elementwise(
    "copysign", ref=np.copysign, expr="copysign({0}, {1})", types=FLOAT, exact=True,
    public=("copysign",),
    vjp=(lambda g, y, a, b: g * where(eq(a, 0), 0, y / a), lambda g, y, a, b: zeros_like(g, b)),
)
nextafter = elementwise(
    "nextafter", ref=np.nextafter, expr="nextafter({0}, {1})", types=FLOAT,
    refused=floats_only("nextafter"),
    vjp=(lambda g, y, a, b: where(eq(a, b), 0, g), lambda g, y, a, b: zeros_like(g, b)),
)
gcd = elementwise(
    "gcd", ref=np.gcd, expr="gcd({0}, {1})", cost=TRANSCENDENTAL, refused=INTEGERS,
    public=("gcd",),
)
neg = elementwise(
    "neg", ref=np.negative, expr="-{0}", vjp=(lambda g, y, x: -g,), exact=True, operator="__neg__",
    public=("neg", "negative"),
    refused=Refused(
        bools="Negation, the `-` operator, on a bool tensor is not supported. If you are trying to "
        "invert a mask, use the `~` or `logical_not()` operator instead."
    ),
)
abs = elementwise(
    "abs", ref=np.abs, expr="absolute({0})", vjp=(lambda g, y, x: g * sign(x),), exact=True,
    public=("abs", "absolute"), operator="__abs__", refused=NUMBERS,
)
reciprocal = elementwise(
    "reciprocal", ref=lambda x: 1 / x, expr="{T}(1) / {0}", types=FLOAT, cost=DIVIDE,
    public=("reciprocal",), domain=(0.5, 3), vjp=(lambda g, y, x: -g * y * y,),
)

# ---- steps: the gradient is zero wherever there is one
_flat = (lambda g, y, x: zeros_like(g, x),)
sign = elementwise(
    "sign", ref=lambda x: np.where(x != x, x.dtype.type(0), np.sign(x)), expr="sign({0})",
    vjp=_flat, exact=True,
)


def _step(name: str, ref: Callable[..., Any], expr: str = "", public: str = "") -> OpDef:
    return elementwise(name, ref=ref, expr=expr or f"{name}({{0}})", vjp=_flat, exact=True,
                       refused=NUMBERS, public=tuple(public.split()))


floor = _step("floor", np.floor, public="floor")
ceil = _step("ceil", np.ceil, public="ceil")
round = _step("round", lambda x: np.rint(x) if x.dtype.kind == "f" else x.copy(), "rint({0})")
trunc = _step("trunc", np.trunc, public="trunc fix")
# exponent(x, dtype=int32): e of x = m * 2**e with 0.5 <= |m| < 1; 0 for zero, infinities and NaN
exponent = elementwise(
    "exponent", ref=lambda x, *, dtype: np.where(np.isfinite(x), np.frexp(x)[1], 0),
    expr="exponent({0})", types=Types.FREE,
)


def _ldexp(x: np.ndarray, k: np.ndarray) -> np.ndarray:
    whole = np.clip(np.where(k != k, 0, k), -4000, 4000).astype(np.int32)
    return np.where(k != k, k, np.ldexp(x, whole))


# x * 2**k for whole k, rounded once, whereas 2**k alone may be out of range
ldexp = elementwise(
    "ldexp", ref=_ldexp, expr="ldexp({0}, {1})", types=FLOAT, cost=DIVIDE,
    vjp=(lambda g, y, x, k: ldexp(g, k), None),
)


# ---- functions of one real number
# `scipy.special` is loaded when it is first used: it would be a third of the time to import us
def _expit(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))
    return chosen(x < 0, small, np.ones((), x.dtype)) / (1 + small)


def _function(
    name: str, ref: Callable[..., Any], rule: Rule, domain: tuple[float, float] = (-3.0, 3.0),
    expr: str = "", cost: int = TRANSCENDENTAL, also: tuple[str, ...] = (),
) -> OpDef:
    return elementwise(name, ref=ref, expr=expr or f"{name}({{0}})", types=FLOAT, cost=cost,
                       domain=domain, vjp=(rule,), public=(name, *also))


MORE = 2 * TRANSCENDENTAL  # of functions with longer polynomials
exp = _function("exp", np.exp, lambda g, y, x: g * y)
expm1 = _function("expm1", np.expm1, lambda g, y, x: g * (y + 1))
log = _function("log", np.log, lambda g, y, x: g / x, (0.2, 3), cost=MORE)
log2 = _function("log2", np.log2, lambda g, y, x: g / (x * np.log(2)), (0.2, 3), cost=MORE)
log10 = _function("log10", np.log10, lambda g, y, x: g / (x * np.log(10)), (0.2, 3), cost=MORE)
log1p = _function("log1p", np.log1p, lambda g, y, x: g / (1 + x), (-0.7, 3), cost=MORE)
sqrt = _function("sqrt", np.sqrt, lambda g, y, x: g / (2 * y), (0.2, 3), cost=DIVIDE)
rsqrt = _function("rsqrt", lambda x: 1 / np.sqrt(x), lambda g, y, x: -0.5 * g * y * y * y, (0.2, 3),
                  "{T}(1) / sqrt({0})", DIVIDE)
sin = _function("sin", np.sin, lambda g, y, x: g * cos(x), cost=MORE)
cos = _function("cos", np.cos, lambda g, y, x: -g * sin(x), cost=MORE)
tan = _function("tan", np.tan, lambda g, y, x: g * (1 + y * y), (-1.2, 1.2), cost=MORE)
asin = _function("asin", np.arcsin, lambda g, y, x: g * rsqrt(1 - x * x), (-0.9, 0.9),
                 also=("arcsin",))
acos = _function("acos", np.arccos, lambda g, y, x: -g * rsqrt(1 - x * x), (-0.9, 0.9),
                 also=("arccos",))
atan = _function("atan", np.arctan, lambda g, y, x: g / (1 + x * x), also=("arctan",))
sinh = _function("sinh", np.sinh, lambda g, y, x: g * cosh(x))
cosh = _function("cosh", np.cosh, lambda g, y, x: g * sinh(x))
asinh = _function("asinh", np.arcsinh, lambda g, y, x: g * rsqrt(x * x + 1), also=("arcsinh",))
acosh = _function("acosh", np.arccosh, lambda g, y, x: g * rsqrt(x * x - 1), (1.2, 3),
                  also=("arccosh",))
atanh = _function("atanh", np.arctanh, lambda g, y, x: g / (1 - x * x), (-0.9, 0.9),
                  also=("arctanh",))
# tanh, sigmoid and erf stay primitive: their composite forms cancel or overflow
tanh = _function("tanh", np.tanh, lambda g, y, x: g * (1 - y * y))
sigmoid = _function("sigmoid", _expit, lambda g, y, x: g * y * (1 - y), also=("special.expit",))
erf = _function("erf", lambda x: scipy.special.erf(x), cost=3 * TRANSCENDENTAL,
                rule=lambda g, y, x: g * exp(-x * x) * (2 / np.pi**0.5))
erfc = _function("erfc", lambda x: scipy.special.erfc(x), cost=5 * TRANSCENDENTAL,
                 rule=lambda g, y, x: -g * exp(-x * x) * (2 / np.pi**0.5))


# ---- checks: a kernel keeps the least and the greatest index that it meets, and reports one that
# is out of range when its loops are done; until then a harmless one stands in
def _checked(index: np.ndarray, *, size: int, dim: int) -> np.ndarray:
    least, most = index.min(initial=0), index.max(initial=-1)
    if most >= size or least < (0 if dim < 0 else -size):
        raise out_of_bounds(int(most if most >= size else least), size, dim)
    return np.where(index < 0, index + size, index)


# check_index(i, size=, dim=): i counted from the front; one out of range ends the program with an
# IndexError. A negative dim stands for positions that may not be negative (see faults.py)
check_index = elementwise(
    "check_index", ref=_checked, expr="within({0}, {size}, {dim})", check=Check()
)


def _labelled(i: np.ndarray, *, size: int, ignore: int, dtype: DType) -> np.ndarray:
    missing = i == ignore
    labels = _checked(np.where(missing, 0, i), size=size, dim=TARGET)
    return np.where(missing, -1, labels).astype(dtype.storage)


# check_label(i, size=, ignore=, dtype=): the class that i names, or -1 where it is `ignore`; one
# out of range ends the program with an IndexError. A narrow dtype suits what is compared next to
# float32 numbers: vectors have as many of them as of the widest type.
check_label = elementwise(
    "check_label",
    ref=_labelled,
    expr=f"select({{0}} == {{ignore}}, {{T}}(-1), within({{0}}, {{size}}, {TARGET}))",
    check=Check("select({0} == {ignore}, {T}(0), {0})", dim=TARGET),
)


def _divisor(x: np.ndarray) -> np.ndarray:
    if not np.all(x):
        raise division_by_zero()
    return x


# check_divisor(x): integers that others are divided by; a zero ends the program with an error
check_divisor = elementwise(
    "check_divisor", ref=_divisor, expr="select({0} == {T}(0), {T}(1), {0})",
    check=Check("select({0} == {T}(0), i8(1), i8(0))", size=1, dim=DIVISOR, dtype=int64),
)


def may_fail(op: OpDef, params: dict[str, Any]) -> bool:
    """Whether computing it may end the program with an error."""
    if op.check is not None or params.get("check") is not None:
        return True
    return bool(op.bodies) and any(params[body].checks for body in op.bodies)
