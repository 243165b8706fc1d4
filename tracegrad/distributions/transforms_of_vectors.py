"""Transforms of vectors and matrices, and of the parts of a tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import tracegrad as torch
from tracegrad.nn.functional import logsigmoid, pad, softplus

from . import constraints
from .transform import Transform
from .utils import _sum_rightmost, tril_matrix_to_vec, vec_to_tril_matrix


class _OfEvents(Transform):
    """A transform without parameters of vectors or matrices; those of a class are equal."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    __hash__ = object.__hash__

    def _at_least(self, rank: int, shape: Any) -> Any:
        if len(shape) < rank:
            raise ValueError("Too few dimensions on input")
        return shape


class SoftmaxTransform(_OfEvents):
    """y = softmax(x); x is taken to be log(y). Not a bijection: it forgets a constant.

    >>> torch.distributions.SoftmaxTransform()(torch.tensor([0.0, 0.0]))
    tensor([0.5000, 0.5000])
    """

    domain, codomain = constraints.real_vector, constraints.simplex

    def _call(self, x: Any) -> Any:
        return torch.softmax(x, -1)

    def _inverse(self, y: Any) -> Any:
        return y.log()

    def forward_shape(self, shape: Any) -> Any:
        return self._at_least(1, shape)

    inverse_shape = forward_shape


