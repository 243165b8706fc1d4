"""torch.nn.utils.parametrizations: weights of a given norm, spectral norm or with orthogonal
columns, by `parametrize`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...functions.linalg.decompositions import linalg_qr as qr
from ...functions.linalg.matrix_functions import householder_product, matrix_exp
from ...functions.linalg.solvers import solve
from ...functions.torch.creation import as_tensor, eye, zeros_like
from ...functions.torch.gather import where
from ...functions.torch.reduction_statistics import vector_norm
from ...functions.torch.slicing_joining import cat
from ...functions.torch.tensors import finfo
from ...tracer.mode import no_grad
from ...tracer.tensor.tensor import Tensor
from .. import functional as F
from ..module import Module
from . import parametrize

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def norm_except_dim(v: Tensor, dim: int | None) -> Tensor:
    """The 2-norms of v over all dimensions but `dim`, which are kept; of all of v for None or -1.

    As in torch, a -1 means all, for a weight norm of one number.
    """
    axes = tuple(range(v.ndim))
    if dim is None or dim == -1:
        return vector_norm(v)
    if not 0 <= dim < v.ndim:
        raise IndexError(f"weight_norm: dim {dim} is out of range for a weight of {v.ndim} axes")
    return vector_norm(v, dim=axes[:dim] + axes[dim + 1 :], keepdim=True) if v.ndim > 1 else v.abs()


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """Rows by `dim`, columns by all the rest."""
    return (weight if dim == 0 else weight.movedim(dim, 0)).flatten(1)


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0):
        super().__init__()
        self.dim = dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return weight_v * (weight_g / norm_except_dim(weight_v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except_dim(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train length and direction of a weight apart (Salimans and Kingma 2016); one length for every
    index of `dim`, or one in all for None.

    They are `module.parametrizations.weight.original0` and `original1`; states saved with the older
    nn.utils.weight_norm are loaded too. Returns the module. Raises ValueError for a name that is no
    parameter.

    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))
    >>> sorted(layer.state_dict())
    ['bias', 'parametrizations.weight.original0', 'parametrizations.weight.original1']
    """
    parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def rename(state: dict, prefix: str, *rest: Any) -> None:
        old = [f"{prefix}{name}_g", f"{prefix}{name}_v"]
        if all(key in state for key in old):
            for i, key in enumerate(old):
                state[f"{prefix}parametrizations.{name}.original{i}"] = state.pop(key)

    module._register_load_state_dict_pre_hook(rename)
    return module


