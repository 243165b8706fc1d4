"""MixtureSameFamily."""

from __future__ import annotations

from typing import Any

import tracegrad as torch

from . import constraints
from .categorical import Categorical
from .constraints import MixtureSameFamilyConstraint
from .distribution import Distribution

__all__ = ["MixtureSameFamily"]


class MixtureSameFamily(Distribution):
    """A mixture of the distributions along the last dimension of the batch of a distribution, with
    the probabilities of a Categorical.

    >>> from tracegrad.distributions import Categorical, MixtureSameFamily, Normal
    >>> d = MixtureSameFamily(Categorical(torch.ones(2)), Normal(torch.tensor([-1.0, 1.0]), 1.0))
    >>> d.mean, d.variance
    (tensor(0.), tensor(2.))
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = False

    def __init__(self, mixture_distribution: Categorical, component_distribution: Distribution,
                 validate_args: bool | None = None):
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError(
                " The Mixture distribution needs to be an  instance of "
                "torch.distributions.Categorical"
            )
        if not isinstance(component_distribution, Distribution):
            raise ValueError(
                "The Component distribution needs to be an instance of "
                "torch.distributions.Distribution"
            )
        mixture, batch = mixture_distribution.batch_shape, component_distribution.batch_shape[:-1]
        for of_mixture, of_component in zip(reversed(mixture), reversed(batch), strict=False):
            if 1 not in (of_mixture, of_component) and of_mixture != of_component:
                raise ValueError(
                    f"`mixture_distribution.batch_shape` ({mixture}) is not compatible with "
                    f"`component_distribution.batch_shape`({batch})"
                )
        count = mixture_distribution.logits.shape[-1]
        components = component_distribution.batch_shape[-1]
        if count != components:
            raise ValueError(
                f"`mixture_distribution component` ({count}) does not equal "
                f"`component_distribution.batch_shape[-1]` ({components})"
            )
        self._mixture_distribution = mixture_distribution
        self._component_distribution = component_distribution
        self._num_component = count
        super().__init__(batch, component_distribution.event_shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        batch = torch.Size(batch_shape)
        return self._filled(
            _instance, batch, self._event_shape, _num_component=self._num_component,
            _mixture_distribution=self._mixture_distribution.expand(batch),
            _component_distribution=self._component_distribution.expand(
                (*batch, self._num_component)
            ),
        )

    @constraints.dependent_property
    def support(self) -> Any:
        return MixtureSameFamilyConstraint(self._component_distribution.support)

    @property
    def mixture_distribution(self) -> Categorical:
        """The distribution of the component."""
        return self._mixture_distribution

    @property
    def component_distribution(self) -> Distribution:
        """The distributions that are mixed."""
        return self._component_distribution

    def _weights(self) -> Any:
        """The probabilities of the components, over their events."""
        probs = self.mixture_distribution.probs
        return probs.reshape(tuple(probs.shape) + (1,) * len(self._event_shape))

    def _mean_of(self, values: Any) -> Any:
        """The mean over the components."""
        return (self._weights() * values).sum(-1 - len(self._event_shape))

    def _pad(self, x: Any) -> Any:
        return x.unsqueeze(-1 - len(self._event_shape))

    @property
    def mean(self) -> Any:
        return self._mean_of(self.component_distribution.mean)

    @property
    def variance(self) -> Any:
        """The mean of the variances, and the variance of the means."""
        inner = self._mean_of(self.component_distribution.variance)
        away = self.component_distribution.mean - self._pad(self.mean)
        return inner + self._mean_of(away.pow(2.0))

    def cdf(self, x: Any) -> Any:
        of_components = self.component_distribution.cdf(self._pad(x))
        return (of_components * self.mixture_distribution.probs).sum(-1)

    def log_prob(self, x: Any) -> Any:
        self._checked(x)
        of_components = self.component_distribution.log_prob(self._pad(x))
        weights = torch.log_softmax(self.mixture_distribution.logits, dim=-1)
        return torch.logsumexp(of_components + weights, dim=-1)

    def sample(self, sample_shape: Any = ()) -> Any:
        with torch.no_grad():
            chosen = self.mixture_distribution.sample(sample_shape)
            drawn = self.component_distribution.sample(sample_shape)
            dim = drawn.dim() - 1 - len(self._event_shape)
            chosen = chosen.expand(tuple(drawn.shape)[:dim])
            at = chosen.reshape(tuple(chosen.shape) + (1,) * (len(self._event_shape) + 1))
            at = at.expand((*chosen.shape, 1, *self._event_shape))
            return torch.gather(drawn, dim, at).squeeze(dim)

    def __repr__(self) -> str:
        return (
            f"MixtureSameFamily(\n  {self.mixture_distribution},\n  "
            f"{self.component_distribution})"
        )