class StickBreakingTransform(_OfEvents):
    """From K - 1 numbers to a point of the simplex of K: each number is the log odds of the part
    that is broken off the rest of a stick, shifted so that zeros give equal parts.
    Stan reference manual, "Unit simplex".

    >>> torch.distributions.StickBreakingTransform()(torch.zeros(3))
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    domain, codomain, bijective = constraints.real_vector, constraints.simplex, True

    def _shift(self, x: Any) -> Any:
        """The logarithms of how many parts are left after each."""
        count = x.shape[-1]
        return torch.arange(count, 0, -1, dtype=x.dtype, device=x.device).log()

    def _call(self, x: Any) -> Any:
        part = torch.sigmoid(x - self._shift(x))
        rest = (1 - part).cumprod(-1)
        return pad(part, [0, 1], value=1.0) * pad(rest, [1, 0], value=1.0)

    def _inverse(self, y: Any) -> Any:
        first = y[..., :-1]
        rest = torch.clamp(1 - first.cumsum(-1), min=torch.finfo(y.dtype).tiny)
        return first.log() - rest.log() + self._shift(first)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        x = x - self._shift(x)
        return (-x + logsigmoid(x) + y[..., :-1].log()).sum(-1)

    def forward_shape(self, shape: Any) -> Any:
        self._at_least(1, shape)
        return shape[:-1] + (shape[-1] + 1,)

    def inverse_shape(self, shape: Any) -> Any:
        self._at_least(1, shape)
        return shape[:-1] + (shape[-1] - 1,)


class CorrCholeskyTransform(_OfEvents):
    """From D (D - 1) / 2 numbers to the Cholesky factor of a correlation matrix of D variables:
    tanh gives partial correlations, each of which takes its part of what is left of a row of norm
    one. Lewandowski, Kurowicka and Joe (2009); Stan reference manual, "Cholesky factors of
    correlation matrices".

    >>> torch.distributions.CorrCholeskyTransform()(torch.zeros(1))
    tensor([[1., 0.],
            [0., 1.]])
    """

    domain, codomain, bijective = constraints.real_vector, constraints.corr_cholesky, True

    def _call(self, x: Any) -> Any:
        eps = torch.finfo(x.dtype).eps
        r = vec_to_tril_matrix(torch.tanh(x).clamp(-1 + eps, 1 - eps), diag=-1)
        rest = (1 - r * r).sqrt().cumprod(-1)
        r = r + torch.eye(r.shape[-1], dtype=r.dtype, device=r.device)
        return r * pad(rest[..., :-1], [1, 0], value=1.0)

    def _inverse(self, y: Any) -> Any:
        rest = pad(1 - (y * y).cumsum(-1)[..., :-1], [1, 0], value=1.0)
        t = tril_matrix_to_vec(y, diag=-1) / tril_matrix_to_vec(rest, diag=-1).sqrt()
        return (t.log1p() - (-t).log1p()) / 2

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        rest = tril_matrix_to_vec(1 - (y * y).cumsum(-1), diag=-2)
        of_rows = 0.5 * rest.log().sum(-1)
        return of_rows - 2 * (x + softplus(-2 * x) - math.log(2.0)).sum(-1)

    def forward_shape(self, shape: Any) -> Any:
        self._at_least(1, shape)
        count = shape[-1]
        n = round((0.25 + 2 * count) ** 0.5 + 0.5)
        if n * (n - 1) // 2 != count:
            raise ValueError("Input is not a flattened lower-diagonal number")
        return shape[:-1] + (n, n)

    def inverse_shape(self, shape: Any) -> Any:
        self._at_least(2, shape)
        if shape[-2] != shape[-1]:
            raise ValueError("Input is not square")
        n = shape[-1]
        return shape[:-2] + (n * (n - 1) // 2,)


class LowerCholeskyTransform(_OfEvents):
    """From square matrices to lower triangular ones with a positive diagonal, by exp.

    >>> torch.distributions.LowerCholeskyTransform()(torch.zeros(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """

    domain, codomain = constraints.independent(constraints.real, 2), constraints.lower_cholesky

    def _call(self, x: Any) -> Any:
        return x.tril(-1) + x.diagonal(dim1=-2, dim2=-1).exp().diag_embed()

    def _inverse(self, y: Any) -> Any:
        return y.tril(-1) + y.diagonal(dim1=-2, dim2=-1).log().diag_embed()


class PositiveDefiniteTransform(_OfEvents):
    """From square matrices to positive definite ones, L L' of LowerCholeskyTransform's L.

    >>> torch.distributions.PositiveDefiniteTransform()(torch.zeros(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """

    domain, codomain = constraints.independent(constraints.real, 2), constraints.positive_definite

    def _call(self, x: Any) -> Any:
        factor = LowerCholeskyTransform()(x)
        return factor @ factor.mT

    def _inverse(self, y: Any) -> Any:
        return LowerCholeskyTransform().inv(torch.linalg.cholesky(y))


class ReshapeTransform(Transform):
    """The last dimensions in another shape.

    >>> torch.distributions.ReshapeTransform((2, 3), (6,))(torch.zeros(4, 2, 3)).shape
    tracegrad.Size([4, 6])
    """

    bijective = True

    def __init__(self, in_shape: Any, out_shape: Any, cache_size: int = 0):
        self.in_shape = torch.Size(in_shape)
        self.out_shape = torch.Size(out_shape)
        if self.in_shape.numel() != self.out_shape.numel():
            raise ValueError("in_shape, out_shape have different numbers of elements")
        super().__init__(cache_size=cache_size)

    @constraints.dependent_property
    def domain(self) -> Any:
        return constraints.independent(constraints.real, len(self.in_shape))

    @constraints.dependent_property
    def codomain(self) -> Any:
        return constraints.independent(constraints.real, len(self.out_shape))

    def with_cache(self, cache_size: int = 1) -> Any:
        if self._cache_size == cache_size:
            return self
        return ReshapeTransform(self.in_shape, self.out_shape, cache_size=cache_size)

    def _batch(self, shape: Any, event: Any) -> Any:
        return torch.Size(shape)[: len(shape) - len(event)]

    def _call(self, x: Any) -> Any:
        return x.reshape(self._batch(x.shape, self.in_shape) + self.out_shape)

    def _inverse(self, y: Any) -> Any:
        return y.reshape(self._batch(y.shape, self.out_shape) + self.in_shape)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        batch = self._batch(x.shape, self.in_shape)
        return torch.zeros(batch, dtype=x.dtype, device=x.device)

    def _turned(self, shape: Any, event: Any, other: Any) -> Any:
        if len(shape) < len(event):
            raise ValueError("Too few dimensions on input")
        if tuple(shape[len(shape) - len(event) :]) != tuple(event):
            last = shape[len(shape) - len(event) :]
            raise ValueError(f"Shape mismatch: expected {last} but got {event}")
        return shape[: len(shape) - len(event)] + other

    def forward_shape(self, shape: Any) -> Any:
        return self._turned(shape, self.in_shape, self.out_shape)

    def inverse_shape(self, shape: Any) -> Any:
        return self._turned(shape, self.out_shape, self.in_shape)


# ---- transforms of the parts of a tensor
class _Parts(Transform):
    """Transforms of parts along a dimension: `_take` divides a tensor, `_join` is the contrary."""

    _join: Any

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, cache_size: int = 0):
        if not all(isinstance(t, Transform) for t in tseq):
            raise AssertionError("All elements of tseq must be Transform instances")
        if cache_size:
            tseq = [t.with_cache(cache_size) for t in tseq]
        super().__init__(cache_size=cache_size)
        self.transforms = list(tseq)
        self.dim = dim

    def _take(self, x: Any) -> Sequence[Any]:
        raise NotImplementedError

    def _pairs(self, *tensors: Any) -> Iterator[tuple[Any, ...]]:
        """Each transform with its parts of the tensors."""
        for x in tensors:
            if not -x.dim() <= self.dim < x.dim():
                raise AssertionError(f"dim {self.dim} out of range for tensor with {x.dim()} dims")
        return zip(self.transforms, *(self._take(x) for x in tensors), strict=True)

    def _call(self, x: Any) -> Any:
        return self._join([t(part) for t, part in self._pairs(x)], dim=self.dim)

    def _inverse(self, y: Any) -> Any:
        return self._join([t.inv(part) for t, part in self._pairs(y)], dim=self.dim)

    @property
    def bijective(self) -> bool:
        return all(t.bijective for t in self.transforms)


class CatTransform(_Parts):
    """Transforms of consecutive parts along a dimension, of these lengths.

    >>> from tracegrad.distributions import CatTransform, ExpTransform, identity_transform
    >>> CatTransform([ExpTransform(), identity_transform], lengths=[1, 2])(torch.zeros(3))
    tensor([1., 0., 0.])
    """

    _join = staticmethod(torch.cat)

    def __init__(self, tseq: Sequence[Transform], dim: int = 0,
                 lengths: Sequence[int] | None = None, cache_size: int = 0):
        super().__init__(tseq, dim, cache_size)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.transforms):
            raise AssertionError(
                f"lengths must have length {len(self.transforms)}, got {len(self.lengths)}"
            )

    @property
    def event_dim(self) -> int:
        return max(t.event_dim for t in self.transforms)

    @property
    def length(self) -> int:
        return sum(self.lengths)

    def with_cache(self, cache_size: int = 1) -> Any:
        if self._cache_size == cache_size:
            return self
        return CatTransform(self.transforms, self.dim, self.lengths, cache_size)

    def _take(self, x: Any) -> Sequence[Any]:
        if x.size(self.dim) != self.length:
            raise AssertionError(
                f"x.size({self.dim}) = {x.size(self.dim)} must equal length {self.length}"
            )
        return torch.split(x, self.lengths, self.dim)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        parts = []
        for t, a, b in self._pairs(x, y):
            each = t.log_abs_det_jacobian(a, b)
            parts.append(_sum_rightmost(each, self.event_dim - t.event_dim))
        dim = (self.dim if self.dim < 0 else self.dim - x.dim()) + self.event_dim
        return torch.cat(parts, dim) if dim < 0 else sum(parts)

    @constraints.dependent_property
    def domain(self) -> Any:
        return constraints.cat([t.domain for t in self.transforms], self.dim, self.lengths)

    @constraints.dependent_property
    def codomain(self) -> Any:
        return constraints.cat([t.codomain for t in self.transforms], self.dim, self.lengths)


class StackTransform(_Parts):
    """Transforms of the slices along a dimension.

    >>> from tracegrad.distributions import ExpTransform, StackTransform, identity_transform
    >>> StackTransform([ExpTransform(), identity_transform])(torch.zeros(2))
    tensor([1., 0.])
    """

    _join = staticmethod(torch.stack)

    def with_cache(self, cache_size: int = 1) -> Any:
        if self._cache_size == cache_size:
            return self
        return StackTransform(self.transforms, self.dim, cache_size)

    def _take(self, x: Any) -> Sequence[Any]:
        if x.size(self.dim) != len(self.transforms):
            raise AssertionError(
                f"x.size({self.dim}) = {x.size(self.dim)} must equal len(transforms) "
                f"{len(self.transforms)}"
            )
        return torch.unbind(x, self.dim)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        parts = [t.log_abs_det_jacobian(a, b) for t, a, b in self._pairs(x, y)]
        return torch.stack(parts, dim=self.dim)

    @constraints.dependent_property
    def domain(self) -> Any:
        return constraints.stack([t.domain for t in self.transforms], self.dim)

    @constraints.dependent_property
    def codomain(self) -> Any:
        return constraints.stack([t.codomain for t in self.transforms], self.dim)
