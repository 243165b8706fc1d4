"""The parameter of distributions that take probabilities or logits."""

from __future__ import annotations

from typing import Any

from .utils import lazy_property, logits_to_probs, probs_to_logits


class ProbsOrLogits:
    """One of `probs` and `logits` is set; the other follows when it is read."""

    _is_binary = True
    _parameter: str  # the name of the one that was given

    def _choose(self, probs: Any, logits: Any) -> Any:
        """The one that is not None."""
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        self._parameter = "logits" if probs is None else "probs"
        return logits if probs is None else probs

    @lazy_property
    def logits(self) -> Any:
        """log(p / (1 - p)) of a probability; logarithms, of several."""
        return probs_to_logits(self.probs, self._is_binary)

    @lazy_property
    def probs(self) -> Any:
        """The probabilities."""
        return logits_to_probs(self.logits, self._is_binary)

    @property
    def _param(self) -> Any:
        return self.__dict__[self._parameter]

    @property
    def param_shape(self) -> Any:
        """The shape of the parameter."""
        return self._param.size()
