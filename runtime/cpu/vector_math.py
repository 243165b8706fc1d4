"""Elementary functions as straight LLVM code, free of branches, so that loops over them vectorise.

Each takes a builder and a float or double value, as llvmlite has them, and gives the result's
value. NaN, infinities and subnormal numbers come out as IEEE 754 wants. Largest errors against a
result in higher precision, in units of the last place (tests/test_vector_math.py holds them to it):

                exp     log     tanh    sigmoid
    float32     1.5     1.5     2.5     3
    float64     1.5     1.5     3       3

Argument reduction for exp is Cody and Waite's; the coefficients of log are those of fdlibm's
e_log.c and e_logf.c, of tanh and of the float32 exp those of Moshier's Cephes library; the float64
exp is its Taylor polynomial.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from llvmlite import ir

# Sums and products are never regrouped: the small terms are there on purpose. Numba gives the flags
# of a fast kernel to what has none; these say nothing where they stand.
_SUM, _RATIO = ("arcp",), ("contract",)


class Real:
    """Arithmetic on one LLVM float type."""

    def __init__(self, builder: Any, like: Any):
        self.b, self.type = builder, like.type
        self.double = isinstance(like.type, ir.DoubleType)
        self.int = ir.IntType(64 if self.double else 32)
        self.mantissa = 52 if self.double else 23
        self.bias = 1023 if self.double else 127

    def const(self, value: float) -> Any:
        return ir.Constant(self.type, value)

    def integer(self, value: int) -> Any:
        return ir.Constant(self.int, value)

    def add(self, x: Any, y: Any) -> Any:
        return self.b.fadd(x, y, flags=_SUM)

    def sub(self, x: Any, y: Any) -> Any:
        return self.b.fsub(x, y, flags=_SUM)

    def mul(self, x: Any, y: Any) -> Any:
        return self.b.fmul(x, y, flags=_SUM)

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        """x * y + z, rounded once where the processor can: then in every loop and in its rest."""
        kind = ir.FunctionType(self.type, [self.type] * 3)
        fn = self.b.module.declare_intrinsic("llvm.fmuladd", [self.type], kind)
        return self.b.call(fn, [x, y, z])

    def div(self, x: Any, y: Any) -> Any:
        return self.b.fdiv(x, y, flags=_RATIO)

    def less(self, x: Any, y: Any) -> Any:
        return self.b.fcmp_ordered("<", x, y)

    def poly(self, x: Any, coefficients: Sequence[float]) -> Any:
        """Horner's rule, the highest power first."""
        y = self.const(coefficients[0])
        for c in coefficients[1:]:
            y = self.fma(y, x, self.const(c))
        return y

    def clamp(self, x: Any, low: float, high: float) -> Any:
        """x within [low, high]; NaN stays NaN."""
        x = self.b.select(self.less(x, self.const(low)), self.const(low), x)
        return self.b.select(self.less(self.const(high), x), self.const(high), x)

    def power_of_two(self, n: Any) -> Any:
        """2**n for an integer n in the normal range."""
        biased = self.b.add(n, self.integer(self.bias))
        return self.b.bitcast(self.b.shl(biased, self.integer(self.mantissa)), self.type)

    def magnitude(self, x: Any) -> Any:
        bits = self.b.and_(
            self.b.bitcast(x, self.int), self.integer((1 << (self.int.width - 1)) - 1)
        )
        return self.b.bitcast(bits, self.type)

    def with_sign_of(self, x: Any, y: Any) -> Any:
        """x >= 0 with the sign of y."""
        sign = self.b.and_(self.b.bitcast(y, self.int), self.integer(1 << (self.int.width - 1)))
        return self.b.bitcast(self.b.or_(self.b.bitcast(x, self.int), sign), self.type)


_EXP32 = (
    1.9875691500e-4,
    1.3981999507e-3,
    8.3334519073e-3,
    4.1665795894e-2,
    1.6666665459e-1,
    5.0000001201e-1,
)
_EXP64 = tuple(1 / math.factorial(k) for k in range(13, 1, -1))
_LN2 = {
    False: (0.693359375, -2.12194440e-4),
    True: (6.93145751953125e-1, 1.42860682030941723212e-6),
}


