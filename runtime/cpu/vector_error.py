"""The error function and its family as straight LLVM code, like vector_math.py.

Largest errors in units of the last place (tests/test_vector_math.py): 1.3 for erf, 3 for
erfcx, 4 for erfc, erfinv and ndtri.
"""

from __future__ import annotations

import math

from .real import Real
from .vector_math import log, reduced


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


# ---- inverses, by w = -log(1 - erf(y)**2): Giles (2012), Approximating the erfinv function;
# the origins of the polynomials of w, sqrt(w) and 1 / sqrt(w), as in tests/coefficients.py
_ORIGINS = {False: (1.0, 3.2, 7.3), True: (1.0, 3.15, 5.6, 0.088)}
_ENDS = {False: (5.0, 4.2), True: (5.5, 4.0, 7.2)}


def _ratio(w: Real, tails: bool) -> Real:
    """erfinv(x) / x where 1 - x**2 = e**-w; `tails`: for w beyond 40"""
    w = w.at_most(760.0)
    s = w.sqrt()
    first, *ends = _ENDS[w.double]
    least, near, far, *farthest = _ORIGINS[w.double]
    t, factor = (s - far).where(s > ends[0], s - near), w.of(1.0)
    choices = [(s > ends[0], "erfinv_2")]
    if w.double and tails:
        last = s > ends[1]
        t, factor = (1.0 / s - farthest[0]).where(last, t), s.where(last, 1.0)
        choices.append((last, "erfinv_3"))
    low = w < first
    t = (w - least).where(low, t)
    return t.poly_by([*choices, (low, "erfinv_0")], "erfinv_1") * factor


def erfinv(x: Real) -> Real:
    """x times the ratio that belongs to (1 - x) (1 + x)."""
    size = abs(x)
    y = x * _ratio(-log((1.0 - size) * (1.0 + size)), False)
    return x.of(math.inf).with_sign_of(x).where(size.equals(1.0), y)


def ndtri(p: Real) -> Real:
    """sqrt 2 erfinv(2 p - 1), where 1 - (2 p - 1)**2 is 4 p (1 - p)."""
    y = (p + p - 1.0) * _ratio(-log(4.0 * p * (1.0 - p)), True)
    first, second = p.parts("root_two")
    y = y.fma(first, y * second)
    y = p.of(-math.inf).where(p.equals(0.0), y)
    return p.of(math.inf).where(p.equals(1.0), y)
