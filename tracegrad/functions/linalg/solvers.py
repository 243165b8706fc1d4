"""Equations in matrices: solutions, inverses, determinants, least squares."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir.dtype import int64
from ...ir.op import ShapeError, broadcast
from ...ir.ops import (
    determinants,
    elementwise as ops,
    implicit,
    kinks,
    linalg,
    reduce as reductions,
)
from ...ir.ops.contract import dot, transpose
from ...ir.ops.matrices import identity, inverse_order, rows_in_order
from ...ir.ops.movement import diagonal, expand, reshape
from ...tracer.autograd.graph import composite
from ...tracer.tensor.promotion import SCALAR_TYPE
from ...tracer.tensor.tensor import Tensor
from ..named_results import TYPES
from .decompositions import eigh as linalg_eigh, linalg_svd, matrices, order_of, square, zero_pivot

__all__ = [
    "cholesky_inverse", "cholesky_solve", "det", "inverse", "logdet", "pinverse", "slogdet",
    "triangular_solve",
]


# ---- systems of equations
def _same_dtype(a: Tensor, b: Tensor, name: str) -> None:
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"{name}: Expected A and B to have the same dtype, but found A of type "
            f"{SCALAR_TYPE[a.dtype]} and B of type {SCALAR_TYPE[b.dtype]} instead"
        )


def _paired(a: Tensor, b: Tensor, left: bool, name: str) -> tuple[Tensor, Tensor]:
    """The two with one batch, for AX = B or XA = B."""
    if a.shape[-1] != b.shape[-2 if left else -1]:
        x, y = ("x".join(map(str, t.shape[-2:])) for t in (a, b))
        raise ShapeError(
            f"{name}: Incompatible shapes of A and B for the equation "
            f"{'AX' if left else 'XA'} = B ({x} and {y})"
        )
    lead = broadcast(name, tuple(a.shape[:-2]), tuple(b.shape[:-2]))
    return (expand(x, shape=(*lead, *x.shape[-2:])) for x in (a, b))  # type: ignore[return-value]


def _solution(A: Tensor, B: Tensor, left: bool, check: str | None) -> tuple[Tensor, Tensor]:
    a, name = square(A, "linalg.solve"), "linalg.solve"
    _same_dtype(a, B, name)
    vector = B.ndim == 1 or (a.ndim == B.ndim + 1 and tuple(B.shape) == tuple(a.shape[:-1]))
    b = reshape(B, shape=(*B.shape, 1)) if vector else B
    if not left and vector:
        raise RuntimeError(
            "linalg.solve: Vector broadcasting of the left hand side is not supported for "
            "left=False. In this case linalg.solve is equivalent to B / A.squeeze(-1)"
        )
    a, b = _paired(a, b, left, name)
    packed = linalg.lu(a, check=check)
    x = implicit.solved(a, packed, b) if left else transpose(
        implicit.solved(a, packed, transpose(b), True))
    return reshape(x, shape=tuple(x.shape[:-1])) if vector else x, packed


def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X of AX = B, or of XA = B.

    Shape: (*, N, N), (*, N, K) or (*, N) -> that of B. Dtype: float32 or float64, that of both.
    Raises LinAlgError for a singular matrix; RuntimeError if shapes or dtypes do not fit.

    >>> torch.linalg.solve(torch.tensor([[2.0, 0.0], [0.0, 4.0]]), torch.tensor([2.0, 4.0]))
    tensor([1., 1.])
    """
    run = composite("LinalgSolveExBackward0")(_solution)
    return run(A, B, left, "torch.linalg.solve")[0]


def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """The solution, and for each matrix 0 or the number of its first zero pivot.

    Shape: as for `solve`, and (*). Dtype: floating point, and int32. Raises LinAlgError if
    `check_errors` asks for it.

    >>> torch.linalg.solve_ex(torch.tensor([[2.0]]), torch.tensor([[6.0]]))
    tracegrad.return_types.linalg_solve_ex(
    result=tensor([[3.]]),
    info=tensor(0, dtype=tracegrad.int32))
    """
    check = "torch.linalg.solve_ex" if check_errors else None
    x, packed = composite("LinalgSolveExBackward0")(_solution)(A, B, left, check)
    return TYPES["linalg_solve_ex"](x, zero_pivot(linalg.lu_factors(packed)[0]))


def _inverse(A: Tensor, check: str | None) -> tuple[Tensor, Tensor]:
    a = square(A, "linalg.inv")
    packed = linalg.lu(ops.stop_gradient(a), check=check)
    x = implicit.lu_solve(packed, identity(a, tuple(a.shape)), False)
    return composite("LinalgInvExBackward0")(implicit.inverse)(x, a), packed


