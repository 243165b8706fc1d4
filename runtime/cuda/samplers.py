"""The samplers of kernels as device functions: the CPU's loops (runtime/cpu/samplers.py) and the
formulas of ir/sampling.py, with the functions of the device.
"""

from __future__ import annotations

import math
from typing import Any

from ...ir import sampling
from ..cpu import samplers
from .numba_cuda import device
from .special_functions import igamma, igammac, on_device

_MOST_TERMS = 10_000


@device
def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function: DLMF 8.17.22, by the method of Lentz.
    """
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if math.fabs(d) > tiny else tiny)
    value = d
    for m in range(1, _MOST_TERMS):
        for odd in range(2):
            if odd:
                term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
            else:
                term = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
            d, c = 1.0 + term * d, 1.0 + term / c
            d = 1.0 / (d if math.fabs(d) > tiny else tiny)
            c = c if math.fabs(c) > tiny else tiny
            value *= c * d
        if math.fabs(c * d - 1.0) < 1e-16:
            break
    return value


@device
def _tail_of_beta(a: float, b: float, x: float, lower: bool) -> float:
    if not lower:
        a, b, x = b, a, 1.0 - x
    norm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(norm + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _fraction(a, b, x) / a
    return 1.0 - front * _fraction(b, a, 1.0 - x) / b


@device
def _tail_of_gamma(a: float, x: float, lower: bool) -> float:
    return igamma(a, x) if lower else igammac(a, x)


_choose = device(lambda condition, a, b: a if condition else b)


def _formula(function: Any) -> Any:
    return device(sampling.bound(
        function, choose=_choose, gammaln=math.lgamma, acos=math.acos, cos=math.cos, exp=math.exp,
        floor=math.floor, log=math.log, log1p=math.log1p, magnitude=math.fabs, sqrt=math.sqrt,
        tail_of_gamma=_tail_of_gamma, tail_of_beta=_tail_of_beta,
    ))


def functions(philox: Any) -> dict[str, Any]:
    """The samplers by name, over this random number generator."""
    names = {
        "uniform_of": on_device(samplers.uniform_of, philox=philox),
        "log_gamma_attempt": _formula(sampling.log_gamma_attempt),
        "poisson_attempt": _formula(sampling.poisson_attempt),
        "binomial_attempt": _formula(sampling.binomial_attempt),
        "angle_attempt": _formula(sampling.angle_attempt),
        "gamma_slope_of": _formula(sampling.gamma_slope),
        "beta_slope_of": _formula(sampling.beta_slope),
    }
    return {name: on_device(function, **names) for name, (function, _) in samplers.ROWS.items()}
