"""LowRankMultivariateNormal."""

from __future__ import annotations

import math
from typing import Any

import tracegrad as torch

from . import constraints
from .distribution import Parametric
from .multivariate_normal import half_log_det, squared_distance, times
from .utils import _standard_normal, lazy_property

__all__ = ["LowRankMultivariateNormal"]


class LowRankMultivariateNormal(Parametric):
    """Normal vectors of mean `loc` and covariance W W' + D: W is `cov_factor`, D the diagonal
    matrix of `cov_diag`.

    Inverse and determinant are those of the capacitance I + W' D**-1 W, by the identity of
    Woodbury and the matrix determinant lemma.

    >>> d = torch.distributions.LowRankMultivariateNormal(
    ...     torch.zeros(2), torch.ones(2, 1), torch.ones(2))
    >>> d.covariance_matrix
    tensor([[2., 1.],
            [1., 2.]])
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True
    kept = ("_unbroadcasted_cov_factor", "_unbroadcasted_cov_diag", "_capacitance_tril")

    def __init__(self, loc: Any, cov_factor: Any, cov_diag: Any,
                 validate_args: bool | None = None):
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        event_shape = loc.shape[-1:]
        if cov_factor.dim() < 2:
            raise ValueError(
                "cov_factor must be at least two-dimensional, with optional leading batch "
                "dimensions"
            )
        if cov_factor.shape[-2:-1] != event_shape:
            raise ValueError(
                f"cov_factor must be a batch of matrices with shape {event_shape[0]} x m"
            )
        if cov_diag.shape[-1:] != event_shape:
            raise ValueError(f"cov_diag must be a batch of vectors with shape {event_shape}")
        try:
            batch = torch.broadcast_shapes(
                loc.shape[:-1], cov_factor.shape[:-2], cov_diag.shape[:-1]
            )
        except RuntimeError as error:
            raise ValueError(
                f"Incompatible batch shapes: loc {loc.shape}, cov_factor {cov_factor.shape}, "
                f"cov_diag {cov_diag.shape}"
            ) from error
        self.loc = loc.expand((*batch, -1))
        self.cov_factor = cov_factor.expand((*batch, -1, -1))
        self.cov_diag = cov_diag.expand((*batch, -1))
        super().__init__(batch, event_shape, validate_args=validate_args)
        self._unbroadcasted_cov_factor = cov_factor
        self._unbroadcasted_cov_diag = cov_diag
        capacitance = self._scaled() @ cov_factor
        one = torch.eye(capacitance.shape[-1], dtype=capacitance.dtype, device=capacitance.device)
        self._capacitance_tril = torch.linalg.cholesky(capacitance + one)

    def _scaled(self) -> Any:
        """W' D**-1"""
        return self._unbroadcasted_cov_factor.mT / self._unbroadcasted_cov_diag.unsqueeze(-2)

    @property
    def _full_shape(self) -> Any:
        return self._batch_shape + self._event_shape + self._event_shape

    @property
    def mean(self) -> Any:
        return self.loc

    mode = mean

    @lazy_property
    def variance(self) -> Any:
        of_factor = self._unbroadcasted_cov_factor.pow(2).sum(-1)
        return (of_factor + self._unbroadcasted_cov_diag).expand(
            self._batch_shape + self._event_shape
        )

    @lazy_property
    def scale_tril(self) -> Any:
        """The Cholesky factor of the covariance: that of D**-1/2 C D**-1/2, which is better
        conditioned, times D**1/2.
        """
        root = self._unbroadcasted_cov_diag.sqrt().unsqueeze(-1)
        factor = self._unbroadcasted_cov_factor / root
        one = torch.eye(self._event_shape[0], dtype=root.dtype, device=root.device)
        return (root * torch.linalg.cholesky(factor @ factor.mT + one)).expand(self._full_shape)

    @lazy_property
    def covariance_matrix(self) -> Any:
        """The covariance."""
        factor = self._unbroadcasted_cov_factor
        whole = factor @ factor.mT + torch.diag_embed(self._unbroadcasted_cov_diag)
        return whole.expand(self._full_shape)

    @lazy_property
    def precision_matrix(self) -> Any:
        """The inverse of the covariance."""
        a = torch.linalg.solve_triangular(self._capacitance_tril, self._scaled(), upper=False)
        diagonal = torch.diag_embed(self._unbroadcasted_cov_diag.reciprocal())
        return (diagonal - a.mT @ a).expand(self._full_shape)

    def rsample(self, sample_shape: Any = ()) -> Any:
        shape, like = self._extended_shape(sample_shape), (self.loc.dtype, self.loc.device)
        of_factor = _standard_normal(shape[:-1] + self.cov_factor.shape[-1:], *like)
        of_diagonal = _standard_normal(shape, *like)
        return (
            self.loc + times(self._unbroadcasted_cov_factor, of_factor)
            + self._unbroadcasted_cov_diag.sqrt() * of_diagonal
        )

    def _squared_distance(self, x: Any) -> Any:
        """x' C**-1 x of the covariance C."""
        in_factor = squared_distance(self._capacitance_tril, times(self._scaled(), x))
        return (x.pow(2) / self._unbroadcasted_cov_diag).sum(-1) - in_factor

    def _log_det(self) -> Any:
        """log det of the covariance."""
        of_diagonal = self._unbroadcasted_cov_diag.log().sum(-1)
        return 2 * half_log_det(self._capacitance_tril) + of_diagonal

    def log_prob(self, value: Any) -> Any:
        self._checked(value)
        norm = self._event_shape[0] * math.log(2 * math.pi)
        return -0.5 * (norm + self._log_det() + self._squared_distance(value - self.loc))

    def entropy(self) -> Any:
        norm = self._event_shape[0] * (1.0 + math.log(2 * math.pi))
        return (0.5 * (norm + self._log_det())).expand(self._batch_shape)
