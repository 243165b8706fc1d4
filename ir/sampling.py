"""The formulas of samplers: what one attempt of a rejection method proposes, and whether it is
accepted; and how samples depend on their parameters.

Each is one text for three rooms: NumPy's arrays (ir/ops/samplers.py), kernels of the CPU and of
GPUs. So it has no branches, and `bound` makes it anew with another meaning of the names `log`,
`choose`, ... All numbers are float64; `u`, `v` and `w` are uniform in (0, 1).
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi
from types import FunctionType
from typing import Any

import scipy
from numpy import (
    abs as magnitude,
    arccos as acos,
    cos,
    exp,
    floor,
    log,
    log1p,
    sqrt,
    where as choose,
)

ATTEMPTS = 100  # each is accepted more often than not
SMALL = 10.0  # below this mean, counts are found by adding up probabilities
FEWEST = 1e-20  # a probability that is not added to others


def gammaln(x: Any) -> Any:
    return scipy.special.gammaln(x)


def tail_of_gamma(a: Any, x: Any, lower: Any) -> Any:
    return choose(lower, scipy.special.gammainc(a, x), scipy.special.gammaincc(a, x))


def tail_of_beta(a: Any, b: Any, x: Any, lower: Any) -> Any:
    return choose(lower, scipy.special.betainc(a, b, x), scipy.special.betaincc(a, b, x))


def bound(function: Callable[..., Any], **names: Any) -> Any:
    """The formula with these meanings of its names."""
    return FunctionType(function.__code__, {**globals(), **names}, function.__name__)


def log_gamma_attempt(u: Any, v: Any, w: Any, a: Any) -> Any:
    """The logarithm of a number of the gamma distribution with a >= 1. Marsaglia and Tsang, A
    simple method for generating gamma variables (2000).
    """
    d = a - 1.0 / 3.0
    x = sqrt(-2.0 * log(u)) * cos(2.0 * pi * v)
    root = 1.0 + x / sqrt(9.0 * d)
    positive = root > 0.0
    log_cube = 3.0 * log(choose(positive, root, 1.0))
    accepted = positive & (log(w) < 0.5 * x * x + d * (1.0 - root * root * root + log_cube))
    return log(d) + log_cube, accepted


def poisson_attempt(u: Any, v: Any, w: Any, rate: Any) -> Any:
    """A count of the rate >= 10. Hoermann, The transformed rejection method for generating Poisson
    random variables (1993), algorithm PTRS.
    """
    b = 0.931 + 2.53 * sqrt(rate)
    a = -0.059 + 0.02483 * b
    alpha = 1.1239 + 1.1328 / (b - 3.4)
    u = u - 0.5
    us = 0.5 - magnitude(u)
    k = floor((2.0 * a / us + b) * u + rate + 0.43)
    inside = (us >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2.0))
    outside = (k < 0.0) | ((us < 0.013) & (v > us))
    k = choose(k < 0.0, 0.0, k)
    below = log(v * alpha / (a / (us * us) + b)) <= k * log(rate) - rate - gammaln(k + 1.0)
    return k, inside | (below & (outside == False))  # noqa: E712 -- of NumPy's bools, too


def binomial_attempt(u: Any, v: Any, w: Any, n: Any, p: Any) -> Any:
    """The successes of n trials with n p >= 10 and p <= 1/2. Hoermann, The generation of binomial
    random variates (1993), algorithm BTRS.
    """
    spread = sqrt(n * p * (1.0 - p))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * p
    u = u - 0.5
    us = 0.5 - magnitude(u)
    k = floor((2.0 * a / us + b) * u + n * p + 0.5)
    inside = (us >= 0.07) & (v <= 0.92 - 4.2 / b)
    outside = (k < 0.0) | (k > n)
    k = choose(k < 0.0, 0.0, choose(k > n, n, k))
    m = floor((n + 1.0) * p)
    most = gammaln(m + 1.0) + gammaln(n - m + 1.0)
    ratio = most - gammaln(k + 1.0) - gammaln(n - k + 1.0) + (k - m) * log(p / (1.0 - p))
    below = log(v * (2.83 + 5.1 / b) * spread / (a / (us * us) + b)) <= ratio
    return k, inside | (below & (outside == False))  # noqa: E712 -- of NumPy's bools, too


def angle_attempt(u: Any, v: Any, w: Any, k: Any) -> Any:
    """An angle of the distribution of von Mises around 0. Best and Fisher, Efficient simulation of
    the von Mises distribution (1979).
    """
    few = k < 1e-3  # the formula loses its digits there
    safe = choose(few, 1.0, k)
    tau = 1.0 + sqrt(1.0 + 4.0 * safe * safe)
    rho = (tau - sqrt(2.0 * tau)) / (2.0 * safe)
    r = choose(few, 1.0 / k + k, (1.0 + rho * rho) / (2.0 * rho))
    z = cos(pi * u)
    f = (1.0 + r * z) / (r + z)
    c = k * (r - f)
    accepted = (c * (2.0 - c) > v) | (log(c / v) + 1.0 - c >= 0.0)
    f = choose(f > 1.0, 1.0, choose(f < -1.0, -1.0, f))
    angle = acos(f)
    return choose(w < 0.5, -angle, angle), accepted


# ---- derivatives of samples by implicit differentiation, at a fixed probability: dx/da is minus
# the derivative of the distribution's function in a, over the density. The former is a difference
# of fourth order of the smaller of both tails, which SciPy gives to nearly all digits: the relative
# error is below 1e-8 (tests/test_samplers.py).
STEP = 1e-3


def gamma_slope(a: Any, x: Any) -> Any:
    """dx/da of a number x of the gamma distribution."""
    lower = x < a
    h = STEP * choose(a < 1.0, a, sqrt(a))
    near = tail_of_gamma(a + h, x, lower) - tail_of_gamma(a - h, x, lower)
    far = tail_of_gamma(a + 2.0 * h, x, lower) - tail_of_gamma(a - 2.0 * h, x, lower)
    change = (8.0 * near - far) / (12.0 * h)
    # log(x density): from 10 on by Stirling's series, so that large terms do not cancel
    big = a > 10.0
    s = choose(big, a, 10.0)
    m = (x - s) / s
    square = 1.0 / (s * s)
    series = (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0))) / s
    stirling = 0.5 * log(s / (2.0 * pi)) - s * (m - log1p(m)) - series
    log_density = choose(big, stirling, a * log(x) - x - gammaln(a))
    slope = choose(lower, -change, change) * x / exp(log_density)
    return choose(x > 0.0, slope, choose(x != x, x, 0.0))


def beta_slope(x: Any, a: Any, total: Any) -> Any:
    """dx/da / (1 - x) of a number x of the beta distribution with a and b = total - a, b fixed."""
    b = total - a
    lower = x * total < a
    h = STEP * choose(a < 1.0, a, sqrt(a))
    near = tail_of_beta(a + h, b, x, lower) - tail_of_beta(a - h, b, x, lower)
    far = tail_of_beta(a + 2.0 * h, b, x, lower) - tail_of_beta(a - 2.0 * h, b, x, lower)
    change = (8.0 * near - far) / (12.0 * h)
    norm = gammaln(a) + gammaln(b) - gammaln(total)
    log_density = (a - 1.0) * log(x) + b * log1p(-x) - norm
    slope = choose(lower, -change, change) / exp(log_density)
    return choose((x > 0.0) & (x < 1.0), slope, choose(x != x, x, 0.0))