class _SpectralNorm(Module):
    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0,
                 eps: float = 1e-12):
        super().__init__()
        ndim = weight.ndim
        if not -ndim <= dim < ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-{ndim}, {ndim - 1}] but "
                f"got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but got "
                f"n_power_iterations={n_power_iterations}"
            )
        self.dim, self.eps = dim if dim >= 0 else dim + ndim, eps
        if ndim > 1:  # of one axis, the norm is computed exactly
            self.n_power_iterations = n_power_iterations
            matrix = as_matrix(weight.detach(), self.dim)
            for buffer, n in zip(("_u", "_v"), matrix.shape, strict=True):
                start = matrix.new_empty(n).normal_(0, 1)
                self.register_buffer(buffer, F.normalize(start, dim=0, eps=eps))
            self._iterate(matrix, 15)

    def _iterate(self, matrix: Tensor, times: int) -> None:
        """Bring u and v nearer to the first singular vectors."""
        with no_grad():
            for _ in range(times):
                self._u.copy_(F.normalize(matrix @ self._v, dim=0, eps=self.eps))
                self._v.copy_(F.normalize(matrix.T @ self._u, dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            self._iterate(matrix.detach(), self.n_power_iterations)
        # copies: the next call changes u and v before this one's backward, perhaps
        u, v = self._u.clone(), self._v.clone()
        return weight / u.dot(matrix @ v)

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def default_dim(module: Module) -> int:
    """The axis of the outputs: transposed convolutions have it second."""
    return 1 if getattr(module, "transposed", False) else 0


def spectral_norm(module: Module, name: str = "weight", n_power_iterations: int = 1,
                  eps: float = 1e-12, dim: int | None = None) -> Module:
    """Divide a weight by its greatest singular value (Miyato et al. 2018), which is estimated by
    power iterations, some more at every use while training.

    Returns the module. Raises ValueError for a name that is no parameter or buffer; IndexError for
    a dimension out of range.

    >>> layer = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 2))
    >>> sorted(layer.state_dict())[1:]
    ['parametrizations.weight.0._u', 'parametrizations.weight.0._v', \
'parametrizations.weight.original']
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    dim = default_dim(module) if dim is None else dim
    new = _SpectralNorm(weight, n_power_iterations, dim, eps)
    parametrize.register_parametrization(module, name, new)
    return module


def _with_orthogonal_columns(a: Tensor) -> Tensor:
    q, r = qr(a)
    return q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)


def _is_orthogonal(q: Tensor) -> bool:
    n = q.shape[-1]
    difference = (q.mT @ q - eye(n, dtype=q.dtype)).abs()
    return bool((difference < 10 * n * finfo(q.dtype).eps).all())


class _Orthogonal(Module):
    base: Tensor

    def __init__(self, weight: Tensor, orthogonal_map: str, use_trivialization: bool):
        super().__init__()
        self.shape, self.orthogonal_map = weight.shape, orthogonal_map
        if use_trivialization:  # what is trained is then near the identity, the rest is in base
            self.register_buffer("base", None)

    def forward(self, x: Tensor) -> Tensor:
        wide = x.shape[-2] < x.shape[-1]
        x = x.mT if wide else x
        n, k = x.shape[-2:]
        if self.orthogonal_map == "householder":
            a = x.tril(-1)
            q = householder_product(a, 2 / (1 + (a * a).sum(dim=-2)))
            q = q * x.diagonal(dim1=-2, dim2=-1).trunc().unsqueeze(-2)
        else:
            a = F.pad(x.tril(), (0, n - k))
            a = a - a.mT
            unit = eye(n, dtype=x.dtype, device=x.device)
            exp = self.orthogonal_map == "matrix_exp"
            q = matrix_exp(a) if exp else solve(unit - a / 2, unit + a / 2)
            q = q[..., :k]
        if hasattr(self, "base"):
            q = self.base @ q
        return q.mT if wide else q

    def right_inverse(self, q: Tensor) -> Tensor:
        if q.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of "
                f"shape {q.shape}."
            )
        wide = q.shape[-2] < q.shape[-1]
        tall = (q.mT if wide else q).detach()
        *batch, n, k = tall.shape
        if not hasattr(self, "base"):
            if self.orthogonal_map == "householder":
                return _reflections(tall).mT if wide else _reflections(tall)
            raise NotImplementedError(
                "It is not possible to assign to the matrix exponential or the Cayley "
                "parametrizations when use_trivialization=False."
            )
        if n != k:
            rest = tall.new_empty((*batch, n, n - k)).normal_()
            tall = _with_orthogonal_columns(cat([tall, rest], -1))
        elif not _is_orthogonal(tall):
            tall = _with_orthogonal_columns(tall)
        self.base = tall.clone()
        return zeros_like(q.detach()) - eye(*q.shape[-2:], dtype=q.dtype, device=q.device)


def _reflections(q: Tensor) -> Tensor:
    """Householder vectors whose product has q's columns, and on the diagonal their signs."""
    h, tau = np.linalg.qr(q.cpu().numpy(), mode="raw")
    a = as_tensor(h.swapaxes(-1, -2).copy()).to(q.device)
    sign = a.diagonal(dim1=-2, dim2=-1).sign()
    sign = where(as_tensor(tau).to(q.device) == 0, -sign, sign)
    return a.tril(-1) + a.triu(1) + eye(*a.shape[-2:], dtype=a.dtype) * sign.unsqueeze(-2)


def orthogonal(module: Module, name: str = "weight", orthogonal_map: str | None = None, *,
               use_trivialization: bool = True) -> Module:
    """Keep the columns of a weight orthonormal, or the rows if it is wider than high.

    orthogonal_map: "matrix_exp", "cayley" or "householder"; by default the first for a square
    weight, else the last. Returns the module. Raises ValueError for a name that is no parameter or
    buffer, for fewer than two dimensions and for another map.

    >>> layer = nn.utils.parametrizations.orthogonal(nn.Linear(4, 2))
    >>> bool((layer.weight @ layer.weight.T - torch.eye(2)).abs().max() < 1e-5)
    True
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.ndim < 2:
        raise ValueError(
            f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions."
        )
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.shape[-2] == weight.shape[-1] else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(
            'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". '
            f"Got: {orthogonal_map}"
        )
    new = _Orthogonal(weight, orthogonal_map, use_trivialization)
    parametrize.register_parametrization(module, name, new, unsafe=True)
    return module
