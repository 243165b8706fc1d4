"""StudentT."""

from __future__ import annotations

import math
from typing import Any

import tracegrad as torch

from . import constraints
from .chi2 import Chi2
from .distribution import Parametric
from .utils import _standard_normal, broadcast_all

__all__ = ["StudentT"]


class StudentT(Parametric):
    """Student's t distribution, moved to `loc` and stretched by `scale`.

    >>> torch.distributions.StudentT(1.0).log_prob(torch.tensor(0.0))
    tensor(-1.1447)
    """

    arg_constraints = {
        "df": constraints.positive, "loc": constraints.real, "scale": constraints.positive,
    }
    support = constraints.real
    has_rsample = True

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0,
                 validate_args: bool | None = None):
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        self._chi2 = Chi2(self.df)
        super().__init__(self.df.size(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = super().expand(batch_shape, _instance)
        new._chi2 = self._chi2.expand(batch_shape)
        return new

    @property
    def mean(self) -> Any:
        return torch.where(self.df <= 1, torch.nan, self.loc)

    @property
    def mode(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        finite = self.scale.pow(2) * self.df / (self.df - 2)
        return torch.where(
            self.df > 2, finite, torch.where(self.df > 1, torch.inf, torch.nan)
        ).to(self.df.dtype)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """A normal number over the root of a chi-squared one over its degrees of freedom."""
        x = _standard_normal(self._extended_shape(sample_shape), self.df.dtype, self.df.device)
        z = self._chi2.rsample(sample_shape)
        return self.loc + self.scale * x * torch.rsqrt(z / self.df)

    def log_prob(self, value: Any) -> Any:
        self._checked(value)
        y = (value - self.loc) / self.scale
        half = 0.5 * self.df
        norm = (
            self.scale.log() + 0.5 * self.df.log() + 0.5 * math.log(math.pi) + torch.lgamma(half)
            - torch.lgamma(half + 0.5)
        )
        return -(half + 0.5) * torch.log1p(y**2.0 / self.df) - norm

    def entropy(self) -> Any:
        half, more = 0.5 * self.df, 0.5 * self.df + 0.5
        log_beta = torch.lgamma(half) + math.lgamma(0.5) - torch.lgamma(more)
        slope = torch.digamma(more) - torch.digamma(half)
        return self.scale.log() + more * slope + 0.5 * self.df.log() + log_beta
