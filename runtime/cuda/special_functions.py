"""The special functions that libdevice has not, of float64 numbers, as device functions.

Series where they converge fast, and asymptotic series or continued fractions elsewhere: DLMF 5.7,
5.11, 8.7, 8.9, 10.25, 10.40. Zeta is the CPU's own.
"""

from __future__ import annotations

import math
from types import FunctionType
from typing import Any

from ..cpu import special
from . import numba_cuda
from .numba_cuda import device

libdevice = numba_cuda.cuda().libdevice
# B(2k) / 2k, k = 1..7, of Stirling's series
_STIRLING = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)
_MOST_TERMS = 10_000


@device
def digamma(x: float) -> float:
    if x == 0.0:
        return math.copysign(math.inf, -x)
    y = 0.0
    if x < 0.0:
        if x == math.floor(x):
            return math.nan
        part = x - math.floor(x)
        y = -math.pi / math.tan(math.pi * part)
        x = 1.0 - x
    while x < 10.0:
        y -= 1.0 / x
        x += 1.0
    term, square = 1.0, 1.0 / (x * x)
    y += math.log(x) - 0.5 / x
    for k in range(7):
        term *= square
        y -= _STIRLING[k] * term
    return y


# ---- the incomplete gamma function
@device
def _front(a: float, x: float) -> float:
    """x**a exp(-x) / gamma(a + 1)"""
    return math.exp(a * math.log(x) - x - math.lgamma(a + 1.0))


@device
def _lower(a: float, x: float) -> float:
    """By its series."""
    term = total = 1.0
    for k in range(1, _MOST_TERMS):
        term *= x / (a + k)
        total += term
        if term <= 1e-17 * total:
            break
    return total * _front(a, x)


@device
def _upper(a: float, x: float) -> float:
    """By its continued fraction, from the front (Lentz's way)."""
    tiny = 1e-300
    b = x + 1.0 - a
    c, d = 1.0 / tiny, 1.0 / b
    total = d
    for k in range(1, _MOST_TERMS):
        by = -k * (k - a)
        b += 2.0
        d = by * d + b
        d = 1.0 / (tiny if math.fabs(d) < tiny else d)
        c = b + by / c
        c = tiny if math.fabs(c) < tiny else c
        total *= d * c
        if math.fabs(d * c - 1.0) < 1e-16:
            break
    return total * _front(a, x) * a


@device
def _special_case(a: float, x: float) -> float:
    """The lower function where no series is needed, else -1."""
    if not (a >= 0.0 and x >= 0.0) or (a == 0.0 and x == 0.0) or (math.isinf(a) and math.isinf(x)):
        return math.nan
    if x == 0.0 or math.isinf(a):
        return 0.0
    return 1.0 if a == 0.0 or math.isinf(x) else -1.0


@device
def igamma(a: float, x: float) -> float:
    case = _special_case(a, x)
    if not case == -1.0:
        return case
    return _lower(a, x) if x < a + 1.0 else 1.0 - _upper(a, x)


@device
def igammac(a: float, x: float) -> float:
    case = _special_case(a, x)
    if not case == -1.0:
        return 1.0 - case
    return 1.0 - _lower(a, x) if x < a + 1.0 else _upper(a, x)


# ---- Bessel functions
@device
def _scaled(order: float, x: float) -> float:
    """exp(-x) I(x) of order 0 or 1, x >= 0."""
    if x > 30.0:
        term = total = 1.0
        for k in range(1, 30):
            odd = 2.0 * k - 1.0
            new = -term * (4.0 * order * order - odd * odd) / (8.0 * k * x)
            if math.fabs(new) >= math.fabs(term):
                break
            term = new
            total += term
        return total / math.sqrt(2.0 * math.pi * x)
    quarter = 0.25 * x * x
    term = total = 1.0
    for k in range(1, 200):
        term *= quarter / (k * (k + order))
        total += term
        if term <= 1e-17 * total:
            break
    return total * math.exp(-x) * (0.5 * x if order == 1.0 else 1.0)


@device
def bessel_i0e(x: float) -> float:
    return _scaled(0.0, math.fabs(x))


@device
def bessel_i1e(x: float) -> float:
    return math.copysign(_scaled(1.0, math.fabs(x)), x)


@device
def bessel_i0(x: float) -> float:
    half = math.exp(0.5 * math.fabs(x))  # whose square may overflow where the result does not
    return _scaled(0.0, math.fabs(x)) * half * half


@device
def bessel_i1(x: float) -> float:
    half = math.exp(0.5 * math.fabs(x))
    return math.copysign(_scaled(1.0, math.fabs(x)) * half * half, x)


def on_device(function: Any, **names: Any) -> Any:
    """A function of the CPU's kernels, with other meanings of some names."""
    return device(FunctionType(function.__code__, {**function.__globals__, **names}))


_whole = device(lambda x: libdevice.floor(x))
hurwitz = on_device(special.hurwitz, _summed=device(special._summed), floor=_whole)
