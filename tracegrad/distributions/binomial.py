"""Binomial."""

from __future__ import annotations

from typing import Any

import tracegrad as torch

from ..nn.functional import logsigmoid
from . import constraints
from .distribution import Parametric
from .probs_or_logits import ProbsOrLogits
from .utils import broadcast_all

__all__ = ["Binomial"]


class Binomial(ProbsOrLogits, Parametric):
    """The successes among `total_count` trials, each of probability `probs`.

    >>> torch.distributions.Binomial(2, torch.tensor(0.5)).log_prob(torch.tensor(1.0)).exp()
    tensor(0.5000)
    """

    arg_constraints = {
        "total_count": constraints.nonnegative_integer, "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    has_enumerate_support = True
    kept = ("_parameter",)

    def __init__(self, total_count: Any = 1, probs: Any = None, logits: Any = None,
                 validate_args: bool | None = None):
        count, value = broadcast_all(total_count, self._choose(probs, logits))
        self.total_count = count.type_as(value)
        setattr(self, self._parameter, value)
        super().__init__(value.size(), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Any:
        return self.total_count * self.probs

    @property
    def mode(self) -> Any:
        return torch.minimum(((self.total_count + 1) * self.probs).floor(), self.total_count)

    @property
    def variance(self) -> Any:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Any:
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            return torch.binomial(self.total_count.expand(shape), self.probs.expand(shape))

    def log_prob(self, value: Any) -> Any:
        """log of n! / (k! (n - k)!) p**k (1 - p)**(n - k)"""
        self._checked(value)
        count, logits = self.total_count, self.logits
        ways = torch.lgamma(count + 1) - torch.lgamma(value + 1) - torch.lgamma(count - value + 1)
        return value * logits + ways + count * logsigmoid(-logits)

    def entropy(self) -> Any:
        self._count("entropy")
        log_prob = self.log_prob(self.enumerate_support(False))
        return -(torch.exp(log_prob) * log_prob).sum(0)

    def _count(self, caller: str) -> int:
        most = int(self.total_count.max())
        if not self.total_count.min() == most:
            raise NotImplementedError(f"Inhomogeneous total count not supported by `{caller}`.")
        return most

    def enumerate_support(self, expand: bool = True) -> Any:
        most = self._count("enumerate_support")
        values = torch.arange(1 + most, dtype=self._param.dtype, device=self._param.device)
        values = values.view((-1,) + (1,) * len(self._batch_shape))
        return values.expand((-1, *self._batch_shape)) if expand else values
