"""Chi2."""

from __future__ import annotations

from typing import Any

import tracegrad as torch

from . import constraints
from .gamma import Gamma
from .utils import broadcast_all

__all__ = ["Chi2"]


class Chi2(Gamma):
    """The chi-squared distribution, of the sum of `df` squared standard normal numbers.

    >>> torch.distributions.Chi2(3.0).mean
    tensor(3.)
    """

    arg_constraints = {"df": constraints.positive}

    def __init__(self, df: Any, validate_args: bool | None = None):
        (half,) = broadcast_all(df)
        super().__init__(0.5 * half, half.new_tensor(0.5), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        batch = torch.Size(batch_shape)
        return self._filled(
            _instance, batch, (), concentration=self.concentration.expand(batch),
            rate=self.rate.expand(batch),
        )

    @property
    def df(self) -> Any:
        """The degrees of freedom."""
        return self.concentration * 2
