"""The greatest singular values of a matrix, from what random directions are mapped to: Halko,
Martinsson and Tropp, Finding structure with randomness (2009), algorithms 4.4 and 5.1.
"""

from __future__ import annotations

from ...tracer.tensor.tensor import Tensor
from ..math.reduction import mean
from ..random.distributions import randn
from ..tensors.broadcasting import broadcast_to
from .decompositions import linalg_qr, linalg_svd, matrices
from .matmul import matmul


def _basis(a: Tensor, q: int, niter: int) -> Tensor:
    """(..., m, q): orthonormal columns that nearly span the range of a, (..., m, n)."""
    basis = linalg_qr(matmul(a, randn(a.shape[-1], q, dtype=a.dtype)))[0]
    for _ in range(niter):
        basis = linalg_qr(a.mT @ basis)[0]
        basis = linalg_qr(a @ basis)[0]
    return basis


def svd_lowrank(
    A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """(U, S, V), nearly the `q` greatest singular values and vectors of A, or of A - M."""
    a = matrices(A, "svd_lowrank")
    if M is not None:
        a = a - broadcast_to(M, tuple(a.shape))
    wide = a.shape[-2] < a.shape[-1]
    a = a.mT if wide else a
    basis = _basis(a, 6 if q is None else q, 2 if niter is None else niter)
    u, s, vh = linalg_svd(basis.mT @ a, full_matrices=False)
    u, v = basis @ u, vh.mT
    return (v, s, u) if wide else (u, s, v)


def pca_lowrank(
    A: Tensor, q: int | None = None, center: bool = True, niter: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """The same of A with the mean of its rows taken off: its principal components."""
    least = min(matrices(A, "pca_lowrank").shape[-2:])
    if q is None:
        q = min(6, least)
    elif not 0 <= q <= least:
        raise ValueError(
            f"q(={q}) must be non-negative integer and not greater than min(m, n)={least}"
        )
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - mean(A, -2, keepdim=True) if center else A, q, niter)


__all__ = ["pca_lowrank", "svd_lowrank"]
