"""MultivariateNormal."""

from __future__ import annotations

import math
from typing import Any

import tracegrad as torch

from . import constraints
from .distribution import Parametric
from .utils import _standard_normal, lazy_property

__all__ = ["MultivariateNormal"]


def times(matrix: Any, vector: Any) -> Any:
    """The product, over batches of both."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def solved(lower: Any, b: Any) -> Any:
    """X of lower X = b."""
    return torch.linalg.solve_triangular(lower, b, upper=False)


def squared_distance(lower: Any, x: Any) -> Any:
    """x' (L L')**-1 x, of vectors x."""
    return solved(lower, x.unsqueeze(-1)).squeeze(-1).pow(2).sum(-1)


def half_log_det(lower: Any) -> Any:
    """log det(L L') / 2"""
    return lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def inverse_factor(precision: Any) -> Any:
    """The Cholesky factor of the inverse of a matrix P: with P = U U', U upper triangular, it is
    the inverse of U'. Turning rows and columns round makes U lower triangular.
    """
    upper = torch.linalg.cholesky(precision.flip((-2, -1))).flip((-2, -1))
    one = torch.eye(precision.shape[-1], dtype=precision.dtype, device=precision.device)
    return solved(upper.mT, one)


class Covariance:
    """A covariance as one of three matrices; the others follow when they are read, from the factor
    `_unbroadcasted_scale_tril`.
    """

    _unbroadcasted_scale_tril: Any
    _full_shape: Any  # of the matrices, with the batch

    @lazy_property
    def scale_tril(self) -> Any:
        """The Cholesky factor of the covariance."""
        return self._unbroadcasted_scale_tril.expand(self._full_shape)

    @lazy_property
    def covariance_matrix(self) -> Any:
        """The covariance."""
        factor = self._unbroadcasted_scale_tril
        return (factor @ factor.mT).expand(self._full_shape)

    @lazy_property
    def precision_matrix(self) -> Any:
        """The inverse of the covariance."""
        return torch.cholesky_inverse(self._unbroadcasted_scale_tril).expand(self._full_shape)

    def _factor(self) -> Any:
        """The Cholesky factor, of whichever matrix was given."""
        given = self.__dict__
        if "scale_tril" in given:
            return given["scale_tril"]
        if "covariance_matrix" in given:
            return torch.linalg.cholesky(given["covariance_matrix"])
        return inverse_factor(given["precision_matrix"])


class MultivariateNormal(Covariance, Parametric):
    """Normal vectors of mean `loc`, with the covariance as one of three matrices.

    >>> d = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    >>> d.log_prob(torch.zeros(2))
    tensor(-1.8379)
    """

    arg_constraints = {
        "loc": constraints.real_vector, "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite, "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True
    kept = ("_unbroadcasted_scale_tril",)

    def __init__(self, loc: Any, covariance_matrix: Any = None, precision_matrix: Any = None,
                 scale_tril: Any = None, validate_args: bool | None = None):
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        matrices = {"covariance_matrix": covariance_matrix, "scale_tril": scale_tril,
                    "precision_matrix": precision_matrix}
        given = [name for name, matrix in matrices.items() if matrix is not None]
        if len(given) != 1:
            raise ValueError(
                "Exactly one of covariance_matrix or precision_matrix or scale_tril may be "
                "specified."
            )
        (name,) = given
        matrix = matrices[name]
        if matrix.dim() < 2:
            what = "scale_tril matrix" if name == "scale_tril" else name
            raise ValueError(
                f"{what} must be at least two-dimensional, with optional leading batch dimensions"
            )
        batch = torch.broadcast_shapes(matrix.shape[:-2], loc.shape[:-1])
        setattr(self, name, matrix.expand((*batch, -1, -1)))
        self.loc = loc.expand((*batch, -1))
        super().__init__(batch, self.loc.shape[-1:], validate_args=validate_args)
        self._unbroadcasted_scale_tril = self._factor() if name != "scale_tril" else scale_tril

    @property
    def _full_shape(self) -> Any:
        return self._batch_shape + self._event_shape + self._event_shape

    @property
    def mean(self) -> Any:
        return self.loc

    mode = mean

    @property
    def variance(self) -> Any:
        of_factor = self._unbroadcasted_scale_tril.pow(2).sum(-1)
        return of_factor.expand(self._batch_shape + self._event_shape)

    def rsample(self, sample_shape: Any = ()) -> Any:
        shape = self._extended_shape(sample_shape)
        noise = _standard_normal(shape, self.loc.dtype, self.loc.device)
        return self.loc + times(self._unbroadcasted_scale_tril, noise)

    def log_prob(self, value: Any) -> Any:
        self._checked(value)
        factor = self._unbroadcasted_scale_tril
        distance = squared_distance(factor, value - self.loc)
        norm = self._event_shape[0] * math.log(2 * math.pi)
        return -0.5 * (norm + distance) - half_log_det(factor)

    def entropy(self) -> Any:
        norm = 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi))
        return (norm + half_log_det(self._unbroadcasted_scale_tril)).expand(self._batch_shape)
