"""VonMises."""

from __future__ import annotations

import math
from typing import Any

import tracegrad as torch

from ..functions.torch.samplers import von_mises
from . import constraints
from .distribution import Parametric
from .utils import broadcast_all

__all__ = ["VonMises"]


class VonMises(Parametric):
    """Angles: density proportional to exp(concentration cos(x - loc)).

    >>> d = torch.distributions.VonMises(torch.tensor(0.0), torch.tensor(1.0))
    >>> d.log_prob(torch.tensor(0.0))
    tensor(-1.0738)
    """

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real
    has_rsample = False

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None):
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.size(), validate_args=validate_args)

    @property
    def mean(self) -> Any:
        return self.loc

    @property
    def mode(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        """The circular one: 1 - I1(k) / I0(k)"""
        k = self.concentration
        return 1 - torch.special.i1e(k) / torch.special.i0e(k)

    def sample(self, sample_shape: Any = ()) -> Any:
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            turned = von_mises(self.concentration.expand(shape)) + self.loc
            return (turned + math.pi) % (2 * math.pi) - math.pi

    def log_prob(self, value: Any) -> Any:
        """k (cos(x - loc) - 1) - log(2 pi exp(-k) I0(k))"""
        self._checked(value)
        k = self.concentration
        away = k * (torch.cos(value - self.loc) - 1)
        return away - math.log(2 * math.pi) - torch.special.i0e(k).log()
