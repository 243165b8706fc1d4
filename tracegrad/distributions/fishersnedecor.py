"""FisherSnedecor."""

from __future__ import annotations

from typing import Any

import tracegrad as torch

from ..functions.torch.samplers import _standard_gamma
from . import constraints
from .distribution import Parametric
from .utils import above_zero, broadcast_all

__all__ = ["FisherSnedecor"]


class FisherSnedecor(Parametric):
    """The F distribution: the ratio of two chi-squared numbers, each over its degrees of freedom.

    >>> torch.distributions.FisherSnedecor(2.0, 4.0).mean
    tensor(2.)
    """

    arg_constraints = {"df1": constraints.positive, "df2": constraints.positive}
    support = constraints.positive
    has_rsample = True

    def __init__(self, df1: Any, df2: Any, validate_args: bool | None = None):
        self.df1, self.df2 = broadcast_all(df1, df2)
        super().__init__(self.df1.size(), validate_args=validate_args)

    @property
    def mean(self) -> Any:
        df2 = torch.where(self.df2 <= 2, torch.nan, self.df2)
        return df2 / (df2 - 2)

    @property
    def mode(self) -> Any:
        mode = (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2)
        return torch.where(self.df1 <= 2, torch.nan, mode)

    @property
    def variance(self) -> Any:
        df2 = torch.where(self.df2 <= 4, torch.nan, self.df2)
        return (
            2 * df2.pow(2) * (self.df1 + df2 - 2) / (self.df1 * (df2 - 2).pow(2) * (df2 - 4))
        )

    def rsample(self, sample_shape: Any = ()) -> Any:
        shape = self._extended_shape(sample_shape)
        above, below = (
            _standard_gamma((0.5 * df).expand(shape)) / df for df in (self.df1, self.df2)
        )
        return above_zero(above / above_zero(below))

    def log_prob(self, value: Any) -> Any:
        self._checked(value)
        a, b, ratio = self.df1 * 0.5, self.df2 * 0.5, self.df1 / self.df2
        log_beta = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
        power = a * ratio.log() + (a - 1) * torch.log(value)
        return power - log_beta - (a + b) * torch.log1p(ratio * value)
