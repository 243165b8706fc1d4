"""The samplers of kernels: the loops around the formulas of ir/sampling.py, for one number. The
formulas call Numba's functions of math and, for tails of distributions, SciPy's.
"""

from __future__ import annotations

import math
from types import FunctionType
from typing import Any

import numpy as np
from numba.extending import register_jitable

from ...ir import sampling
from .philox import philox, plain
from .special import external

ATTEMPTS, SMALL, FEWEST = sampling.ATTEMPTS, sampling.SMALL, sampling.FEWEST
_MASK, _UNIT = 2**52 - 1, 2.0**-52

gammainc, gammaincc = external("gammainc", 2), external("gammaincc", 2)
betainc, betaincc = external("betainc", 3), external("betaincc", 3)


@register_jitable
def choose(condition: Any, a: Any, b: Any) -> Any:
    return a if condition else b


@register_jitable
def tail_of_gamma(a: float, x: float, lower: bool) -> float:
    return gammainc(a, x) if lower else gammaincc(a, x)


@register_jitable
def tail_of_beta(a: float, b: float, x: float, lower: bool) -> float:
    return betainc(a, b, x) if lower else betaincc(a, b, x)


def _formula(function: Any) -> Any:
    return register_jitable(sampling.bound(
        function, choose=choose, gammaln=math.lgamma, acos=math.acos, cos=math.cos, exp=math.exp,
        floor=math.floor, log=math.log, log1p=math.log1p, magnitude=math.fabs, sqrt=math.sqrt,
        tail_of_gamma=tail_of_gamma, tail_of_beta=tail_of_beta,
    ))


log_gamma_attempt = _formula(sampling.log_gamma_attempt)
poisson_attempt = _formula(sampling.poisson_attempt)
binomial_attempt = _formula(sampling.binomial_attempt)
angle_attempt = _formula(sampling.angle_attempt)
gamma_slope_of = _formula(sampling.gamma_slope)
beta_slope_of = _formula(sampling.beta_slope)


@register_jitable
def uniform_of(word: int, k: int) -> float:
    """The k-th number in (0, 1) of the generator with this seed."""
    return ((philox(word, k) & _MASK) + 0.5) * _UNIT  # type: ignore[call-arg]


@register_jitable
def log_gamma_sample(word: int, a: float) -> float:
    if not a > 0.0:
        return math.nan if a != a else -math.inf
    few, y = a < 1.0, 0.0
    for k in range(0, 3 * ATTEMPTS, 3):
        u, v, w = uniform_of(word, k), uniform_of(word, k + 1), uniform_of(word, k + 2)
        y, accepted = log_gamma_attempt(u, v, w, a + 1.0 if few else a)
        if accepted:
            break
    return y + math.log(uniform_of(word, -1)) / a if few else y


@register_jitable
def poisson_sample(word: int, rate: float) -> float:
    if rate != rate:
        return rate
    y = 0.0
    if rate < SMALL:
        u = uniform_of(word, 0)
        probability = math.exp(-rate)
        total = probability
        while u > total and probability > FEWEST:
            y += 1.0
            probability *= rate / y
            total += probability
        return y
    for k in range(0, 3 * ATTEMPTS, 3):
        u, v, w = uniform_of(word, k), uniform_of(word, k + 1), uniform_of(word, k + 2)
        y, accepted = poisson_attempt(u, v, w, rate)
        if accepted:
            break
    return y


@register_jitable
def binomial_sample(word: int, n: float, p: float) -> float:
    if n != n or p != p:
        return math.nan
    if not (n > 0.0 and p > 0.0):
        return 0.0
    if p >= 1.0:
        return n
    q, y = 1.0 - p if p > 0.5 else p, 0.0
    if n * q < SMALL:
        u = uniform_of(word, 0)
        probability = math.exp(n * math.log1p(-q))
        total = probability
        while u > total and probability > FEWEST and y < n:
            y += 1.0
            probability *= q / (1.0 - q) * (n - y + 1.0) / y
            total += probability
    else:
        for k in range(0, 3 * ATTEMPTS, 3):
            u, v, w = uniform_of(word, k), uniform_of(word, k + 1), uniform_of(word, k + 2)
            y, accepted = binomial_attempt(u, v, w, n, q)
            if accepted:
                break
    return n - y if p > 0.5 else y


@register_jitable
def angle_sample(word: int, k: float) -> float:
    if not k > 0.0:
        return math.nan
    y = 0.0
    for j in range(0, 3 * ATTEMPTS, 3):
        u, v, w = uniform_of(word, j), uniform_of(word, j + 1), uniform_of(word, j + 2)
        y, accepted = angle_attempt(u, v, w, k)
        if accepted:
            break
    return y


@register_jitable
def gamma_slope(a: Any, x: Any) -> Any:
    return type(x)(gamma_slope_of(np.float64(a), np.float64(x)))


@register_jitable
def beta_slope(x: Any, a: Any, total: Any) -> Any:
    return type(x)(beta_slope_of(np.float64(x), np.float64(a), np.float64(total)))


# ---- the builtins: of kernels, and the same in plain Python, over the formulas of NumPy
def _plain(function: Any, **names: Any) -> Any:
    return FunctionType(function.__code__, {**globals(), **names})


_uniform_of = _plain(uniform_of, philox=plain)


def _row(function: Any) -> tuple[Any, Any]:
    return function, _plain(
        function, uniform_of=_uniform_of, log_gamma_attempt=sampling.log_gamma_attempt,
        poisson_attempt=sampling.poisson_attempt, binomial_attempt=sampling.binomial_attempt,
        angle_attempt=sampling.angle_attempt, gamma_slope_of=sampling.gamma_slope,
        beta_slope_of=sampling.beta_slope,
    )


ROWS = {
    function.__name__: _row(function)
    for function in (log_gamma_sample, poisson_sample, binomial_sample, angle_sample, gamma_slope,
                     beta_slope)
}
