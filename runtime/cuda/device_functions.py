"""The builtins of kernels on a GPU: device functions in plain Python over `math` and libdevice.

NaN, infinities and integer overflow come out as on the CPU. What depends on the types of operands
is chosen when a kernel is compiled. Imported when one is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core import types

from . import numba_cuda, samplers, special_functions as special
from .builtins import KINDS, NAMES
from .device_memory import MEMORY, bfloat, half, widened_bfloat, widened_half
from .numba_cuda import device

cuda = numba_cuda.cuda()
libdevice, extending = cuda.libdevice, cuda.extending



def signed(kind: Any) -> bool:
    return bool(getattr(kind, "signed", False))


def by_type(choose: Callable[..., Any], arity: int = 1) -> Any:
    """A builtin whose meaning `choose` gives for the types of its operands, as Python."""
    names = ", ".join("xyz"[:arity])
    scope: dict[str, Any] = {}
    exec(f"def word({names}):\n    raise NotImplementedError", scope)
    exec(f"def chosen({names}):\n    return choose({names})", {"choose": choose}, scope)
    extending.overload(scope["word"])(scope["chosen"])
    return scope["word"]


def of_libdevice(name: str, arity: int = 1, whole: bool = False) -> Any:
    """The function of libdevice; of float32 it is the one whose name ends in f. `whole`: an integer
    is its own.
    """
    one = {types.float32: getattr(libdevice, f"{name}f"), types.float64: getattr(libdevice, name)}

    def of_one(x: Any) -> Any:
        if x not in one:
            return (lambda x: x) if whole else None
        function = one[x]
        return lambda x: function(x)

    def of_two(x: Any, y: Any) -> Any:
        function = one[x]
        return lambda x, y: function(x, y)

    return by_type(of_one if arity == 1 else of_two, arity)


def wide(function: Callable[..., float], arity: int = 1) -> Any:
    """A function of float64 numbers, rounded to the type of the last one."""
    inner = device(function)
    if arity == 1:
        return device(lambda x: type(x)(inner(np.float64(x))))
    return device(lambda x, y: type(y)(inner(np.float64(x), np.float64(y))))


def by_kind(of_floats: Any, of_integers: Any) -> Any:
    """One function of two floats and another of two integers."""
    return by_type(
        lambda x, y: (lambda x, y: of_floats(x, y)) if isinstance(x, types.Float)
        else (lambda x, y: of_integers(x, y)), 2,
    )


# ---- choosing and comparing
@device
def maximum(a: Any, b: Any) -> Any:
    return a if a != a or a > b else b


@device
def minimum(a: Any, b: Any) -> Any:
    return a if a != a or a < b else b


# ---- from type to type
def _cast(x: Any, y: Any) -> Any:
    if isinstance(y, types.Boolean):
        return lambda x, y: x != 0
    if not isinstance(x, types.Float) or isinstance(y, types.Float):
        return lambda x, y: type(y)(x)
    half = y.bitwidth <= 32 and (signed(y) or x is types.float32)
    to, least = (np.int32, -(2.0**31)) if half else (np.int64, -(2.0**63))
    lowest, most = int(least), -least

    def cast(x, y):  # Numba compares annotations, too
        whole = to(x) if x >= least and x < most else to(lowest)
        return type(y)(whole)

    return cast


def _bits(x: Any, y: Any) -> Any:
    pairs = {
        (types.float32, types.int32): lambda x, y: libdevice.float_as_int(x),
        (types.float64, types.int64): lambda x, y: libdevice.double_as_longlong(x),
        (types.int32, types.float32): lambda x, y: libdevice.int_as_float(x),
        (types.int64, types.float64): lambda x, y: libdevice.longlong_as_double(x),
    }
    return pairs.get((x, y), lambda x, y: type(y)(x))


# ---- arithmetic
def _absolute(x: Any) -> Any:
    if isinstance(x, types.Float):
        return lambda x: magnitude(x)
    if isinstance(x, types.Boolean) or not signed(x):
        return lambda x: x
    return lambda x: type(x)(-x if x < 0 else x)


def _sign(x: Any) -> Any:
    if isinstance(x, types.Boolean) or isinstance(x, types.Integer) and not signed(x):
        return lambda x: type(x)(x > 0)
    return lambda x: type(x)(1) if x > 0 else type(x)(-1) if x < 0 else type(x)(0)


def _invert(x: Any) -> Any:
    if isinstance(x, types.Boolean):
        return lambda x: not x
    return lambda x: type(x)(~x)


def _shift(left: bool) -> Callable[..., Any]:
    """As torch has it: a distance outside the width of the type shifts everything out."""

    def choose(x: Any, y: Any) -> Any:
        width = x.bitwidth
        if left:
            return lambda x, y: type(x)(x << y) if 0 <= y < width else type(x)(0)
        return lambda x, y: type(x)(x >> (y if 0 <= y < width else width - 1))

    def unsigned(x: Any, y: Any) -> Any:
        width = x.bitwidth
        return lambda x, y: type(x)(x >> y) if 0 <= y < width else type(x)(0)

    return lambda x, y: choose(x, y) if left or signed(x) else unsigned(x, y)


@device
def _floor_div_whole(a: Any, b: Any) -> Any:
    if b == 0:
        return type(a)(0)
    if b == -1:  # the least number has no quotient
        return type(a)(-a)
    return type(a)(a // b)


@device
def _remainder_whole(a: Any, b: Any) -> Any:
    return type(a)(0) if b == 0 or b == -1 else type(a)(a % b)


@device
def _fmod_whole(a: Any, b: Any) -> Any:
    if b == 0 or b == -1:
        return type(a)(0)
    rest = a % b
    return type(a)(rest - b if rest != 0 and (a < 0) != (b < 0) else rest)


fmod_of_floats = of_libdevice("fmod", 2)


@device
def _remainder(a: Any, b: Any) -> Any:
    rest = fmod_of_floats(a, b)
    return rest + b if rest != 0 and (rest < 0) != (b < 0) else rest


@device
def _floor_div(a: Any, b: Any) -> Any:
    """As NumPy has it: the quotient that goes with `remainder`."""
    if b == 0:
        return a / b
    rest = fmod_of_floats(a, b)
    quotient = (a - rest) / b
    if rest != 0 and (rest < 0) != (b < 0):
        quotient -= type(a)(1)
    if quotient == 0:
        return copysign(type(a)(0), a / b)
    whole = floor(quotient)
    return whole + type(a)(1) if quotient - whole > type(a)(0.5) else whole


@device
def _power_whole(a: Any, b: Any) -> Any:
    product, base, left = np.int64(1), np.int64(a), np.int64(b)
    while left > 0:
        if left & 1:
            product *= base
        base *= base
        left >>= 1
    return product


@device
def gcd(a: Any, b: Any) -> Any:
    x, y = abs(np.int64(a)), abs(np.int64(b))
    while y:
        x, y = y, x % y
    return type(a)(x)


@device
def exponent(x: Any) -> Any:
    return np.int32(math.frexp(x)[1]) if math.isfinite(x) else np.int32(0)


@device
def ldexp(x: Any, k: Any) -> Any:
    by: Any = np.int32(min(max(k, -4000), 4000))
    return type(x)(k) if k != k else type(x)(math.ldexp(x, by))


@device
def sigmoid(x: Any) -> Any:
    return type(x)(1) / (type(x)(1) + exp(-x))


# ---- random bits: ir/ops/random.py
_ROUNDS = 10
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@device
def philox(seed: Any, position: Any) -> Any:
    key, at = np.uint64(seed), np.uint64(position)
    k0, k1, c0, c1 = key & _LOW, key >> _HALF, at & _LOW, at >> _HALF
    c2 = c3 = np.uint64(0)
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW
        c2, c3 = (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return np.int64(c0 | (c1 << _HALF))


_LIBDEVICE = {
    "exp": "exp", "log": "log", "tanh": "tanh", "expm1": "expm1", "log1p": "log1p",
    "log2": "log2", "log10": "log10", "sin": "sin", "cos": "cos", "tan": "tan", "asin": "asin",
    "acos": "acos", "atan": "atan", "sinh": "sinh", "cosh": "cosh", "asinh": "asinh",
    "acosh": "acosh", "atanh": "atanh", "erf": "erf", "erfc": "erfc", "lgamma": "lgamma",
    "erfinv": "erfinv", "erfcx": "erfcx", "ndtri": "normcdfinv", "bessel_j0": "j0",
    "bessel_j1": "j1",
}
exp, floor = of_libdevice("exp"), of_libdevice("floor", whole=True)
magnitude = of_libdevice("fabs")
copysign = of_libdevice("copysign", 2)

FUNCTIONS: dict[str, Any] = {
    **KINDS, **NAMES, "inf": math.inf, "nan": math.nan, "start": 0,
    "quotient": device(lambda a, b: a // b),
    "select": device(lambda condition, a, b: a if condition else b),
    "maximum": maximum, "minimum": minimum,
    "at_least": device(lambda x, y: type(x)(y) if x <= y else x),
    "at_most": device(lambda x, y: type(x)(y) if x >= y else x),
    "sum_up": device(lambda acc, x: acc + type(acc)(x)),
    "prod_up": device(lambda acc, x: acc * type(acc)(x)),
    "max_up": maximum, "min_up": minimum,
    "cast": by_type(_cast, 2), "bits": by_type(_bits, 2),
    "round_f2": device(lambda x: widened_half(half(x))),
    "round_bf": device(lambda x: widened_bfloat(bfloat(x))),
    "apart": device(lambda x, start: x),
    "absolute": by_type(_absolute), "sign": by_type(_sign), "invert": by_type(_invert),
    "shift_left": by_type(_shift(left=True), 2), "shift_right": by_type(_shift(left=False), 2),
    "floor_div": by_kind(_floor_div, _floor_div_whole),
    "remainder": by_kind(_remainder, _remainder_whole),
    "fmod": by_kind(fmod_of_floats, _fmod_whole),
    "power": by_kind(of_libdevice("pow", 2), _power_whole),
    "gcd": gcd, "copysign": copysign, "nextafter": of_libdevice("nextafter", 2),
    "exponent": exponent, "ldexp": ldexp, "hypot": of_libdevice("hypot", 2),
    "floor": floor, "sqrt": of_libdevice("sqrt", whole=True),
    "ceil": of_libdevice("ceil", whole=True), "trunc": of_libdevice("trunc", whole=True),
    "rint": of_libdevice("rint", whole=True),
    "sigmoid": sigmoid, "atan2": of_libdevice("atan2", 2),
    **{name: of_libdevice(function) for name, function in _LIBDEVICE.items()},
    "digamma": wide(special.digamma), "hurwitz": wide(special.hurwitz, 2),
    "igamma": wide(special.igamma, 2), "igammac": wide(special.igammac, 2),
    "bessel_i0": wide(special.bessel_i0), "bessel_i0e": wide(special.bessel_i0e),
    "bessel_i1": wide(special.bessel_i1), "bessel_i1e": wide(special.bessel_i1e),
    "philox": philox, **samplers.functions(philox),
    **MEMORY,
}
