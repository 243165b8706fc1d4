"""Distances between rows, and similarities."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.dtype import int64
from ...ir.op import ShapeError, broadcast
from ...ir.ops import elementwise as ops
from ...ir.ops.elementwise import maximum, stop_gradient
from ...ir.ops.index import index
from ...ir.ops.movement import expand, reshape
from ...tracer.autograd.graph import composite
from ...tracer.tensor.promotion import SCALAR_TYPE, common_dtype
from ...tracer.tensor.tensor import Tensor
from ..arguments import computing, numbers_fit
from ..linalg.matrix_functions import norm
from ..torch.creation import held
from ..torch.reduction_statistics import vector_norm
from ..torch.shape import broadcast_tensors

__all__ = ["cosine_similarity", "pairwise_distance", "pdist"]


def _apart(d: Tensor, p: float) -> Tensor:
    """The p-norm along the last axis; for p = 0 how many differ, and NaN where one is NaN."""
    if p == 0:
        return ops.minimum(ops.ceil(ops.abs(d)), 1).sum(-1)
    return vector_norm(d, p, -1)


@composite("CdistBackward0")
def cdist(
    x1: Tensor,
    x2: Tensor,
    p: Any = 2.0,
    compute_mode: str | None = "use_mm_for_euclid_dist_if_necessary",
) -> Tensor:
    """The p-norm distance of each row of x1 to each of x2: (*B, P, M), (*B, R, M) -> (*B, P, R).

    `compute_mode` is accepted and ignored: distances are taken of differences, whose gradients are
    right at zero.

    Dtype: that of both, floating point. Raises RuntimeError for a negative p, or shapes that do not
    fit. Shape: as above.

    >>> torch.cdist(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[5., 1.]])
    """
    for k, x in enumerate((x1, x2), 1):
        if not x.dtype.is_floating_point:
            raise RuntimeError(
                f"cdist only supports floating-point dtypes, X{k} got: {SCALAR_TYPE[x.dtype]}"
            )
    for k, x in enumerate((x1, x2), 1):
        if x.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, X{k} got: {x.ndim}D")
    if x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(
            f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}"
        )
    if not p >= 0:
        raise RuntimeError("cdist only supports non-negative p values")
    lead = broadcast("cdist", tuple(x1.shape[:-2]), tuple(x2.shape[:-2]))
    (n, m), r = x1.shape[-2:], x2.shape[-2]
    a = reshape(expand(x1, shape=(*lead, n, m)), shape=(*lead, n, 1, m))
    b = reshape(expand(x2, shape=(*lead, r, m)), shape=(*lead, 1, r, m))
    return _apart(a - b, float(p))


@composite("PdistBackward0")
def pdist(input: Tensor, p: Any = 2.0) -> Tensor:
    """The distances of all pairs of rows, in the order (0, 1), (0, 2), ...

    Shape: (N, M) -> (N * (N - 1) / 2,). Dtype: that of input, floating point. Raises RuntimeError
    if it is no matrix.

    >>> torch.pdist(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    tensor([5.])
    """
    if input.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    if not input.dtype.is_floating_point:
        raise RuntimeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    first, second = (held(i, int64) for i in np.triu_indices(input.shape[0], 1))
    return _apart(index(input, first, axes=(0,)) - index(input, second, axes=(0,)), float(p))


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The product of x1 and x2 along `dim`, each divided by its norm, or by eps if that is more.

    Shape: two that broadcast -> without the dimension `dim`. Dtype: the promoted one, floating
    point.
    Raises IndexError for a dimension out of range; RuntimeError if the shapes do not broadcast.

    >>> F.cosine_similarity(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0]), dim=0)
    tensor(0.7071)
    """
    dtype = common_dtype((x1, x2))
    if not dtype.is_floating_point:
        raise RuntimeError(
            f"expected common dtype to be floating point, yet common dtype is {SCALAR_TYPE[dtype]}"
        )
    if not eps >= 0:
        raise RuntimeError(f"eps must be non-negative, got: {eps:g}")
    numbers_fit(computing(dtype), eps)
    a, b = broadcast_tensors(x1.to(dtype), x2.to(dtype))
    return (_unit(a, dim, eps) * _unit(b, dim, eps)).sum(dim)


def _unit(x: Tensor, dim: int, eps: float) -> Tensor:
    size = norm(x, 2, dim, True)
    return x / (size + stop_gradient(maximum(size, eps) - size))


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last axis.

    Shape: (*, D), (*, D) -> (*). Dtype: the promoted one.
    Raises RuntimeError if the shapes do not broadcast.

    >>> F.pairwise_distance(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([5.0000])
    """
    return norm(x1 - x2 + eps, p, -1, keepdim)
