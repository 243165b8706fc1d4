"""The error function and its family as straight LLVM code, like vector_math.py.

Largest errors in units of the last place (tests/test_vector_math.py): 1 for erf, 3 for erfc, 4 for
erfcx of positive numbers.
"""

from __future__ import annotations

from .real import Real
from .vector_math import reduced


def _near(x: Real) -> Real:
    """erf(x) for |x| <= 1"""
    z = x * x
    return x.fma(z.poly("erf"), x)


def erf(x: Real) -> Real:
    """Near zero a polynomial, from 1 on 1 - e**q with a polynomial q, by the sign of x."""
    size = abs(x)
    top = 6.0 if x.double else 4.0  # erf is 1 there
    n, less_one = reduced((size.at_most(top) - 1.0).poly("log_erfc"))
    far = 1.0 - (less_one + 1.0) * x.power_of_two(n)
    return _near(size).where(size < 1.0, far).with_sign_of(x)


def _scaled(x: Real) -> Real:
    """exp(x**2) erfc(x) for x >= 0: by 1 / (x + 1/2) and a polynomial in (x - k) / (x + k).

    Shepherd and Laframboise (1981), Chebyshev approximation of (1 + 2x) exp(x^2) erfc(x) in
    0 <= x < infinity.
    """
    k = 3.75 if x.double else 2.5
    size = x.at_most(1e30)
    return ((size - k) / (size + k)).poly("erfcx") / (x + 0.5)


def erfc(x: Real) -> Real:
    """1 - erf(x) near zero; else exp(-x**2) times what _scaled gives for |x|, and 2 minus that for
    negative numbers.
    """
    size = abs(x).at_most(28.0 if x.double else 11.0)  # erfc is zero there
    high, low = size.square()
    n, less_one = reduced(-high, -low)
    y = ((less_one + 1.0) * _scaled(size)).scaled(n)
    return (1.0 - _near(x)).where(size < 0.5, (2.0 - y).where(x < 0.0, y))


def erfcx(x: Real) -> Real:
    """exp(x**2) erfc(x): of negative numbers 2 exp(x**2) minus that of the positive ones."""
    size = abs(x)
    y = _scaled(size)
    high, low = size.at_most(28.0 if x.double else 11.0).square()
    n, less_one = reduced(high, low)
    grown = (less_one + 1.0).scaled(n)
    far = (grown + grown - y).where(x < 0.0, y)
    return (grown * (1.0 - _near(x))).where(size < 0.5, far)
