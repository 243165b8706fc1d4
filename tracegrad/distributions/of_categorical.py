"""Distributions of vectors that are made of a Categorical."""

from __future__ import annotations

from typing import Any

import tracegrad as torch

from . import constraints
from .categorical import Categorical
from .distribution import Parametric


class OfCategorical(Parametric):
    """Events are vectors, one number for each value of `_categorical`."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}

    def __init__(self, categorical: Categorical, validate_args: bool | None = None):
        self._categorical = categorical
        super().__init__(
            categorical.batch_shape, categorical.param_shape[-1:], validate_args=validate_args
        )

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._filled(
            _instance, batch_shape, self.event_shape,
            _categorical=self._categorical.expand(torch.Size(batch_shape)),
            **self._expanded(batch_shape),
        )

    @property
    def _param(self) -> Any:
        return self._categorical._param

    @property
    def param_shape(self) -> Any:
        """The shape of the parameter."""
        return self._categorical.param_shape

    @property
    def logits(self) -> Any:
        """The logarithms of the probabilities."""
        return self._categorical.logits

    @property
    def probs(self) -> Any:
        """The probabilities, which sum to one."""
        return self._categorical.probs
