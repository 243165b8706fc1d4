"""ExponentialFamily: distributions of density h(x) exp(<theta, t(x)> - F(theta))."""

from __future__ import annotations

from typing import Any

import tracegrad as torch

from .distribution import Parametric
from .utils import _sum_rightmost

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Parametric):
    """A distribution of density h(x) exp(<theta, t(x)> - F(theta)): `_natural_params` are theta,
    `_log_normalizer(*theta)` is F, and `_mean_carrier_measure` the mean of log h(x). Entropy and
    divergence follow from derivatives of F. Nielsen and Nock, Entropies and cross-entropies of
    exponential families (2010).

    >>> issubclass(torch.distributions.Normal, torch.distributions.ExponentialFamily)
    True
    """

    @property
    def _natural_params(self) -> tuple[Any, ...]:
        raise NotImplementedError

    def _log_normalizer(self, *natural_params: Any) -> Any:
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self) -> Any:
        raise NotImplementedError

    def _slopes(self) -> tuple[Any, list[Any], tuple[Any, ...]]:
        """F(theta), theta, and the gradient of F, which are the means of t(x)."""
        with torch.enable_grad():
            params = [
                p if p.requires_grad else p.detach().requires_grad_() for p in self._natural_params
            ]
            log_normalizer = self._log_normalizer(*params)
            slopes = torch.autograd.grad(log_normalizer.sum(), params, create_graph=True)
        return log_normalizer, params, slopes

    def _inner(self, a: Any, b: Any) -> Any:
        """The inner product of parameters and statistics, for each of the batch."""
        product = a * b
        return _sum_rightmost(product, product.dim() - len(self._batch_shape))

    def entropy(self) -> Any:
        """F(theta) - <theta, grad F(theta)> - the mean of log h"""
        result, params, slopes = self._slopes()
        result = result - self._mean_carrier_measure
        for theta, slope in zip(params, slopes, strict=True):
            result = result - self._inner(theta, slope)
        return result
