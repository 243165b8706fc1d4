"""Elementary functions as straight LLVM code, free of branches, so that loops over them vectorise:
exponentials, logarithms, and what is made of them.

Each takes and gives a Real. NaN, infinities, signed zeros and subnormal numbers come out as IEEE
754 wants. Largest errors against a result in higher precision, in units of the last place
(tests/test_vector_math.py holds them to it): 1.2 for exp, exp2, log, log2 and log10, 2 for
log1p, expm1, cosh, sinh and asinh, 3 for sigmoid, tanh, acosh and atanh.

Argument reductions are those of Cody and Waite, Software Manual for the Elementary Functions
(1980); polynomials are of tests/coefficients.py.
"""

from __future__ import annotations

import math
from typing import Any

from .real import Real

_LOG2_E = 1 / math.log(2)


# ---- exponentials: x = n ln 2 + r with |r| <= ln 2 / 2
def growth(r: Real) -> Real:
    """e**r - 1"""
    return (r * r).fma(r.poly("exp"), r)


def reduced(x: Real, more: Real | None = None) -> tuple[Any, Real]:
    """n, and e**r - 1, for x + more where e**x is neither very small nor very large."""
    whole, n = x.rounded(_LOG2_E)
    first, second = x.parts("ln2")
    r = whole.fma(-second, whole.fma(-first, x))
    return n, growth(r if more is None else r + more)


def _limits(x: Real) -> tuple[float, float]:
    """Where e**x is 0, and where it is infinite.

    At the first, n is -2 bias, of which `scaled` makes 0 without subnormal numbers on the way. They
    are slow: a masked softmax took five times as long as another.
    """
    return -2 * x.bias * math.log(2), 710.0 if x.double else 89.0


def exp(x: Real) -> Real:
    """e**x"""
    n, less_one = reduced(x.clamp(*_limits(x)))
    return (less_one + 1.0).scaled(n)


def exp2(x: Real) -> Real:
    """2**x"""
    x = x.clamp(-2.0 * x.bias, 1030.0 if x.double else 130.0)
    whole, n = x.rounded()
    return (growth((x - whole) * math.log(2)) + 1.0).scaled(n)


def expm1(x: Real) -> Real:
    """e**x - 1 = 2**n (e**r - 1) + (2**n - 1), by halves since 2**n may be too large."""
    n, less_one = reduced(x.clamp(-50.0, _limits(x)[1]))
    half = x.power_of_two(x.b.sub(n, x.integer(1)))
    y = half.fma(less_one, half - 0.5)
    return x.where(abs(x) < 2.0**-60, y + y)  # subnormal numbers, and -0.0


def tanh(x: Real) -> Real:
    """1 - 2 / (e**2|x| + 1) with the sign of x, by e**2|x| - 1."""
    size = abs(x).at_most(25.0)
    grown = expm1(size + size)
    return (grown / (grown + 2.0)).with_sign_of(x)


def sigmoid(x: Real) -> Real:
    """1 / (1 + e**-x), by e**-|x|."""
    small = exp(-abs(x))
    return small.where(x < 0.0, 1.0) / (small + 1.0)


def _half_exp(x: Real) -> Real:
    """e**|x| / 2, which is finite wherever sinh is."""
    n, less_one = reduced(abs(x).at_most(_limits(x)[1] + 1.0))
    return (less_one + 1.0).scaled(x.b.sub(n, x.integer(1)))


def sinh(x: Real) -> Real:
    """(e**x - e**-x) / 2, and near zero a polynomial."""
    half = _half_exp(x)
    z = x * x
    near = abs(x)
    near = (near * z).fma(z.poly("sinh"), near)
    return near.where(near < 1.0, half - 0.25 / half).with_sign_of(x)


def cosh(x: Real) -> Real:
    """(e**x + e**-x) / 2"""
    half = _half_exp(x)
    return half + 0.25 / half


