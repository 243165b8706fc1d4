"""Powers and lengths as straight LLVM code, like vector_math.py: errors of at most 1.2 units of
the last place (tests/test_vector_math.py).

float32 is computed in float64. In float64 a logarithm has twice as many digits: sums of two
numbers, by the exact sums and products of Real.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir

from .real import Real
from .vector_math import growth, natural, reduced, split

Pair = tuple[Real, Real]


def _log2(x: Real) -> Pair:
    """log x / log 2 for 0 < x < infinity: x = 2**k m, s = (m - 1) / (m + 1), and of m it is
    2 / log 2 (s + s**3 / 3 + s**5 / 5 + ...).
    """
    k, u = split(x)
    below, lost = x.of(2.0).plus_less(u)
    inverse = 1.0 / below
    s = u * inverse
    product, rest = s.times(below)
    s2 = ((u - product) - rest - s * lost) * inverse
    z, z2 = s.times(s)
    z2 = z2 + 2.0 * s * s2
    third, third2 = x.parts("third")
    t, t2 = x.of(third).plus_less(z * z.poly("log_of_power"))
    w, w2 = z.times(t)
    w2 = w2 + (z * (t2 + third2) + z2 * t)
    factor, factor2 = x.parts("two_log2_e")
    a, a2 = s.times(x.of(factor))
    a2 = a2 + (s * factor2 + s2 * factor)
    b, b2 = a.times(w)
    b2 = b2 + (a * w2 + a2 * w)
    log_m, rest = a.plus_less(b)
    total, lost = x.whole(k).plus_less(log_m)
    return total.plus_less(lost + (rest + (a2 + b2)))


def _exp2(x: Real, more: Real) -> Real:
    """2**(x + more), a small one."""
    inside = abs(x) < 1100.0
    x, more = x.clamp(-1100.0, 1100.0), more.where(inside, 0.0)
    whole, n = x.rounded()
    first, second = x.parts("ln2")
    part = x - whole
    r = part.fma(first, part.fma(second, more * math.log(2)))
    return (growth(r) + 1.0).scaled(n)


def _of_size(x: Real, y: Real) -> Real:
    """x**y for 0 < x < infinity."""
    y = y.clamp(-(2.0**100), 2.0**100)  # beyond it the result is 0, 1 or infinity
    if not x.double:
        k, u = split(x.wide(), subnormal=False)
        n, less_one = reduced((y.wide() * natural(u.whole(k), u)).clamp(-200.0, 200.0))
        return ((less_one + 1.0) * u.power_of_two(n)).narrow(x)
    first, second = _log2(x)
    product, rest = first.times(y)
    return _exp2(product, rest + second * y)


def _whole(y: Real) -> tuple[Any, Any]:
    """Whether y is an integer, and whether it is an odd one."""
    b, size, unit = y.b, abs(y), 2.0**y.mantissa  # from here on all numbers are integers
    large = b.not_(size < unit)
    shifted = size + unit  # its lowest bit stands for 1
    whole = b.or_(large, (shifted - unit).equals(size))
    last = b.trunc(size.where(large, shifted).bits(), ir.IntType(1))
    return whole, b.and_(b.and_(last, whole), size < 2.0 * unit)


def power(x: Real, y: Real) -> Real:
    """x**y as IEEE 754 has it: e**(y log |x|), with a sign if x is negative and y odd."""
    b, size = x.b, abs(x)
    whole, odd = _whole(y)
    end = b.or_(size.equals(0.0), size.equals(math.inf))
    grows = b.xor(y < 0.0, size > 1.0)
    result = x.of(math.inf).where(grows, 0.0).where(end, _of_size(size, y))
    undefined = b.and_(b.and_(x < 0.0, b.not_(whole)), b.not_(end))
    undefined = b.or_(undefined, b.or_(x.is_nan(), y.is_nan()))
    result = x.of(math.nan).where(undefined, result)
    result = (-result).where(b.and_(x.has_sign(), odd), result)
    return x.of(1.0).where(b.or_(x.equals(1.0), y.equals(0.0)), result)


def hypot(x: Real, y: Real) -> Real:
    """sqrt(x**2 + y**2), scaled where squares are out of range; infinite if either is."""
    a, b = abs(x), abs(y)
    if x.double:
        most = a.where(a > b, b)
        large, small = most > 2.0**500, most < 2.0**-450
        scale = x.of(2.0**-600).where(large, x.of(2.0**600).where(small, 1.0))
        back = x.of(2.0**600).where(large, x.of(2.0**-600).where(small, 1.0))
        p, q = a * scale, b * scale
        length = p.fma(p, q * q).sqrt() * back
    else:
        p, q = a.wide(), b.wide()
        length = p.fma(p, q * q).sqrt().narrow(x)
    infinite = x.b.or_(a.equals(math.inf), b.equals(math.inf))
    return x.of(math.inf).where(infinite, length)
