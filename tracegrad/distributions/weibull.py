"""Weibull."""

from __future__ import annotations

from typing import Any

import tracegrad as torch

from . import constraints
from .exponential import Exponential
from .transformed_distribution import TransformedDistribution
from .transforms import AffineTransform, PowerTransform
from .utils import broadcast_all, euler_constant

__all__ = ["Weibull"]


class Weibull(TransformedDistribution):
    """The Weibull distribution: cdf 1 - exp(-(x / scale)**concentration).

    >>> torch.distributions.Weibull(2.0, 1.0).mean
    tensor(2.)
    """

    arg_constraints = {"scale": constraints.positive, "concentration": constraints.positive}
    support = constraints.positive

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None):
        self.scale, self.concentration = broadcast_all(scale, concentration)
        base = Exponential(torch.ones_like(self.scale), validate_args=validate_args)
        power = PowerTransform(self.concentration.reciprocal())
        transforms = [power, AffineTransform(0, self.scale)]
        super().__init__(base, transforms, validate_args=validate_args)

    def _gamma(self, n: int) -> Any:
        """The mean of (x / scale)**n"""
        return torch.exp(torch.lgamma(1 + n / self.concentration))

    @property
    def mean(self) -> Any:
        return self.scale * self._gamma(1)

    @property
    def mode(self) -> Any:
        k = self.concentration.clamp(min=1)  # the density falls from zero on, below
        return self.scale * ((k - 1) / k) ** k.reciprocal()

    @property
    def variance(self) -> Any:
        return self.scale.pow(2) * (self._gamma(2) - self._gamma(1).pow(2))

    def entropy(self) -> Any:
        k = self.concentration
        return euler_constant * (1 - k.reciprocal()) + torch.log(self.scale / k) + 1
