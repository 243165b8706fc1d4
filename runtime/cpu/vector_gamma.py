"""The logarithm of the gamma function and its derivative as straight LLVM code, like
vector_math.py.

float32 is computed in float64. Largest errors of positive numbers in units of the last place
(tests/test_vector_math.py): 1/2 in float32, 5 in float64. Below zero both have roots, next to which
the error is that of terms of about their size.
"""

from __future__ import annotations

import math
from typing import Any

from .real import Real
from .vector_angle import cosine, sine
from .vector_math import log

_FAR, _FAR_SLOPE = 8.0, 6.0  # from here on by the series for large numbers: DLMF 5.11


def _nearest(size: Real) -> Real:
    """The nearest whole number."""
    unit = 2.0**size.mantissa  # from here on all numbers are integers
    return (size + unit - unit).where(size < unit, size)


def _circle(distance: Real) -> tuple[Real, Real]:
    """The sine and the cosine of pi times |distance| <= 1/2."""
    size = abs(distance)
    inner = size < 0.25
    r = size.where(inner, 0.5 - size) * math.pi
    none = r.of(0.0)
    s, c = sine(r, none), cosine(r, none)
    return s.where(inner, c), c.where(inner, s)


def lgamma(x: Real) -> Real:
    """log |gamma(x)|"""
    return _lgamma(x.wide()).narrow(x)


def _lgamma(x: Real) -> Real:
    """Near 2 a polynomial; elsewhere by gamma(x + 1) = x gamma(x), from 8 on by Stirling's series,
    and below zero by gamma(x) gamma(-x) = -pi / (x sin(pi x)).
    """
    size = abs(x)
    nearest = _nearest(size)
    whole = size.of(2.0).where(x.b.and_(size > 1.25, size < 1.75), nearest)
    t = size - whole
    core = t * t.poly("lgamma")
    product = size.where(whole.equals(1.0), (size * (size + 1.0)).where(whole < 1.0, 1.0))
    for j in range(6):
        product = (product * (t + (2.0 + j))).where(whole > 2.5 + j, product)
    far = size > _FAR
    power = log(size.where(far, product))
    near = core + (-power).where(whole < 1.5, power)
    inverse = 1.0 / size
    series = (inverse * inverse).poly("stirling") * inverse
    large = (size - 0.5) * (power - 1.0) + (series + (math.log(2 * math.pi) - 1) / 2)
    positive = large.where(far, near)
    small = size < 0.5  # there the logarithm of x is in both terms
    ratio = _circle(size - nearest)[0] * (1 / math.pi)
    mirror = log((ratio / (size + 1.0)).where(small, ratio * size))
    y = (-mirror - core.where(small, positive)).where(x < 0.0, positive)
    pole = x.b.and_(x < 0.0, size.equals(nearest))
    return x.of(math.inf).where(x.b.or_(pole, size.equals(math.inf)), y)


def digamma(x: Real) -> Real:
    """The derivative of log gamma(x)"""
    return _digamma(x.wide()).narrow(x)


def _sum_of_inverses(y: Real, count: Real, start: Any) -> Real:
    """`start` + 1 / y + 1 / (y + 1) + ..., `count` terms, as one ratio."""
    above, below = start
    for j in range(5):
        term, more = y + float(j), count > j + 0.5
        above, below = (
            above.fma(term, below).where(more, above), (below * term).where(more, below)
        )
    return above / below


def _digamma(x: Real) -> Real:
    """On [1, 2] a polynomial times the distance from the root; elsewhere the sum of 1 / x by steps,
    from 6 on the series for large numbers, below zero by pi cot(pi x).
    """
    size, negative = abs(x), x.has_sign()
    below_one = size < 1.0
    steps = (_nearest(size.at_most(_FAR_SLOPE) - 0.5) - 1.0).clamp(0.0, 5.0)
    y = (size + 1.0).where(below_one, size - steps)
    first, second = x.parts("digamma_root")
    core = (y - first - second) * (y - 1.5).poly("digamma")
    # below zero the term -1 / size is in both
    start = (x.of(0.0).where(x.b.or_(negative, x.b.not_(below_one)), -1.0),
             size.where(below_one, 1.0))
    near = core + _sum_of_inverses(y, steps, start)
    inverse = 1.0 / size
    z = inverse * inverse
    large = log(size) - (z.fma(z.poly("digamma_far"), 0.5 * inverse))
    positive = near.where(size < _FAR_SLOPE, large)
    distance = size - _nearest(size)
    s, c = _circle(distance)
    slope = (c * math.pi / s).with_sign_of(distance)
    mirror = positive + (slope + x.of(0.0).where(below_one, inverse))
    mirror = x.of(math.nan).where(distance.equals(0.0), mirror)
    y = mirror.where(negative, positive)
    return x.of(math.inf).with_sign_of(-x).where(x.equals(0.0), y)
