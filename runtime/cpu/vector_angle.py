"""Trigonometric functions and their inverses as straight LLVM code, like vector_math.py.

Largest errors in units of the last place (tests/test_vector_math.py): 1.7 for sin and cos, 2.6 for
asin, acos, atan and atan2, 4 for tan. Of large numbers sin, cos and tan are the C library's.
"""

from __future__ import annotations

import math
from typing import Any

from .rare import beyond
from .real import Real, fuses


# ---- x = n pi / 2 + r with |r| <= pi / 4, by three parts of pi / 2 (Cody and Waite, 1980)
def _quarters(x: Real) -> tuple[Any, Real, Real]:
    """n, r, and what rounding took from r; of a float by doubles."""
    wide = x.wide()
    first, second, third = wide.parts("half_pi")
    whole, n = wide.rounded(2 / math.pi)
    most = whole.fma(-first, wide)
    if not x.double:
        return x.b.trunc(n, x.int), whole.fma(-second, most).narrow(x), x.of(0.0)
    product, rest = whole.times(x.of(-second))
    r, lost = most.plus(product)
    return n, *r.plus_less(whole.fma(-third, rest + lost))


def _limit() -> float:
    """Up to here n times a part of pi / 2 is exact, or its rest is small in one rounding."""
    return 1e9 if fuses() else 1e6


def sine(r: Real, more: Real) -> Real:
    """sin(r + more)"""
    z = r * r
    return r + (r * z).fma(z.poly("sin"), more)


def cosine(r: Real, more: Real) -> Real:
    """cos(r + more)"""
    z = r * r
    return (1.0 - 0.5 * z) + (z * z).fma(z.poly("cos"), -(r * more))


def _turned(n: Any, y: Real) -> Real:
    """y, and -y where the second bit of n is set."""
    sign = y.b.shl(y.b.lshr(n, y.integer(1)), y.integer(y.int.width - 1))
    return y.from_bits(y.b.xor(y.bits(), sign))


def _odd(n: Any, x: Real) -> Any:
    return x.b.icmp_unsigned("!=", x.b.and_(n, x.integer(1)), x.integer(0))


def sin(x: Real) -> Real:
    """The sine or cosine of r, by the quarter of the circle."""
    n, *r = _quarters(x)
    y = _turned(n, cosine(*r).where(_odd(n, x), sine(*r)))
    return beyond(_limit(), x, x.where(x.equals(0.0), y), "sin")


def cos(x: Real) -> Real:
    """The sine a quarter further."""
    n, *r = _quarters(x)
    n = x.b.add(n, x.integer(1))
    return beyond(_limit(), x, _turned(n, cosine(*r).where(_odd(n, x), sine(*r))), "cos")


def tan(x: Real) -> Real:
    """The ratio of both; in an odd quarter minus its reciprocal."""
    n, *r = _quarters(x)
    s, c, odd = sine(*r), cosine(*r), _odd(n, x)
    y = c.where(odd, s) / (-s).where(odd, c)
    return beyond(_limit(), x, x.where(x.equals(0.0), y), "tan")


# ---- inverses
def _arcs(x: Real) -> tuple[Any, Real]:
    """Whether |x| <= 1/2, and the arc sine of |x| there; elsewhere of sqrt((1 - |x|) / 2), which
    is (pi / 2 - asin |x|) / 2.
    """
    size = abs(x)
    near = size < 0.5
    z = (x * x).where(near, (1.0 - size) * 0.5)
    s = size.where(near, z.sqrt())
    return near, (s * z).fma(z.poly("asin"), s)


def _half_pi(x: Real) -> tuple[float, float]:
    """pi / 2 as the next number of its type, and the rest."""
    return (math.pi / 2, 6.123233995736766e-17) if x.double else (
        1.5707963705062866, -4.371139000186241e-08
    )


def asin(x: Real) -> Real:
    """NaN beyond 1, by the square root."""
    near, y = _arcs(x)
    first, second = _half_pi(x)
    return y.where(near, first - (y + y - second)).with_sign_of(x)


def acos(x: Real) -> Real:
    """pi / 2 - asin(x); twice the arc of the square root for x > 1/2."""
    near, y = _arcs(x)
    first, second = _half_pi(x)
    negative = x < 0.0
    inner = first - ((-y).where(negative, y) - second)
    twice = y + y
    outer = (2.0 * first - (twice - 2.0 * second)).where(negative, twice)
    return inner.where(near, outer)


_EIGHTH = math.tan(math.pi / 8)


def _arc_of_ratio(y: Real, x: Real) -> Real:
    """atan(y / x) of numbers >= 0: of y / x up to tan(pi / 8), of -x / y from its reciprocal on,
    and between them of (y - x) / (y + x), with what is added then. 0 if both are.
    """
    low = x.b.not_(y > x * _EIGHTH)
    high = y * _EIGHTH > x
    above = y.where(low, (-x).where(high, y - x))
    below = x.where(low, y.where(high, y + x))
    t = above / x.of(1.0).where(below.equals(0.0), below)
    z = t * t
    arc = (t * z).fma(z.poly("atan"), t)
    first, second = _half_pi(x)
    half = x.of(1.0).where(high, 0.5)
    return arc.where(low, first * half + (second * half + arc))


def atan(x: Real) -> Real:
    """The arc of |x| by the sign of x."""
    return _arc_of_ratio(abs(x), x.of(1.0)).with_sign_of(x)


def atan2(y: Real, x: Real) -> Real:
    """The arc of |y| / |x|, or pi minus that for a negative x, by the sign of y."""
    a, b = abs(y), abs(x)
    most = a.where(a > b, b)
    bound = 2.0 ** (x.bias - 4)
    scale = x.of(2.0**-8).where(most > bound, x.of(2.0**64).where(most < 2.0**-56, 1.0))
    both = x.b.and_(a.equals(math.inf), b.equals(math.inf))
    arc = _arc_of_ratio(*((v * scale).where(x.b.not_(both), 1.0) for v in (a, b)))
    first, second = _half_pi(x)
    turned = 2.0 * first - (arc - 2.0 * second)
    nan = x.b.or_(x.is_nan(), y.is_nan())
    return x.of(math.nan).where(nan, turned.where(x.has_sign(), arc).with_sign_of(y))
