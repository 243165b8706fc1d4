"""NegativeBinomial."""

from __future__ import annotations

from typing import Any

import tracegrad as torch

from ..nn.functional import logsigmoid
from . import constraints
from .distribution import Parametric
from .gamma import Gamma
from .probs_or_logits import ProbsOrLogits
from .utils import broadcast_all, lazy_property

__all__ = ["NegativeBinomial"]


class NegativeBinomial(ProbsOrLogits, Parametric):
    """The successes, of probability `probs`, before `total_count` failures.

    >>> torch.distributions.NegativeBinomial(2, torch.tensor(0.5)).mean
    tensor(2.)
    """

    arg_constraints = {
        "total_count": constraints.greater_than_eq(0),
        "probs": constraints.half_open_interval(0.0, 1.0), "logits": constraints.real,
    }
    support = constraints.nonnegative_integer
    kept = ("_parameter",)

    def __init__(self, total_count: Any, probs: Any = None, logits: Any = None,
                 validate_args: bool | None = None):
        count, value = broadcast_all(total_count, self._choose(probs, logits))
        self.total_count = count.type_as(value)
        setattr(self, self._parameter, value)
        super().__init__(value.size(), validate_args=validate_args)

    @property
    def mean(self) -> Any:
        return self.total_count * torch.exp(self.logits)

    @property
    def mode(self) -> Any:
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0)

    @property
    def variance(self) -> Any:
        return self.mean / torch.sigmoid(-self.logits)

    @lazy_property
    def _gamma(self) -> Any:
        """Of the rates at which the counts are those of Poisson."""
        rate = torch.exp(-self.logits)
        return Gamma(concentration=self.total_count, rate=rate, validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Any:
        with torch.no_grad():
            return torch.poisson(self._gamma.sample(sample_shape))

    def log_prob(self, value: Any) -> Any:
        self._checked(value)
        count = self.total_count
        power = count * logsigmoid(-self.logits) + value * logsigmoid(self.logits)
        ways = torch.lgamma(count + value) - torch.lgamma(1.0 + value) - torch.lgamma(count)
        return power + torch.where(count + value == 0.0, 0.0, ways)
