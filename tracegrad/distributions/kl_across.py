"""Divergences between distributions of different families.

The divergence is the cross entropy of q under p less the entropy of p. The cross entropy needs a
few means over p: of x, x**2, log(x), log(1 - x), exp(-x / s). Where values of p are outside of the
support of q, it is infinite.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tracegrad as torch

from .bernoulli import Bernoulli
from .beta import Beta
from .binomial import Binomial
from .continuous_bernoulli import ContinuousBernoulli
from .exponential import Exponential
from .gamma import Gamma
from .gumbel import Gumbel
from .kl_registry import register_kl
from .laplace import Laplace
from .normal import Normal
from .pareto import Pareto
from .poisson import Poisson
from .uniform import Uniform
from .utils import euler_constant


# ---- means over p
def _x_log_x(x: Any) -> Any:
    return torch.special.xlogy(x, x)


def _log_over(low: Any, high: Any) -> Any:
    """The mean of log(x), uniform between the bounds."""
    width = high - low
    return (_x_log_x(high) - _x_log_x(low) - width) / width


_LOG_X: dict[type, Callable[[Any], Any]] = {
    Beta: lambda p: torch.digamma(p.concentration1)
    - torch.digamma(p.concentration1 + p.concentration0),
    Exponential: lambda p: -p.rate.log() - euler_constant,
    Gamma: lambda p: torch.digamma(p.concentration) - p.rate.log(),
    Pareto: lambda p: p.scale.log() + p.alpha.reciprocal(),
    Uniform: lambda p: _log_over(p.low, p.high),
}

# the mean of exp(-(x - loc) / scale)
_EXP: dict[type, Callable[[Any, Any, Any], Any]] = {
    Exponential: lambda p, loc, scale: (loc / scale).exp() * p.rate * scale / (p.rate * scale + 1),
    Gamma: lambda p, loc, scale: (loc / scale).exp()
    * (1 + (p.rate * scale).reciprocal()).pow(-p.concentration),
    Normal: lambda p, loc, scale: torch.exp((loc - p.loc) / scale + 0.5 * (p.scale / scale).pow(2)),
    Uniform: lambda p, loc, scale: scale / (p.high - p.low)
    * (torch.exp((loc - p.low) / scale) - torch.exp((loc - p.high) / scale)),
}


def _of(table: dict[type, Any], p: Any) -> Any:
    """The row of the class of p."""
    return next(table[kind] for kind in type(p).__mro__ if kind in table)


# ---- cross entropies
def _under_bernoulli_rates(p: Any, q: Any) -> Any:
    """Of a Poisson q under a Bernoulli p: log(k!) is zero for both values."""
    return q.rate - p.probs * q.rate.log()


def _beta(p: Any, q: Any) -> Any:
    a, b = q.concentration1, q.concentration0
    norm = a.lgamma() + b.lgamma() - (a + b).lgamma()
    log_rest = _log_over(1 - p.high, 1 - p.low)
    return norm - (a - 1) * _of(_LOG_X, p)(p) - (b - 1) * log_rest


def _continuous_bernoulli(p: Any, q: Any) -> Any:
    return -p.mean * q.logits - torch.log1p(-q.probs) - q._log_norm()


def _exponential(p: Any, q: Any) -> Any:
    return q.rate * p.mean - q.rate.log()


def _gamma(p: Any, q: Any) -> Any:
    a = q.concentration
    return a.lgamma() - a * q.rate.log() - (a - 1) * _of(_LOG_X, p)(p) + q.rate * p.mean


def _gumbel(p: Any, q: Any) -> Any:
    return q.scale.log() + (p.mean - q.loc) / q.scale + _of(_EXP, p)(p, q.loc, q.scale)


def _laplace(p: Any, q: Any) -> Any:
    """By the mean of |x - loc| of normal x: Leone, Nelson and Nottingham, The folded normal
    distribution (1961).
    """
    away = p.loc - q.loc
    z = away / p.scale
    size = (
        math.sqrt(2 / math.pi) * p.scale * torch.exp(-0.5 * z.pow(2))
        + away * torch.erf(math.sqrt(0.5) * z)
    )
    return torch.log(2 * q.scale) + size / q.scale


def _normal(p: Any, q: Any) -> Any:
    square = p.variance + (p.mean - q.loc).pow(2)
    return 0.5 * math.log(2 * math.pi) + q.scale.log() + square / (2 * q.scale.pow(2))


def _pareto(p: Any, q: Any) -> Any:
    return (q.alpha + 1) * _of(_LOG_X, p)(p) - q.alpha.log() - q.alpha * q.scale.log()


def _uniform(p: Any, q: Any) -> Any:
    return (q.high - q.low).log()


# ---- where values of p are outside of the support of q
def _never(p: Any, q: Any) -> Any:
    return None


def _beyond_unit(p: Any, q: Any) -> Any:
    return (p.high > 1) | (p.low < 0)


def _below_zero(p: Any, q: Any) -> Any:
    return p.low < 0


def _unit_beyond(p: Any, q: Any) -> Any:
    return (q.low > 0) | (q.high < 1)


def _below_scale(p: Any, q: Any) -> Any:
    return p.low < q.scale


def _finite(cross_entropy: Callable, outside: Callable) -> Callable:
    def divergence(p: Any, q: Any) -> Any:
        where = outside(p, q)
        value = cross_entropy(p, q) - p.entropy()
        return value if where is None else torch.where(where, torch.inf, value)

    return divergence


def _of_pareto(cross_entropy: Callable, order: int) -> Callable:
    """Of a Pareto p whose tail is light enough to have the moment of this order."""

    def divergence(p: Any, q: Any) -> Any:
        heavy = p.alpha <= order
        alpha = torch.where(heavy, order + 1.0, p.alpha)
        light = Pareto(p.scale, alpha, validate_args=False)
        return torch.where(heavy, torch.inf, cross_entropy(light, q) - light.entropy())

    return divergence


def _infinite(p: Any, q: Any) -> Any:
    shape = torch.broadcast_shapes(p.batch_shape, q.batch_shape)
    like = p.mean
    return torch.full(shape, torch.inf, dtype=like.dtype, device=like.device)


_FINITE: dict[tuple[type, type], tuple[Callable, Callable]] = {
    (Bernoulli, Poisson): (_under_bernoulli_rates, _never),
    (Beta, ContinuousBernoulli): (_continuous_bernoulli, _never),
    (Beta, Exponential): (_exponential, _never),
    (Beta, Gamma): (_gamma, _never),
    (Beta, Normal): (_normal, _never),
    (Beta, Uniform): (_uniform, _unit_beyond),
    (ContinuousBernoulli, Exponential): (_exponential, _never),
    (ContinuousBernoulli, Normal): (_normal, _never),
    (ContinuousBernoulli, Uniform): (_uniform, _unit_beyond),
    (Exponential, Gamma): (_gamma, _never),
    (Exponential, Gumbel): (_gumbel, _never),
    (Exponential, Normal): (_normal, _never),
    (Gamma, Exponential): (_exponential, _never),
    (Gamma, Gumbel): (_gumbel, _never),
    (Gamma, Normal): (_normal, _never),
    (Gumbel, Normal): (_normal, _never),
    (Laplace, Normal): (_normal, _never),
    (Normal, Gumbel): (_gumbel, _never),
    (Normal, Laplace): (_laplace, _never),
    (Uniform, Beta): (_beta, _beyond_unit),
    (Uniform, ContinuousBernoulli): (_continuous_bernoulli, _beyond_unit),
    (Uniform, Exponential): (_exponential, _below_zero),
    (Uniform, Gamma): (_gamma, _below_zero),
    (Uniform, Gumbel): (_gumbel, _never),
    (Uniform, Normal): (_normal, _never),
    (Uniform, Pareto): (_pareto, _below_scale),
}
_UNIT, _POSITIVE = (Beta, ContinuousBernoulli, Uniform), (Exponential, Gamma)
_INFINITE: dict[type, tuple[type, ...]] = {
    Beta: (Pareto,),
    ContinuousBernoulli: (Pareto,),
    Exponential: (*_UNIT, Pareto),
    Gamma: (*_UNIT, Pareto),
    Gumbel: (*_UNIT, *_POSITIVE, Pareto),
    Laplace: (*_UNIT, *_POSITIVE, Pareto),
    Normal: (*_UNIT, *_POSITIVE, Pareto),
    Pareto: _UNIT,
    Poisson: (Bernoulli, Binomial),
}
for _pair, _rule in _FINITE.items():
    register_kl(*_pair)(_finite(*_rule))
register_kl(Pareto, Exponential)(_of_pareto(_exponential, 1))
register_kl(Pareto, Gamma)(_of_pareto(_gamma, 1))
register_kl(Pareto, Normal)(_of_pareto(_normal, 2))
for _p, _others in _INFINITE.items():
    for _q in _others:
        register_kl(_p, _q)(_infinite)