def inv(A: Tensor) -> Tensor:
    """The inverse.

    Shape: (*, N, N) -> the same. Dtype: float32 or float64, that of A.
    Raises LinAlgError for a singular matrix; RuntimeError if it is not square.

    >>> torch.linalg.inv(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    return _inverse(A, "linalg.inv")[0]


def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """The inverse, and for each matrix 0 or the number of its first zero pivot.

    Shape: (*, N, N) -> (*, N, N), (*). Dtype: floating point, and int32. Raises LinAlgError if
    `check_errors` asks for it.

    >>> torch.linalg.inv_ex(torch.tensor([[2.0]]))
    tracegrad.return_types.linalg_inv_ex(
    inverse=tensor([[0.5000]]),
    info=tensor(0, dtype=tracegrad.int32))
    """
    x, packed = _inverse(A, "linalg.inv_ex" if check_errors else None)
    return TYPES["linalg_inv_ex"](x, zero_pivot(linalg.lu_factors(packed)[0]))


@composite("LinalgSolveTriangularBackward0")
def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """X of AX = B, or of XA = B, where A is triangular; its other triangle is not read.

    Shape: (*, N, N), (*, N, K) -> (*, N, K). Dtype: float32 or float64, that of both.
    Raises RuntimeError if shapes or dtypes do not fit.

    >>> A, B = torch.tensor([[2.0, 0.0], [1.0, 1.0]]), torch.tensor([[2.0], [3.0]])
    >>> torch.linalg.solve_triangular(A, B, upper=False)
    tensor([[1.],
            [2.]])
    """
    name = "linalg.solve_triangular"
    a = square(A, name)
    b = matrices(B, name, "B")
    _same_dtype(a, b, name)
    a, b = _paired(a, b, left, name)
    flags = {"upper": bool(upper), "unit": bool(unitriangular)}
    if left:
        return linalg.triangular_solve(a, b, trans=False, **flags)
    return transpose(linalg.triangular_solve(a, transpose(b), trans=True, **flags))


def triangular_solve(
    input: Tensor, A: Tensor, upper: bool = True, transpose: bool = False,
    unitriangular: bool = False,
) -> Any:
    """X of AX = input, or of A'X = input, and A.

    Shape: (*, N, K), (*, N, N) -> (*, N, K), (*, N, N). Dtype: floating point, the same of both.
    Raises RuntimeError if they do not fit.

    >>> torch.triangular_solve(torch.tensor([[6.0]]), torch.tensor([[2.0]]))
    tracegrad.return_types.triangular_solve(
    solution=tensor([[3.]]),
    cloned_coefficient=tensor([[2.]]))
    """
    for name, x in (("b", input), ("A", A)):
        if x.ndim < 2:
            raise RuntimeError(
                f"torch.triangular_solve: Expected {name} to have at least 2 dimensions, but it "
                f"has {x.ndim} dimensions instead"
            )
    a, b = _paired(square(A, "triangular_solve"), input, True, "triangular_solve")
    x = composite("TriangularSolveBackward0")(linalg.triangular_solve)(
        a, b, upper=bool(upper), trans=bool(transpose), unit=bool(unitriangular)
    )
    return TYPES["triangular_solve"](x, a.clone())


@composite("CholeskySolveBackward0")
def cholesky_solve(input: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X of AX = input, where L is the Cholesky factor of A.

    Shape: (*, N, K), (*, N, N) -> (*, N, K). Dtype: floating point, the same of both. Raises
    RuntimeError if they do not fit.

    >>> torch.cholesky_solve(torch.tensor([[8.0]]), torch.tensor([[2.0]]))
    tensor([[2.]])
    """
    for name, x in (("b", input), ("u", L)):
        if x.ndim < 2:
            raise RuntimeError(
                f"{name} should have at least 2 dimensions, but has {x.ndim} dimensions instead"
            )
    factor = square(L, "cholesky_solve")
    if factor.shape[-1] != input.shape[-2]:
        (k, n), (p, q) = factor.shape[-2:], input.shape[-2:]
        raise ShapeError(
            f"Incompatible matrix sizes for cholesky_solve: each A matrix is {k} by {n} but each "
            f"b matrix is {p} by {q}"
        )
    a, b = _paired(factor, input, True, "cholesky_solve")
    return implicit.cholesky_solved(a, b, bool(upper))


