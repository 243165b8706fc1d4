"""LKJCholesky."""

from __future__ import annotations

import math
from typing import Any

import tracegrad as torch

from . import constraints
from .beta import Beta
from .distribution import Parametric
from .utils import broadcast_all

__all__ = ["LKJCholesky"]


class LKJCholesky(Parametric):
    """Cholesky factors of correlation matrices R of `dim` variables, of density proportional to
    det(R)**(concentration - 1) in R. Lewandowski, Kurowicka and Joe, Generating random correlation
    matrices based on vines and extended onion method (2009), section 3.2.

    >>> torch.distributions.LKJCholesky(3, 1.0).sample().shape
    tracegrad.Size([3, 3])
    """

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.corr_cholesky
    kept = ("dim",)

    def __init__(self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None):
        if dim < 2:
            raise ValueError(
                f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}."
            )
        self.dim = dim
        (self.concentration,) = broadcast_all(concentration)
        self._beta = self._of_rows(validate_args)
        super().__init__(self.concentration.size(), (dim, dim), validate_args)

    def _of_rows(self, validate_args: bool | None) -> Beta:
        """The distributions of the squared norm of each row, without the diagonal."""
        like: dict[str, Any] = {
            "dtype": self.concentration.dtype, "device": self.concentration.device
        }
        row = (torch.arange(self.dim, **like) - 1).clamp(min=0)
        last = (self.concentration + 0.5 * (self.dim - 2)).unsqueeze(-1)
        return Beta(row + 0.5, last - 0.5 * row, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = super().expand(batch_shape, _instance)
        new._beta = self._beta.expand((*batch_shape, self.dim))
        return new

    def sample(self, sample_shape: Any = ()) -> Any:
        with torch.no_grad():
            squares = self._beta.sample(sample_shape).unsqueeze(-1)
            shape = self._extended_shape(sample_shape)
            away = torch.randn(shape, dtype=squares.dtype, device=squares.device).tril(-1)
            norm = away.norm(dim=-1, keepdim=True)
            direction = torch.where(norm > 0, away / norm, 0.0)  # the first row has none
            below = squares.sqrt() * direction
            tiny = torch.finfo(below.dtype).tiny
            diagonal = (1 - below.pow(2).sum(-1)).clamp(min=tiny).sqrt()
            return below + diagonal.diag_embed()

    def log_prob(self, value: Any) -> Any:
        self._checked(value)
        diagonal = value.diagonal(dim1=-1, dim2=-2)[..., 1:]
        order = torch.arange(2, self.dim + 1, device=self.concentration.device)
        order = 2 * (self.concentration - 1).unsqueeze(-1) + self.dim - order
        count = self.dim - 1
        alpha = self.concentration + 0.5 * count
        norm = (
            0.5 * count * math.log(math.pi) + torch.mvlgamma(alpha - 0.5, count)
            - torch.lgamma(alpha) * count
        )
        return (order * diagonal.log()).sum(-1) - norm
