"""Geometric."""

from __future__ import annotations

from typing import Any

import tracegrad as torch

from ..nn.functional import binary_cross_entropy_with_logits
from . import constraints
from .distribution import Parametric
from .probs_or_logits import ProbsOrLogits
from .utils import broadcast_all, open_uniform, text_of

__all__ = ["Geometric"]


class Geometric(ProbsOrLogits, Parametric):
    """The failures before the first success, in trials of probability `probs`.

    >>> torch.distributions.Geometric(0.25).mean
    tensor(3.)
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer
    kept = ("_parameter",)

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None):
        (value,) = broadcast_all(self._choose(probs, logits))
        setattr(self, self._parameter, value)
        super().__init__(value.size(), validate_args=validate_args)
        if self._validate_args and probs is not None and not (value > 0).all():
            raise ValueError(
                f"Expected parameter probs ({type(value).__name__} of shape {tuple(value.shape)}) "
                f"of distribution {self!r} to be positive but found invalid values:\n"
                f"{text_of(value[~(value > 0)])}"
            )

    @property
    def mean(self) -> Any:
        return 1.0 / self.probs - 1.0

    @property
    def mode(self) -> Any:
        return torch.zeros_like(self.probs)

    @property
    def variance(self) -> Any:
        return (1.0 / self.probs - 1.0) / self.probs

    def sample(self, sample_shape: Any = ()) -> Any:
        with torch.no_grad():
            u = open_uniform(self._extended_shape(sample_shape), self.probs)
            return (u.log() / (-self.probs).log1p()).floor()

    def log_prob(self, value: Any) -> Any:
        self._checked(value)
        value, probs = broadcast_all(value, self.probs)
        certain = (probs == 1) & (value == 0)
        return value * (-torch.where(certain, 0.0, probs)).log1p() + self.probs.log()

    def entropy(self) -> Any:
        of_trial = binary_cross_entropy_with_logits(self.logits, self.probs, reduction="none")
        return of_trial / self.probs