@composite("CholeskyInverseBackward0")
def cholesky_inverse(input: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A, where `input` is its Cholesky factor.

    Shape: (*, N, N) -> (*, N, N). Dtype: floating point.

    >>> torch.cholesky_inverse(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.2500, 0.0000],
            [0.0000, 0.0625]])
    """
    factor = square(input, "cholesky_inverse")
    return cholesky_solve(identity(factor, tuple(factor.shape)), factor, upper)


@composite("LinalgLuSolveBackward0")
def lu_solve(
    LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False
) -> Tensor:
    """X of AX = B (XA = B, A'X = B) from what `lu_factor` gives.

    Shape: LU (*, N, N), pivots (*, N), B (*, N, K) -> that of B. Dtype: that of both.
    Raises RuntimeError if shapes or dtypes do not fit.

    >>> LU, pivots = torch.linalg.lu_factor(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    >>> torch.linalg.lu_solve(LU, pivots, torch.tensor([[2.0], [4.0]]))
    tensor([[1.],
            [1.]])
    """
    factors = square(LU, "linalg.lu_solve")
    _same_dtype(factors, B, "linalg.lu_solve")
    factors, b = _paired(factors, B, left, "linalg.lu_solve")
    n = factors.shape[-1]
    order = expand(order_of(pivots, n), shape=tuple(factors.shape[:-1]))
    lower, upper = {"upper": False, "unit": True}, {"upper": True, "unit": False}
    b = b if left else transpose(b)
    if adjoint == left:
        x = linalg.triangular_solve(factors, b, trans=True, **upper)
        x = linalg.triangular_solve(factors, x, trans=True, **lower)
        x = rows_in_order(x, inverse_order(order))
    else:
        x = linalg.triangular_solve(factors, rows_in_order(b, order), trans=False, **lower)
        x = linalg.triangular_solve(factors, x, trans=False, **upper)
    return x if left else transpose(x)


# ---- determinants
@composite("LinalgDetBackward0")
def det(A: Tensor) -> Tensor:
    """The determinant.

    Shape: (*, N, N) -> (*). Dtype: float32 or float64, that of A. Raises RuntimeError if not
    square.

    >>> torch.linalg.det(torch.tensor([[2.0, 1.0], [0.0, 3.0]]))
    tensor(6.)
    """
    a = square(A, "linalg.det")
    if a.shape[-1] == 1:
        return reshape(a, shape=tuple(a.shape[:-2])).clone()
    return determinants.determinant(a, linalg.lu(ops.stop_gradient(a), check=None))


def _slogdet(A: Tensor, name: str) -> tuple[Tensor, Tensor]:
    a = square(A, name)
    packed = linalg.lu(ops.stop_gradient(a), check=None)
    pivots = diagonal(linalg.lu_factors(packed)[0])
    last = (pivots.ndim - 1,)
    sign = reductions.prod(ops.sign(pivots), dims=last) * determinants.parity(packed)
    size = reductions.sum(ops.log(ops.abs(pivots)), dims=last)
    return kinks.steps(sign, a), determinants.logabsdet(size, a, packed)


def linalg_slogdet(A: Tensor) -> Any:
    """The sign of the determinant and the logarithm of its size.

    Shape: (*, N, N) -> (*), (*). Dtype: float32 or float64, that of A. Raises RuntimeError if not
    square.

    >>> sign, logarithm = torch.linalg.slogdet(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> sign
    tensor(-1.)
    """
    run = composite("LinalgSlogdetBackward0")(_slogdet)
    return TYPES["linalg_slogdet"](*run(A, "linalg.slogdet"))


def slogdet(input: Tensor) -> Any:
    """As `linalg.slogdet`.

    Shape: (*, N, N) -> (*), (*). Dtype: floating point.

    >>> torch.slogdet(torch.tensor([[-2.0]]))
    tracegrad.return_types.slogdet(
    sign=tensor(-1.),
    logabsdet=tensor(0.6931))
    """
    return TYPES["slogdet"](*linalg_slogdet(input))


@composite("WhereBackward0")
def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant; NaN where that is negative.

    Shape: (*, N, N) -> (*). Dtype: floating point.

    >>> torch.logdet(torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
    tensor(1.7918)
    """
    sign, size = _slogdet(input, "logdet")
    return ops.where(sign < 0, math.nan, size)


# ---- pseudo-inverses
def tolerance(s: Tensor, shape: Any, atol: Any, rtol: Any) -> Tensor | float:
    """Below which a singular value counts as zero: the larger of atol and rtol times the
    largest.
    """
    if rtol is None:
        rtol = float(np.finfo(s.dtype.storage).eps) * max(shape[-2:])
        if isinstance(atol, Tensor):
            rtol = ops.where(atol > 0, 0.0, rtol)
        elif atol:
            rtol = 0.0
    atol = 0.0 if atol is None else atol
    atol, rtol = (
        reshape(t, shape=(*t.shape, 1)) if isinstance(t, Tensor) else t for t in (atol, rtol)
    )
    if not s.shape[-1]:
        return 0.0
    largest = reductions.max(s, dims=(s.ndim - 1,))
    return ops.maximum(reshape(largest, shape=(*largest.shape, 1)) * rtol, atol)


def _pseudo(a: Tensor, atol: Any, rtol: Any, hermitian: bool) -> Tensor:
    if hermitian:
        w, u = linalg_eigh(a)
        s, vh = ops.abs(w), transpose(u)
    else:
        u, s, vh = linalg_svd(a, False)
        w = s
    small = s <= tolerance(s, a.shape, atol, rtol)
    over = ops.where(small, 0.0, 1 / ops.where(small, 1.0, w))
    return dot(transpose(vh) * over.unsqueeze(-2), transpose(u))


@composite("LinalgPinvBackward0")
def pinv(A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None,
         rtol: Any = None) -> Tensor:
    """The pseudo-inverse: of singular values up to max(atol, rtol * largest), 0 is the inverse.

    Shape: (*, N, M) -> (*, M, N). Dtype: float32 or float64, that of A.
    Raises RuntimeError for fewer than two dimensions.

    >>> torch.linalg.pinv(torch.tensor([[2.0, 0.0], [0.0, 0.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.0000]])
    """
    if not isinstance(A, Tensor) or A.ndim < 2 or A.dtype.kind != "float" or A.dtype.is_half:
        shown = f"{SCALAR_TYPE[A.dtype]}{{{list(A.shape)}}}" if isinstance(A, Tensor) else A
        raise RuntimeError(
            f"linalg.pinv({shown}): expected a tensor with 2 or more dimensions of float, double, "
            "cfloat or cdouble types"
        )
    a = square(A, "linalg.pinv") if hermitian else A
    x = _pseudo(ops.stop_gradient(a), atol, rcond if rtol is None else rtol, hermitian)
    return implicit.pinv(x, a)


def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """The pseudo-inverse.

    Shape: (*, M, N) -> (*, N, M). Dtype: floating point.

    >>> torch.pinverse(torch.tensor([[2.0], [0.0]]))
    tensor([[0.5000, 0.0000]])
    """
    return pinv(input, rcond)


_DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


def lstsq(A: Tensor, B: Tensor, rcond: Any = None, *, driver: str | None = None) -> Any:
    """X that makes AX - B smallest, and of those the smallest X; with the squares that are left,
    the rank and the singular values, where torch's driver of that name gives them.

    Shape: (*, N, M), (*, N, K) -> (*, M, K), residuals, rank and singular values.
    Dtype: float32 or float64, that of both. Raises RuntimeError if shapes or dtypes do not fit.

    >>> torch.linalg.lstsq(torch.ones(2, 1), torch.tensor([[1.0], [3.0]])).solution
    tensor([[2.0000]])
    """
    name, driver = "torch.linalg.lstsq", driver or "gelsy"
    if driver not in _DRIVERS:
        raise RuntimeError(
            f"{name}: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)"
        )
    if A.ndim < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    vector = A.ndim - 1 == B.ndim and tuple(B.shape) == tuple(A.shape[:-1])
    b = reshape(B, shape=(*B.shape, 1)) if vector else B
    a = matrices(A, "linalg.lstsq")
    (m, n), none = a.shape[-2:], a.new_zeros((0,))
    if b.shape[-2] != m:
        raise ShapeError(f"{name}: input.size(-2) should match other.size(-2)")
    a, b = (expand(x, shape=(*broadcast(name, tuple(a.shape[:-2]), tuple(b.shape[:-2])),
                             *x.shape[-2:])) for x in (a, b))
    x = composite("LinalgLstsqBackward0")(lambda a, b: dot(pinv(a, rcond), b))(a, b)
    rank, values = none.to(int64), none
    residuals = x.reshape(-1)[:0]
    if driver != "gels":
        s = linalg_svd(ops.stop_gradient(a), False).S
        rank = (s > tolerance(s, a.shape, None, rcond)).sum(-1)
        values = s if driver != "gelsy" else none
    if m > n and driver != "gelsy" and (driver == "gels" or bool((rank == n).all())):
        rest = dot(a, x) - b
        residuals = reductions.sum(rest * rest, dims=(rest.ndim - 2,))
    return TYPES["linalg_lstsq"](reshape(x, shape=tuple(x.shape[:-1])) if vector else x,
                        residuals, rank, values)


def old_lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """As `linalg.lu_solve`, the right-hand side first.

    Shape: (*, N, K), (*, N, N), (*, N) -> (*, N, K). Dtype: floating point; pivots int32.

    >>> LU, pivots = torch.linalg.lu_factor(torch.tensor([[2.0]]))
    >>> torch.lu_solve(torch.tensor([[6.0]]), LU, pivots)
    tensor([[3.]])
    """
    return lu_solve(LU_data, LU_pivots, b)


inverse = inv
