"""ContinuousBernoulli."""

from __future__ import annotations

import math
from typing import Any

import tracegrad as torch

from ..nn.functional import binary_cross_entropy_with_logits
from . import constraints
from .exp_family import ExponentialFamily
from .probs_or_logits import ProbsOrLogits
from .utils import broadcast_all, clamp_probs

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(ProbsOrLogits, ExponentialFamily):
    """Numbers in [0, 1] of density C(p) p**x (1 - p)**(1 - x). Loaiza-Ganem and Cunningham, The
    continuous Bernoulli: fixing a pervasive error in variational autoencoders (2019).

    Near p = 1/2, between `lims`, the formulas are replaced by Taylor's.

    >>> torch.distributions.ContinuousBernoulli(0.5).log_prob(torch.tensor(0.25))
    tensor(0.)
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True
    kept = ("_lims", "_parameter")
    _mean_carrier_measure = 0

    def __init__(self, probs: Any = None, logits: Any = None,
                 lims: tuple[float, float] = (0.499, 0.501), validate_args: bool | None = None):
        (value,) = broadcast_all(self._choose(probs, logits))
        if probs is not None:
            if validate_args and not self.arg_constraints["probs"].check(value).all():
                raise ValueError("The parameter probs has invalid values")
            value = clamp_probs(value)
        setattr(self, self._parameter, value)
        self._lims = lims
        super().__init__(value.size(), validate_args=validate_args)

    def _far(self) -> Any:
        """Where the formulas hold, not Taylor's."""
        return torch.max(self.probs <= self._lims[0], self.probs > self._lims[1])

    def _of(self, formula: Any, near: Any) -> Any:
        """`formula` of the probabilities where they are far from 1/2, else `near`."""
        far = self._far()
        return torch.where(far, formula(torch.where(far, self.probs, self._lims[0])), near)

    def _log_norm(self) -> Any:
        """log C(p), of C(p) = (log(1 - p) - log(p)) / (1 - 2 p)"""
        x = (self.probs - 0.5) ** 2
        return self._of(
            lambda p: torch.log(torch.abs(torch.log1p(-p) - torch.log(p)))
            - torch.log(torch.abs(1 - 2 * p)),
            math.log(2.0) + (4.0 / 3.0 + 104.0 / 45.0 * x) * x,
        )

    @property
    def mean(self) -> Any:
        x = self.probs - 0.5
        return self._of(
            lambda p: p / (2.0 * p - 1.0) + 1.0 / (torch.log1p(-p) - torch.log(p)),
            0.5 + (1.0 / 3.0 + 16.0 / 45.0 * x**2) * x,
        )

    @property
    def variance(self) -> Any:
        x = (self.probs - 0.5) ** 2
        return self._of(
            lambda p: p * (p - 1.0) / (1.0 - 2.0 * p) ** 2
            + 1.0 / (torch.log1p(-p) - torch.log(p)) ** 2,
            1.0 / 12.0 - (1.0 / 15.0 - 128.0 / 945.0 * x) * x,
        )

    @property
    def stddev(self) -> Any:
        return torch.sqrt(self.variance)

    def rsample(self, sample_shape: Any = ()) -> Any:
        shape = self._extended_shape(sample_shape)
        return self.icdf(torch.rand(shape, dtype=self.probs.dtype, device=self.probs.device))

    def log_prob(self, value: Any) -> Any:
        self._checked(value)
        logits, value = broadcast_all(self.logits, value)
        entropy = binary_cross_entropy_with_logits(logits, value, reduction="none")
        return self._log_norm() - entropy

    def cdf(self, value: Any) -> Any:
        self._checked(value)
        inside = self._of(
            lambda p: (p**value * (1.0 - p) ** (1.0 - value) + p - 1.0) / (2.0 * p - 1.0), value
        )
        return torch.where(value <= 0.0, 0.0, torch.where(value >= 1.0, 1.0, inside))

    def icdf(self, value: Any) -> Any:
        return self._of(
            lambda p: (torch.log1p(-p + value * (2.0 * p - 1.0)) - torch.log1p(-p))
            / (torch.log(p) - torch.log1p(-p)),
            value,
        )

    def entropy(self) -> Any:
        log0, log1 = torch.log1p(-self.probs), torch.log(self.probs)
        return self.mean * (log0 - log1) - self._log_norm() - log0

    @property
    def _natural_params(self) -> tuple[Any, ...]:
        return (torch.logit(self.probs),)

    def _log_normalizer(self, x: Any) -> Any:
        """log((exp(x) - 1) / x)"""
        far = torch.max(x <= self._lims[0] - 0.5, x > self._lims[1] - 0.5)
        y = torch.where(far, x, self._lims[0] - 0.5)
        formula = torch.log(torch.abs(torch.special.expm1(y))) - torch.log(torch.abs(y))
        return torch.where(far, formula, 0.5 * x + x**2 / 24.0 - x**4 / 2880.0)
