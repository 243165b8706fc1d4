"""Factorisations of matrices: Cholesky, LU, QR, eigenvalues, singular values, and what is read off
them.

Each cuts the packed result of a primitive (ir/ops/linalg.py) into the factors that torch shows.
"""

from __future__ import annotations

from typing import Any

from ...ir.dtype import int32, int64
from ...ir.op import ShapeError
from ...ir.ops import elementwise as ops, implicit, linalg, reduce as reductions
from ...ir.ops.contract import transpose
from ...ir.ops.matrices import (
    corner,
    counter,
    identity,
    tril as lower_triangle,
    triu as upper_triangle,
)
from ...ir.ops.movement import diagonal, expand, reshape
from ...tracer.autograd.graph import composite
from ...tracer.mode import forward_mode, mode
from ...tracer.tensor.promotion import SCALAR_TYPE
from ...tracer.tensor.tensor import Tensor
from ..named_results import TYPES
from ..torch.blas import matmul
from ..torch.random_sampling import randn
from ..torch.reduction import along, mean
from ..torch.shape import broadcast_to

__all__ = ["cholesky", "lu_unpack", "pca_lowrank", "qr", "svd", "svd_lowrank"]


# ---- what is no matrix
def matrices(x: Any, name: str, letter: str = "A", floating: bool = True) -> Tensor:
    """x, if it is a stack of matrices that LAPACK can be given."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}(): argument '{letter}' must be Tensor, not {type(x).__name__}")
    if x.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor {letter} must have at least 2 dimensions.")
    if floating and (x.dtype.kind != "float" or x.dtype.is_half):
        fault = (
            "Low precision dtypes not supported."
            if x.dtype.is_half
            else "Expected a floating point or complex tensor as input."
        )
        raise NotImplementedError(f"{name}: {fault} Got {SCALAR_TYPE[x.dtype]}")
    return x


def square(x: Any, name: str, floating: bool = True) -> Tensor:
    """x, if it is a stack of square matrices."""
    m, n = matrices(x, name, floating=False).shape[-2:]
    if m != n:
        raise ShapeError(
            f"{name}: A must be batches of square matrices, but they are {m} by {n} matrices"
        )
    return matrices(x, name, floating=floating)


def first(hit: Tensor) -> Tensor:
    """The number, from 1, of the first element along the last dimension that holds, else 0: what
    LAPACK calls `info`.
    """
    n, d = hit.shape[-1], hit.ndim - 1
    if not n:
        return reductions.sum(hit.to(int32), dims=(d,))
    at = reductions.min(ops.where(hit, along(hit, d) + 1, n + 1), dims=(d,))
    return ops.where(at > n, 0, at).to(int32)


# ---- Cholesky
@composite("LinalgCholeskyExBackward0")
def _cholesky(a: Tensor, upper: bool, check: str | None) -> Tensor:
    factor = linalg.cholesky(transpose(a) if upper else a, check=check)
    return transpose(factor) if upper else factor


def linalg_cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """The lower L of A = L L', or the upper U of A = U' U.

    Shape: (*, N, N) -> the same. Dtype: float32 or float64, that of A.
    Raises LinAlgError for a matrix that is not positive definite; RuntimeError if it is not square.

    >>> torch.linalg.cholesky(torch.tensor([[4.0, 2.0], [2.0, 5.0]]))
    tensor([[2., 0.],
            [1., 2.]])
    """
    return _cholesky(square(A, "linalg.cholesky"), upper, "linalg.cholesky")


def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """The factor, and for each matrix 0 or the order of the minor that is not positive-definite.

    Shape: (*, N, N) -> (*, N, N), (*). Dtype: floating point, and int32. Raises LinAlgError if
    `check_errors` asks for it.

    >>> torch.linalg.cholesky_ex(torch.tensor([[4.0]]))
    tracegrad.return_types.linalg_cholesky_ex(
    L=tensor([[2.]]),
    info=tensor(0, dtype=tracegrad.int32))
    """
    check = "linalg.cholesky_ex" if check_errors else None
    factor = _cholesky(square(A, "linalg.cholesky"), upper, check)
    return TYPES["linalg_cholesky_ex"](factor, first(ops.isnan(diagonal(factor))))


@composite("CholeskyBackward0")
def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """As `linalg.cholesky`.

    Shape: (*, N, N) -> (*, N, N). Dtype: floating point. Raises LinAlgError for a matrix that is
    not positive-definite.

    >>> torch.cholesky(torch.tensor([[4.0, 2.0], [2.0, 5.0]]))
    tensor([[2., 0.],
            [1., 2.]])
    """
    return _cholesky(square(input, "cholesky"), upper, "cholesky")


# ---- LU
def _factored(a: Tensor, check: str | None, pivot: bool = True) -> Tensor:
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    return linalg.lu(a, check=check)


def _pivots(packed: Tensor, count: int) -> Tensor:
    """As LAPACK has them: int32, counted from 1."""
    return (linalg.lu_factors(packed)[2][..., :count] + 1).to(int32)


def _lu_factor(a: Tensor, check: str | None, pivot: bool) -> tuple[Tensor, Tensor]:
    count = min(a.shape[-2:])
    packed = _factored(a, check, pivot)
    factors = composite("LinalgLuFactorExBackward0")(lambda x: linalg.lu_factors(x)[0])(packed)
    return factors, _pivots(packed, count)


def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """L (without its unit diagonal) and U in one matrix, and the pivots.

    Shape: (*, N, M) -> (*, N, M), (*, min(N, M)). Dtype: that of A, and int32.
    Raises RuntimeError for fewer than two dimensions or a zero on the diagonal of U.

    >>> LU, pivots = torch.linalg.lu_factor(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> pivots
    tensor([2, 2], dtype=tracegrad.int32)
    """
    a = matrices(A, "linalg.lu_factor")
    return TYPES["linalg_lu_factor"](*_lu_factor(a, "torch.linalg.lu_factor", pivot))


def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """As `lu_factor`, and for each matrix 0 or the number of its first zero pivot.

    Shape: (*, M, N) -> (*, M, N), (*, min(M, N)), (*). Dtype: floating point; int32. Raises
    LinAlgError if `check_errors` asks for it.

    >>> torch.linalg.lu_factor_ex(torch.tensor([[2.0]])).info
    tensor(0, dtype=tracegrad.int32)
    """
    check = "torch.linalg.lu_factor_ex" if check_errors else None
    factors, pivots = _lu_factor(matrices(A, "linalg.lu_factor"), check, pivot)
    return TYPES["linalg_lu_factor_ex"](factors, pivots, zero_pivot(factors))


def zero_pivot(factors: Tensor) -> Tensor:
    """The number of the first zero on the diagonal of U."""
    k = min(factors.shape[-2:])
    return first(ops.eq(diagonal(corner(ops.stop_gradient(factors), (0, k), (0, k))), 0))


def _triangles(factors: Tensor) -> tuple[Tensor, Tensor]:
    m, n = factors.shape[-2:]
    k = min(m, n)
    left = corner(factors, (0, m), (0, k))
    ones = identity(left, tuple(left.shape))
    return lower_triangle(left, True) + ones, upper_triangle(corner(factors, (0, k), (0, n)))


def _permutation(order: Tensor, like: Tensor) -> Tensor:
    """The matrix P of A = P L U, from the order of A's rows in L U."""
    n = order.shape[-1]
    columns = reshape(order, shape=(*order.shape[:-1], 1, n))
    rows = counter(order, n, 0, 2)
    return ops.eq(rows, columns).to(like.dtype)


def lu(A: Tensor, *, pivot: bool = True) -> Any:
    """P, L and U of A = P L U.

    Shape: (*, N, M) -> (*, N, N), (*, N, K), (*, K, M), K = min(N, M). Dtype: that of A.
    Raises RuntimeError for fewer than two dimensions.

    >>> P, L, U = torch.linalg.lu(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> torch.allclose(P @ L @ U, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    True
    """
    packed = _factored(matrices(A, "linalg.lu"), None, pivot)
    factors, order, _ = linalg.lu_factors(packed)
    left, right = composite("LinalgLuBackward0")(_triangles)(factors)
    return TYPES["linalg_lu"](_permutation(order, packed), left, right)


def old_lu(
    A: Tensor, pivot: bool = True, get_infos: bool = False, out: None = None
) -> tuple[Tensor, ...]:
    """As `linalg.lu_factor`, without its refusal; with `get_infos`, as `linalg.lu_factor_ex`.

    Shape: (*, M, N) -> (*, M, N), (*, min(M, N)), and (*). Dtype: floating point; int32.

    >>> torch.lu(torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
    (tensor([[2., 3.],
            [0., 1.]]), tensor([2, 2], dtype=tracegrad.int32))
    """
    found = lu_factor_ex(A, pivot=pivot)
    return tuple(found) if get_infos else tuple(found[:2])


def order_of(pivots: Tensor, rows: int) -> Tensor:
    """The order of the rows that LAPACK's exchanges lead to."""
    lead, count = tuple(pivots.shape[:-1]), pivots.shape[-1]
    places = counter(pivots, rows, len(lead), len(lead) + 1)
    order = expand(places, shape=(*lead, rows))
    for i in range(count):
        p = pivots[..., i : i + 1].to(int64) - 1
        here, there = ops.eq(places, i), ops.eq(places, p)
        at_there = reductions.sum(ops.where(there, order, 0), dims=(len(lead),))
        at_there = reshape(at_there, shape=(*lead, 1))
        order = ops.where(here, at_there, ops.where(there, order[..., i : i + 1], order))
    return order


def lu_unpack(
    LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True
) -> Any:
    """P, L and U from what `lu_factor` gives.

    Shape: (*, M, N), (*, K) -> (*, M, M), (*, M, K), (*, K, N), where K = min(M, N). Dtype: that of
    LU_data.

    >>> P, L, U = torch.lu_unpack(*torch.lu(torch.tensor([[0.0, 1.0], [2.0, 3.0]])))
    >>> P @ L @ U
    tensor([[0., 1.],
            [2., 3.]])
    """
    none = LU_data.new_zeros((0,))
    left = right = permutation = none
    if unpack_data:
        left, right = composite("LuUnpackBackward0")(_triangles)(LU_data)
    if unpack_pivots:
        permutation = _permutation(order_of(LU_pivots, LU_data.shape[-2]), LU_data)
    return TYPES["lu_unpack"](permutation, left, right)


# ---- QR
def linalg_qr(A: Tensor, mode: str = "reduced") -> Any:
    """Q with orthonormal columns and the upper R of A = Q R; mode 'reduced', 'complete' or 'r'.

    Shape: (*, N, M) -> (*, N, K), (*, K, M), with K = min(N, M), or N in the mode 'complete'.
    Dtype: float32 or float64, that of A. Raises RuntimeError for another mode or fewer dimensions.

    >>> Q, R = torch.linalg.qr(torch.tensor([[3.0, 1.0], [4.0, 2.0]]))
    >>> torch.allclose(Q @ R, torch.tensor([[3.0, 1.0], [4.0, 2.0]]))
    True
    """
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), "
            "'r', or 'complete'"
        )
    a = matrices(A, "linalg.qr")
    q, r = _qr(a, mode == "complete")
    if mode != "r":
        return TYPES["linalg_qr"](q, r)
    return TYPES["linalg_qr"](a.new_zeros((0,)), ops.stop_gradient(r))