# ---- logarithms: x = 2**k (1 + u) with 1 + u within a factor of sqrt 2 of 1
def split(x: Real, subnormal: bool = True) -> tuple[Any, Real]:
    """k and u; anything for what is not positive or not finite. `subnormal`: if x may be so."""
    small = x < 2.0 ** (1 - x.bias)
    lifted = (x * 2.0**x.mantissa).where(small, x) if subnormal else x  # made normal
    root_half = 0x3FE6A09E00000000 if x.double else 0x3F3504F3
    one = 0x3FF0000000000000 if x.double else 0x3F800000
    b, digits = x.b, x.integer(x.mantissa)
    bits = b.add(lifted.bits(), x.integer(one - root_half))
    k = b.sub(b.ashr(bits, digits), x.integer(x.bias))
    if subnormal:
        k = b.sub(k, b.select(small, digits, x.integer(0)))
    fraction = b.and_(bits, x.integer((1 << x.mantissa) - 1))
    return k, x.from_bits(b.add(fraction, x.integer(root_half))) - 1.0


def _terms(u: Real) -> tuple[Real, Real]:
    """Two small terms a, b of log(1 + u) = u - a + b; they are u**2 / 2, and by s = u / (2 + u)
    and log(1 + u) = 2 atanh(s) what remains.
    """
    s = u / (u + 2.0)
    z = s * s
    square = 0.5 * u * u
    return square, s * (z.fma(z.poly("log"), square))


def natural(k: Real, u: Real) -> Real:
    """k ln 2 + log(1 + u)"""
    square, rest = _terms(u)
    first, second = u.parts("ln2")
    return k.fma(first, (k.fma(second, rest) - square) + u)


def _ends(x: Real, y: Real, zero: float = 0.0) -> Real:
    """y, and what a logarithm is of infinity, NaN, its `zero` and what is below."""
    inside = x.b.and_(x > zero, x < math.inf)
    below = x.of(math.nan).where(x < zero, x)
    return y.where(inside, x.of(-math.inf).where(x.equals(zero), below))


def log(x: Real) -> Real:
    """ln x"""
    k, u = split(x)
    return _ends(x, natural(x.whole(k), u))


def log1p(x: Real) -> Real:
    """ln(1 + x), where what 1 + x loses is added to u."""
    total, lost = x.of(1.0).plus(x)
    k, u = split(total)
    enough = x.b.select(total > 2.0**60, x.integer(-60), x.b.neg(k))
    u = lost.fma(x.power_of_two(enough), u)
    y = natural(x.whole(k), u)
    return x.where(abs(x) < 2.0**-60, _ends(x, y, -1.0))


def _other_base(x: Real, per_two: tuple[float, float], per_e: tuple[float, float]) -> Real:
    """k times the logarithm of 2, and the natural one times that of e, each in two parts."""
    k, u = split(x)
    square, rest = _terms(u)
    first = (u - square).front()
    second = (u - first) - square + rest
    low = (first + second) * per_e[1] + second * per_e[0]
    total, lost = (x.whole(k) * per_two[0]).plus(first * per_e[0])
    return _ends(x, total + (x.whole(k).fma(per_two[1], low) + lost))


def log2(x: Real) -> Real:
    """log x / log 2"""
    first, second = x.parts("log2_e")
    return _other_base(x, (1.0, 0.0), (first, second))


def log10(x: Real) -> Real:
    """log x / log 10"""
    (two, lower), (first, second) = x.parts("log10_2"), x.parts("log10_e")
    return _other_base(x, (two, lower), (first, second))


def _beyond(x: Real) -> tuple[Any, Real]:
    """Whether 1 makes no difference to x; there log(2 x) is a sum."""
    big = x > 2.0 ** (x.mantissa + 3)
    return big, x.of(math.log(2)).where(big, 0.0)


def asinh(x: Real) -> Real:
    """log(|x| + sqrt(x**2 + 1)) with the sign of x."""
    size = abs(x)
    big, more = _beyond(size)
    z = size * size
    inner = size + z / ((z + 1.0).sqrt() + 1.0)
    return (log1p(size.where(big, inner)) + more).with_sign_of(x)


def acosh(x: Real) -> Real:
    """log(x + sqrt(x**2 - 1))"""
    big, more = _beyond(x)
    t = x.of(math.nan).where(x < 1.0, x - 1.0)
    return log1p(x.where(big, t + (t * t + (t + t)).sqrt())) + more


def atanh(x: Real) -> Real:
    """log((1 + x) / (1 - x)) / 2 with the sign of x."""
    size = abs(x)
    return (0.5 * log1p((size + size) / (1.0 - size))).with_sign_of(x)
