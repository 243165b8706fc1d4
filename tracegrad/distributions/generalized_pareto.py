"""GeneralizedPareto."""

from __future__ import annotations

from typing import Any

import tracegrad as torch

from . import constraints
from .distribution import Parametric
from .utils import broadcast_all

__all__ = ["GeneralizedPareto"]


class GeneralizedPareto(Parametric):
    """What exceeds a threshold `loc`: survival function (1 + k z)**(-1 / k), with z =
    (x - loc) / scale and k the concentration; exp(-z) for k = 0.

    >>> torch.distributions.GeneralizedPareto(0.0, 1.0, 0.0).log_prob(torch.tensor(1.0))
    tensor(-1.)
    """

    arg_constraints = {
        "loc": constraints.real, "scale": constraints.positive, "concentration": constraints.real,
    }
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, concentration: Any,
                 validate_args: bool | None = None):
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        super().__init__(self.loc.size(), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        k = self.concentration
        last = self.loc - self.scale / torch.where(k < 0, k, -1.0)
        return constraints.interval(self.loc, torch.where(k < 0, last, torch.inf))

    def _zero(self) -> tuple[Any, Any]:
        """Whether k counts as zero, and k that may be divided by."""
        zero = torch.isclose(self.concentration, torch.zeros_like(self.concentration))
        return zero, torch.where(zero, 1.0, self.concentration)

    def _z(self, x: Any) -> Any:
        return (x - self.loc) / self.scale

    def log_prob(self, value: Any) -> Any:
        self._checked(value)
        z, (zero, k) = self._z(value), self._zero()
        return torch.where(zero, -z, -(1 + 1 / k) * torch.log1p(k * z)) - self.scale.log()

    def log_survival_function(self, value: Any) -> Any:
        """log(1 - cdf(x))"""
        self._checked(value)
        z, (zero, k) = self._z(value), self._zero()
        return torch.where(zero, -z, -torch.log1p(k * z) / k)

    def log_cdf(self, value: Any) -> Any:
        """log(cdf(x))"""
        return torch.log1p(-torch.exp(self.log_survival_function(value)))

    def cdf(self, value: Any) -> Any:
        return torch.exp(self.log_cdf(value))

    def icdf(self, value: Any) -> Any:
        zero, k = self._zero()
        survived = torch.log1p(-value)
        return self.loc + self.scale * torch.where(zero, -survived, torch.expm1(-k * survived) / k)

    def rsample(self, sample_shape: Any = ()) -> Any:
        shape = self._extended_shape(sample_shape)
        return self.icdf(torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device))

    @property
    def mean(self) -> Any:
        k = self.concentration
        finite = self.loc + self.scale / (1 - torch.where(k < 1, k, 0.0))
        return torch.where(k < 1, finite, torch.nan)

    @property
    def mode(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        valid = self.concentration < 0.5
        k = torch.where(valid, self.concentration, 0.0)
        return torch.where(valid, self.scale**2 / ((1 - k) ** 2 * (1 - 2 * k)), torch.nan)

    def entropy(self) -> Any:
        return torch.log(self.scale) + self.concentration + 1
