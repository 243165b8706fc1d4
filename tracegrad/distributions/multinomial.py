"""Multinomial."""

from __future__ import annotations

import math
from typing import Any

import tracegrad as torch

from . import constraints
from .binomial import Binomial
from .categorical import Categorical
from .of_categorical import OfCategorical
from .utils import broadcast_all

__all__ = ["Multinomial"]


class Multinomial(OfCategorical):
    """How often each of K values is drawn in `total_count` draws, of probabilities `probs`.

    >>> d = torch.distributions.Multinomial(2, torch.tensor([1.0, 1.0]))
    >>> d.log_prob(torch.tensor([1.0, 1.0])).exp()
    tensor(0.5000)
    """

    kept = ("total_count",)

    def __init__(self, total_count: int = 1, probs: Any = None, logits: Any = None,
                 validate_args: bool | None = None):
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        super().__init__(Categorical(probs, logits), validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Any:
        return constraints.multinomial(self.total_count)

    @property
    def _binomial(self) -> Any:
        """The distribution of each count."""
        return Binomial(self.total_count, probs=self.probs)

    @property
    def mean(self) -> Any:
        return self.probs * self.total_count

    @property
    def variance(self) -> Any:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Any:
        shape = torch.Size(sample_shape)
        drawn = self._categorical.sample((self.total_count, *shape)).movedim(0, -1)
        counts = torch.zeros(self._extended_shape(shape), dtype=torch.long, device=drawn.device)
        return counts.scatter_add(-1, drawn, torch.ones_like(drawn)).type_as(self.probs)

    def log_prob(self, value: Any) -> Any:
        self._checked(value)
        logits, value = broadcast_all(self.logits, value)
        logits = torch.where((value == 0) & (logits == -math.inf), 0.0, logits)
        ways = torch.lgamma(value.sum(-1) + 1) - torch.lgamma(value + 1).sum(-1)
        return ways + (logits * value).sum(-1)

    def entropy(self) -> Any:
        """n H(p) - log n! + the mean of the sum of log k!, over the counts k"""
        n = self.total_count
        binomial = self._binomial
        counts = binomial.enumerate_support(expand=False)[1:]
        weights = torch.exp(binomial.log_prob(counts))
        of_counts = (weights * torch.lgamma(counts + 1)).sum((0, -1))
        return n * self._categorical.entropy() - math.lgamma(n + 1) + of_counts