def exp(builder: Any, x: Any) -> Any:
    """e**x: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial in r, and 2**n in two steps for the
    subnormal ends.
    """
    f = Real(builder, x)
    limit = 750.0 if f.double else 110.0
    x = f.clamp(x, -limit, limit)
    shift = f.const(
        1.5 * 2.0**f.mantissa
    )  # adding it leaves the nearest integer in the lowest bits
    shifted = f.fma(x, f.const(math.log2(math.e)), shift)
    n = builder.sub(builder.bitcast(shifted, f.int), builder.bitcast(shift, f.int))
    whole = f.sub(shifted, shift)
    high, low = _LN2[f.double]
    r = f.fma(whole, f.const(-low), f.fma(whole, f.const(-high), x))
    p = f.poly(r, _EXP64 if f.double else _EXP32)
    y = f.add(f.fma(f.mul(p, r), r, r), f.const(1.0))
    half = builder.ashr(n, f.integer(1))
    return f.mul(f.mul(y, f.power_of_two(half)), f.power_of_two(builder.sub(n, half)))


_LOG32 = (0.24279078841, 0.28498786688, 0.40000972152, 0.66666662693)
_LOG64 = (1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01,
          2.222219843214978396e-01, 2.857142874366239149e-01, 3.999999999940941908e-01,
          6.666666666666735130e-01)
_LOG_LN2 = {
    False: (6.9313812256e-01, 9.0580006145e-06),
    True: (6.93147180369123816490e-01, 1.90821492927058770002e-10),
}


def log(builder: Any, x: Any) -> Any:
    """ln x: x = 2**k m with m near 1, and a polynomial in s = (m - 1) / (m + 1)."""
    f = Real(builder, x)
    tiny = f.const(2.0 ** (1 - f.bias))
    small = f.less(x, tiny)
    lifted = builder.select(
        small, f.mul(x, f.const(2.0**f.mantissa)), x
    )  # subnormal numbers made normal
    root_half = 0x3FE6A09E00000000 if f.double else 0x3F3504F3
    one = 0x3FF0000000000000 if f.double else 0x3F800000
    bits = builder.add(builder.bitcast(lifted, f.int), f.integer(one - root_half))
    k = builder.sub(builder.ashr(bits, f.integer(f.mantissa)), f.integer(f.bias))
    k = builder.sub(k, builder.select(small, f.integer(f.mantissa), f.integer(0)))
    m = builder.bitcast(
        builder.add(builder.and_(bits, f.integer((1 << f.mantissa) - 1)), f.integer(root_half)),
        f.type,
    )
    u = f.sub(m, f.const(1.0))
    s = f.div(u, f.add(f.const(2.0), u))
    z = f.mul(s, s)
    tail = f.mul(z, f.poly(z, _LOG64 if f.double else _LOG32))
    half_square = f.mul(f.mul(f.const(0.5), u), u)
    whole = builder.sitofp(k, f.type)
    high, low = _LOG_LN2[f.double]
    y = f.fma(s, f.add(half_square, tail), f.mul(whole, f.const(low)))
    y = f.fma(whole, f.const(high), f.add(f.sub(y, half_square), u))
    infinite = f.less(f.const(_largest(f.double)), x)
    y = builder.select(
        builder.or_(infinite, builder.fcmp_unordered("uno", x, x)), x, y
    )
    y = builder.select(
        builder.fcmp_ordered("==", x, f.const(0.0)), f.const(-math.inf), y
    )
    return builder.select(f.less(x, f.const(0.0)), f.const(math.nan), y)


def _largest(double: bool) -> float:
    return 1.7976931348623157e308 if double else 3.4028234663852886e38


_TANH32 = (
    -5.70498872745e-3,
    2.06390887954e-2,
    -5.37397155531e-2,
    1.33314422036e-1,
    -3.33332819422e-1,
)
_TANH_P = (-9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3)
_TANH_Q = (1.0, 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3)


def tanh(builder: Any, x: Any) -> Any:
    """Near zero a polynomial in x**2, elsewhere 1 - 2 / (e**2|x| + 1) with the sign of x."""
    f = Real(builder, x)
    size = f.magnitude(x)
    z = f.mul(x, x)
    ratio = f.div(f.poly(z, _TANH_P), f.poly(z, _TANH_Q)) if f.double else f.poly(z, _TANH32)
    near = f.fma(f.mul(ratio, z), x, x)
    grown = exp(builder, f.add(size, size))
    far = f.sub(f.const(1.0), f.div(f.const(2.0), f.add(grown, f.const(1.0))))
    # the sign of near is that of x, but for -0.0
    return f.with_sign_of(builder.select(f.less(size, f.const(0.625)), near, far), x)


def sigmoid(builder: Any, x: Any) -> Any:
    """1 / (1 + e**-x)"""
    f = Real(builder, x)
    one = f.const(1.0)
    return f.div(one, f.add(one, exp(builder, f.sub(f.const(-0.0), x))))