@composite("LinalgQrBackward0")
def _qr(a: Tensor, complete: bool) -> tuple[Tensor, Tensor]:
    return linalg.qr_factors(linalg.qr(a, complete=complete), tuple(a.shape), complete)


def qr(input: Tensor, some: bool = True) -> Any:
    """As `linalg.qr`, reduced or complete.

    Shape: (*, M, N) -> (*, M, K), (*, K, N), where K = min(M, N), or M if not `some`. Dtype:
    floating point.

    >>> q, r = torch.qr(torch.tensor([[3.0, 1.0], [4.0, 2.0]]))
    >>> q @ r
    tensor([[3.0000, 1.0000],
            [4.0000, 2.0000]])
    """
    return TYPES["qr"](*linalg_qr(input, "reduced" if some else "complete"))


# ---- eigenvalues
def _values_alone(a: Tensor) -> bool:
    """Whether no gradient will read the vectors. A trace sees it later (ir/unread_factors.py)."""
    recorded = forward_mode() or (mode.grad and a._requires_grad)
    return mode.trace is None and not recorded


@composite("LinalgEighBackward0")
def _eigh(A: Tensor, UPLO: str, vectors: bool = True) -> tuple[Tensor, ...]:
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    a = square(A, "linalg.eigh")
    how = {"upper": UPLO.upper() == "U", "check": "linalg.eigh"}
    if not vectors and _values_alone(a):
        return (linalg.eigh(a, vectors=False, **how),)
    packed = linalg.eigh(a, **how) if vectors else linalg.eigh(a, vectors=True, **how)
    w, v = linalg.eigh_factors(packed, a.shape[-1])
    return implicit.eigenvalues(ops.stop_gradient(w), a, v), v


