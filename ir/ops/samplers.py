"""Samplers as primitives: a number of a distribution as a function of 64 random bits and of the
parameters.

A rejection method draws as many random numbers as it needs. Here they are those of the generator
with the element's own bits as its seed, so what an element becomes depends on nothing else, and the
same numbers come out eagerly and compiled, in any order and by any number of threads. All are
float64. The formulas are in sampling.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import sampling
from ..dtype import DType, float64, int64
from ..op import TRANSCENDENTAL, Kind, Law, OpDef, broadcast, register
from .implicit import implicit
from .random import random_bits
from .reduce import spread, sum as sum_
from .slopes import beta_slope, gamma_slope

_DIGITS = 52


def uniform_of(word: np.ndarray, k: int) -> np.ndarray:
    """The k-th number in (0, 1) of the generator that has each word as its seed."""
    bits = random_bits.ref(word, np.full(word.shape, k, np.int64))
    return ((bits & (1 << _DIGITS) - 1) + 0.5) * 2.0**-_DIGITS


def _by_rejection(attempt: Callable[..., Any], word: np.ndarray, where: np.ndarray,
                  *params: np.ndarray) -> np.ndarray:
    """What is accepted, for each element of `where`; all arrays are flat."""
    result, left = np.zeros(word.shape), np.flatnonzero(where)
    for k in range(0, 3 * sampling.ATTEMPTS, 3):
        if not left.size:
            break
        u, v, w = (uniform_of(word[left], k + j) for j in range(3))
        result[left], accepted = attempt(u, v, w, *(p[left] for p in params))
        left = left[~accepted]
    return result


def _log_gamma(word: np.ndarray, a: np.ndarray) -> np.ndarray:
    """A number x of a + 1, times u**(1 / a), is one of a: the logarithm of it, where a < 1."""
    few = a < 1.0
    y = _by_rejection(sampling.log_gamma_attempt, word, a > 0, np.where(few, a + 1.0, a))
    y = np.where(few, y + np.log(uniform_of(word, -1)) / np.where(a > 0, a, 1.0), y)
    return np.where(a > 0, y, np.where(a != a, np.nan, -np.inf))


def _added_up(u: np.ndarray, probability: np.ndarray, ratio: Callable[[int], np.ndarray],
              most: Any) -> np.ndarray:
    """The least count whose probability, and that of those below it, is u or more."""
    count, total, k = np.zeros(u.shape), probability, 0
    while (more := (u > total) & (probability > sampling.FEWEST) & (k < most)).any():
        k += 1
        probability = np.where(more, probability * ratio(k), probability)
        total = np.where(more, total + probability, total)
        count = np.where(more, k, count)
    return count


def _poisson(word: np.ndarray, rate: np.ndarray) -> np.ndarray:
    small = rate < sampling.SMALL
    low = np.where(small, rate, 0.0)
    few = _added_up(uniform_of(word, 0), np.exp(-low), lambda k: low / k, np.inf)
    many = _by_rejection(sampling.poisson_attempt, word, rate >= sampling.SMALL, rate)
    return np.where(rate == rate, np.where(small, few, many), np.nan)


def _binomial(word: np.ndarray, n: np.ndarray, p: np.ndarray) -> np.ndarray:
    valid = (n > 0) & (p > 0) & (p < 1)
    q = np.where(valid, np.where(p > 0.5, 1.0 - p, p), 0.5)
    count = np.where(valid, n, 0.0)
    small = count * q < sampling.SMALL
    low = np.where(small, count, 0.0)
    none = np.exp(low * np.log1p(-q))
    odds = q / (1.0 - q)
    few = _added_up(uniform_of(word, 0), none, lambda k: odds * (low - k + 1.0) / k, low)
    many = _by_rejection(sampling.binomial_attempt, word, valid & ~small, count, q)
    y = np.where(small, few, many)
    y = np.where(valid, np.where(p > 0.5, n - y, y), np.where((n > 0) & (p >= 1), n, 0.0))
    return np.where((n == n) & (p == p), y, np.nan)


def _angle(word: np.ndarray, k: np.ndarray) -> np.ndarray:
    y = _by_rejection(sampling.angle_attempt, word, k > 0, k)
    return np.where(k > 0, y, np.nan)


def _sampler(name: str, draw: Callable[..., np.ndarray], params: int) -> OpDef:
    """name(word, *params): float64, of int64 bits."""

    def value(word: np.ndarray, *arrays: np.ndarray) -> np.ndarray:
        word, *arrays = np.broadcast_arrays(word, *arrays)  # type: ignore[assignment]
        return draw(*(np.ravel(x) for x in (word, *arrays))).reshape(word.shape)

    def infer(*avals: Any) -> tuple[tuple[int, ...], DType]:
        return broadcast(name, *(a.shape for a in avals)), float64

    operands = ", ".join(f"{{{k}}}" for k in range(params + 1))
    law = Law(
        "the first is int64, the others are float64",
        lambda word, *others: word.dtype is int64 and all(x.dtype is float64 for x in others),
    )
    return register(OpDef(
        name, Kind.ELEMENTWISE, value, infer, expr=f"{name}({operands})",
        cost=60 * TRANSCENDENTAL, law=law,
    ))


log_gamma_sample = _sampler("log_gamma_sample", _log_gamma, 1)
poisson_sample = _sampler("poisson_sample", _poisson, 1)
binomial_sample = _sampler("binomial_sample", _binomial, 2)
angle_sample = _sampler("angle_sample", _angle, 1)


# ---- numbers that were drawn, with their derivatives in the parameters
# gamma_sample(y, a): y is a number of the gamma distribution of the concentration a
gamma_sample = implicit(
    "gamma_sample", (None, lambda g, y, x, a: g * gamma_slope(a, x)), "StandardGammaBackward0"
)


def _dirichlet_rule(g: Any, y: Any, x: Any, a: Any) -> Any:
    """x_i moves as a number of the beta distribution, the others keep their ratios."""
    last = (len(x.shape) - 1,)
    slope = beta_slope(x, a, spread(sum_(a, dims=last), x.shape, last))
    return slope * (g - spread(sum_(x * g, dims=last), x.shape, last))


# dirichlet_sample(y, a): y are vectors of the Dirichlet distribution of the concentrations a
dirichlet_sample = implicit("dirichlet_sample", (None, _dirichlet_rule), "DirichletBackward0")