def eigh(A: Tensor, UPLO: str = "L") -> Any:
    """The eigenvalues of symmetric matrices, ascending, and eigenvectors as columns.

    Shape: (*, N, N) -> (*, N), (*, N, N). Dtype: float32 or float64, that of A. One triangle is
    read.
    Raises LinAlgError if it does not converge; RuntimeError if the matrix is not square.

    >>> values, vectors = torch.linalg.eigh(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    >>> values
    tensor([1., 2.])
    """
    return TYPES["linalg_eigh"](*_eigh(A, UPLO))


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues of symmetric matrices, ascending.

    Shape: (*, N, N) -> (*, N). Dtype: float32 or float64, that of A. One triangle is read.
    Raises LinAlgError if it does not converge; RuntimeError if the matrix is not square.

    >>> torch.linalg.eigvalsh(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    tensor([1., 2.])
    """
    return _eigh(A, UPLO, vectors=False)[0]


def eig(A: Tensor) -> Any:
    """Refused: the eigenvalues of a general matrix are complex numbers."""
    square(A, "linalg.eig")
    raise NotImplementedError(
        "linalg.eig: the eigenvalues of a general matrix are complex, and complex numbers are not "
        "supported; linalg.eigh takes symmetric matrices"
    )


def eigvals(A: Tensor) -> Any:
    """Refused, as `eig`."""
    return eig(A)


# ---- singular values
@composite("LinalgSvdBackward0")
def _svd(a: Tensor, full: bool, vectors: bool = True) -> tuple[Any, Tensor, Any]:
    if not vectors and _values_alone(a):
        return None, linalg.svd(a, full=full, check="linalg.svd", vectors=False), None
    packed, k = linalg.svd(a, full=full, check="linalg.svd"), min(a.shape[-2:])
    u, s, vh = linalg.svd_factors(packed, tuple(a.shape), full)
    first, last = corner(u, (0, a.shape[-2]), (0, k)), corner(vh, (0, k), (0, a.shape[-1]))
    return u, implicit.singular_values(ops.stop_gradient(s), a, first, last), vh


def linalg_svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """U, the singular values S, descending, and V' of A = U diag(S) V'.

    Shape: (*, N, M) -> (*, N, N), (*, K), (*, M, M), K = min(N, M); K for N and M unless
    full_matrices.
    Dtype: float32 or float64, that of A. Raises LinAlgError if it does not converge.

    >>> U, S, Vh = torch.linalg.svd(torch.tensor([[0.0, 2.0], [1.0, 0.0]]))
    >>> S
    tensor([2., 1.])
    """
    return TYPES["linalg_svd"](*_svd(matrices(A, "linalg.svd"), full_matrices))


def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """The singular values, descending.

    Shape: (*, N, M) -> (*, min(N, M)). Dtype: float32 or float64, that of A.
    Raises LinAlgError if it does not converge; RuntimeError for fewer than two dimensions.

    >>> torch.linalg.svdvals(torch.tensor([[0.0, 2.0], [1.0, 0.0]]))
    tensor([2., 1.])
    """
    return _svd(matrices(A, "linalg.svd"), False, vectors=False)[1]


def svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """U, S and V of input = U diag(S) V'.

    Shape: (*, M, N) -> (*, M, K), (*, K), (*, N, K). Dtype: floating point.

    >>> torch.svd(torch.tensor([[3.0, 0.0], [0.0, 2.0]])).S
    tensor([3., 2.])
    """
    u, s, vh = _svd(matrices(input, "linalg.svd"), not some)
    if not compute_uv:
        m, n = input.shape[-2:]
        lead = tuple(input.shape[:-2])
        u, vh = (input.new_zeros((*lead, k, k)) for k in (m, n))
    return TYPES["svd"](u, s, transpose(vh))


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
    """(U, S, V), nearly the `q` greatest singular values and vectors of A, or of A - M.

    Shape: (*, M, N) -> (*, M, q), (*, q), (*, N, q). Dtype: floating point.

    >>> u, s, v = torch.svd_lowrank(torch.diag(torch.tensor([4.0, 2.0, 1.0])), q=3)
    >>> s
    tensor([4., 2., 1.])
    """
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
    """The same of A with the mean of its rows taken off: its principal components.

    Shape: (*, M, N) -> (*, M, q), (*, q), (*, N, q). Dtype: floating point. Raises ValueError for q
    above min(M, N).

    >>> x = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    >>> torch.pca_lowrank(x, q=1)[1]
    tensor([2.])
    """
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
