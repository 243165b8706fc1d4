"""The factorisations of matrices, which LAPACK computes.

A primitive has one answer, so a factorisation returns its factors packed in one array, of which the
public functions cut what they show; without `vectors`, only the eigenvalues, the singular values or
R. Matrices are the last two axes; all operands of a primitive have the same leading ones. `check`
names the function that a failure is reported for; without it, what has no factor becomes NaN. All
derivatives are made of differentiable operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy

from ..dtype import DType, int64
from ..faults import no_factor
from ..op import Kind, OpDef, register
from .contract import dot, transpose
from .elementwise import cast, eq, where
from .matrices import (
    Shape,
    column,
    corner,
    grid,
    identity,
    inverse_order,
    join,
    piece,
    row,
    rows_in_order,
    tril,
    triu,
)
from .movement import diagonal, embedded, reshape


# ---- references
def _matrices(*arrays: np.ndarray) -> Iterator[tuple[int, ...]]:
    """The positions of the matrices in stacks of them."""
    return np.ndindex(arrays[0].shape[:-2])


def _failed(check: str | None, info: int, a: np.ndarray, at: tuple[int, ...]) -> None:
    if check is not None:
        batch = int(np.ravel_multi_index(at, a.shape[:-2])) if at else None
        raise no_factor(check, info, batch)


def _unconverged(check: str | None, a: np.ndarray) -> None:
    """NumPy does not say which matrix it was: the first that is not finite, else the first."""
    finite = np.isfinite(a).all((-2, -1))
    at = np.unravel_index(int(np.argmin(finite)), finite.shape)
    _failed(check, 1 if finite.all() else -1, a, tuple(int(i) for i in at))


def _lapack(name: str, a: np.ndarray) -> Callable[..., Any]:
    return getattr(scipy.linalg.lapack, ("s" if a.dtype == np.float32 else "d") + name)


def _factorisation(name: str, ref: Callable[..., Any], shape: Callable[..., Shape], vjp: Any,
                   grad_name: str) -> OpDef:
    """A record; shape(*shapes, **params) is that of the packed answer."""

    def infer(*avals: Any, **params: Any) -> tuple[Shape, DType]:
        return shape(*(tuple(a.shape) for a in avals), **params), avals[0].dtype

    return register(OpDef(name, Kind.LINALG, ref, infer, vjp, grad_name=grad_name))


# ---- Cholesky
def _lost(pivots: np.ndarray) -> np.ndarray:
    """Which pivots are NaN. In float32, as in torch, one after an infinite one is."""
    lost = np.isnan(pivots)
    if pivots.dtype == np.float32:
        lost[1:] |= np.isinf(pivots[:-1])
    return lost


def _cholesky(a: np.ndarray, *, check: str | None) -> np.ndarray:
    try:
        out = np.linalg.cholesky(a)
        if np.isfinite(out).all():
            return out
    except np.linalg.LinAlgError:
        out = np.empty_like(a)
    for at in _matrices(a):
        out[at], info = _lapack("potrf", a)(a[at], lower=1, clean=1)
        if (lost := _lost(np.diagonal(out[at]))).any():  # a pivot which LAPACK may pass
            info = int(lost.argmax()) + 1
        if info:
            _failed(check, info, a, at)
            n = a.shape[-1]
            out[at][info - 1 :, info - 1 :] = np.tril(np.full((n - info + 1,) * 2, np.nan))
    return out


def _cholesky_rule(g: Any, y: Any, a: Any, *, check: str | None) -> Any:
    """Murray, Differentiation of the Cholesky decomposition (2016), equation 10."""
    phi = tril(dot(transpose(y), g))
    phi = phi - 0.5 * embedded(diagonal(phi))
    lower = {"upper": False, "trans": True, "unit": False}
    left = triangular_solve(y, phi, **lower)
    s = triangular_solve(y, transpose(left), **lower)  # the transpose of what is meant
    return 0.5 * (s + transpose(s))


# cholesky(a): the lower factor L of a = L L', of which only the lower triangle is read
cholesky = _factorisation(
    "cholesky", _cholesky, lambda a, *, check: a, (_cholesky_rule,), "LinalgCholeskyExBackward0"
)


# ---- triangular systems
def _triangular_solve(
    a: np.ndarray, b: np.ndarray, *, upper: bool, trans: bool, unit: bool
) -> np.ndarray:
    out = np.empty_like(b)
    if not b.size:
        return out
    trsm = getattr(scipy.linalg.blas, "strsm" if a.dtype == np.float32 else "dtrsm")
    for at in _matrices(a):
        out[at] = trsm(1.0, a[at], b[at], lower=not upper, trans_a=trans, diag=unit)
    return out


def _triangular_rule(g: Any, y: Any, a: Any, b: Any, *, upper: bool, trans: bool,
                     unit: bool) -> Any:
    gb = triangular_solve(a, g, upper=upper, trans=not trans, unit=unit)
    ga = dot(y, transpose(gb)) if trans else dot(gb, transpose(y))
    return -(triu if upper else tril)(ga, unit)


# triangular_solve(a, b): X of a X = b, or of a' X = b with `trans`; only one triangle of a is read
triangular_solve = _factorisation(
    "triangular_solve", _triangular_solve, lambda a, b, **_: b,
    (_triangular_rule, lambda g, y, a, b, *, upper, trans, unit: triangular_solve(
        a, g, upper=upper, trans=not trans, unit=unit)),
    "LinalgSolveTriangularBackward0",
)


# ---- LU
def _eliminated(a: np.ndarray) -> tuple[np.ndarray, list[int], int]:
    """What getrf means. LAPACK's makers differ in what they make of NaN and infinities, and leave
    some out.
    """
    a, pivots, info = a.copy(), [], 0
    for i in range(min(a.shape)):
        pivots.append(r := max(range(i, len(a)), key=abs(a[:, i]).__getitem__))
        a[[i, r]] = a[[r, i]]
        if a[i, i] != 0:
            a[i + 1 :, i] /= a[i, i]
        else:
            info = info or i + 1
        a[i + 1 :, i + 1 :] -= np.outer(a[i + 1 :, i], a[i, i + 1 :])
    return a, pivots, info


def _lu(a: np.ndarray, *, check: str | None) -> np.ndarray:
    m, n = a.shape[-2:]
    out = np.zeros((*a.shape[:-1], n + 2), a.dtype)
    if not a.size:
        out[..., n] = np.arange(m)
        return out
    getrf = _lapack("getrf", a)
    for at in _matrices(a):
        factor = getrf if np.isfinite(a[at]).all() else _eliminated
        out[at][:, :n], pivots, info = factor(a[at])
        if info:
            _failed(check, info, a, at)
        order = np.arange(m)
        for i, p in enumerate(pivots):
            order[[i, p]] = order[[p, i]]
        out[at][:, n] = order
        out[at][: len(pivots), n + 1] = pivots
    return out


def lu_factors(packed: Any) -> tuple[Any, Any, Any]:
    """L and U in one matrix, the order of the rows (a[order] = L U), and the pivots, as int64."""
    m, n = packed.shape[-2], packed.shape[-1] - 2
    rows = (0, m)
    order, pivots = (
        reshape(cast(corner(packed, rows, (k, k + 1)), dtype=int64), shape=packed.shape[:-1])
        for k in (n, n + 1)
    )
    return corner(packed, rows, (0, n)), order, pivots


def _lu_rule(g: Any, y: Any, a: Any, *, check: str | None) -> Any:
    """From dA = P'(dL U + L dU): the triangles of L'gL and gU U' carry everything; the part of a
    wide or tall matrix beyond the square follows from it by a triangular system.
    """
    m, n = a.shape[-2:]
    k = min(m, n)
    factors, order, _ = lu_factors(y)
    g = corner(g, (0, m), (0, n))
    square, g_square = (corner(x, (0, k), (0, k)) for x in (factors, g))
    lower, upper = {"upper": False, "unit": True}, {"upper": True, "unit": False}
    unit = tril(square, True) + identity(square, square.shape)
    left = dot(transpose(unit), tril(g_square, True))
    right = dot(triu(g_square), transpose(triu(square)))
    beyond = ((0, m), (m, n)) if n > m else ((n, m), (0, n))
    rest, g_rest = corner(factors, *beyond), corner(g, *beyond)
    if n > m:
        left = left - dot(g_rest, transpose(rest))
    elif m > n:
        right = right - dot(transpose(rest), g_rest)
    middle = triangular_solve(square, tril(left, True) + triu(right), trans=True, **lower)
    gradient = transpose(triangular_solve(square, transpose(middle), trans=False, **upper))
    if n > m:
        gradient = join(gradient, triangular_solve(square, g_rest, trans=True, **lower), axis=-1)
    elif m > n:
        below = triangular_solve(square, transpose(g_rest), trans=False, **upper)
        gradient = join(gradient, transpose(below), axis=-2)
    return rows_in_order(gradient, inverse_order(order))


# lu(a), (m, n): an (m, n + 2) matrix of L (its unit diagonal left out) and U, then the order of the
# rows, then the pivots, counted from 0
lu = _factorisation("lu", _lu, lambda a, *, check: (*a[:-1], a[-1] + 2), (_lu_rule,),
                    "LinalgLuBackward0")


# ---- QR
def qr_shapes(a: Shape, complete: bool) -> tuple[Shape, Shape]:
    m, n = a[-2:]
    k = m if complete else min(m, n)
    return (m, k), (k, n)


def _flat(lead: Shape, *factors: np.ndarray) -> np.ndarray:
    """Factors as one flat array for each matrix."""
    return np.concatenate([f.reshape(*lead, math.prod(f.shape[len(lead) :])) for f in factors], -1)


def _qr(a: np.ndarray, *, complete: bool, vectors: bool = True) -> np.ndarray:
    q, r = np.linalg.qr(a, "complete" if complete else "reduced")
    for at in () if np.isfinite(r).all() else _matrices(a):
        if (lost := ~np.isfinite(np.diagonal(r[at]))).any():  # LAPACK may leave later columns alone
            i = int(lost.argmax())
            after = r[at][i:, i + 1 :]
            after[np.triu(np.ones(after.shape, bool), -1)] = q[at][i + 1 :, i + 1 :] = np.nan
    return _flat(a.shape[:-2], *((q, r) if vectors else (r,)))


def qr_factors(packed: Any, shape: Shape, complete: bool) -> tuple[Any, Any]:
    q, r = qr_shapes(shape, complete)
    return piece(packed, 0, q), piece(packed, math.prod(q), r)


def _qr_rule(g: Any, y: Any, a: Any, *, complete: bool) -> Any:
    """Walter and Lehmann, Algorithmic differentiation of linear algebra functions (2012); of a wide
    matrix the first columns make Q, and the others are Q'A.
    """
    m, n = a.shape[-2:]
    if complete and m > n:
        raise RuntimeError(
            "The QR decomposition is not differentiable when mode='complete' and nrows > ncols."
        )
    (q, r), (gq, gr) = (qr_factors(x, tuple(a.shape), complete) for x in (y, g))
    rest = None
    if n > m:
        rest = corner(gr, (0, m), (m, n))
        gq = gq + dot(corner(a, (0, m), (m, n)), transpose(rest))
        r, gr = corner(r, (0, m), (0, m)), corner(gr, (0, m), (0, m))
    inner = triu(dot(gr, transpose(r)) - dot(transpose(q), gq))
    inner = inner + transpose(triu(inner, True))
    right = gq + dot(q, inner)
    gradient = transpose(triangular_solve(r, transpose(right), upper=True, trans=False, unit=False))
    return gradient if rest is None else join(gradient, dot(q, rest), axis=-1)


# qr(a): Q, then R, flat
qr = _factorisation(
    "qr", _qr,
    lambda a, *, complete, vectors=True: (
        *a[:-2], sum(math.prod(s) for s in qr_shapes(a, complete)[not vectors :])),
    (_qr_rule,), "LinalgQrBackward0",
)


# ---- symmetric eigenvalues
def _eigh(a: np.ndarray, *, upper: bool, check: str | None, vectors: bool = True) -> np.ndarray:
    triangle: Any = "U" if upper else "L"
    factors: tuple[np.ndarray, ...]
    try:
        factors = np.linalg.eigh(a, triangle) if vectors else (np.linalg.eigvalsh(a, triangle),)
    except np.linalg.LinAlgError:
        _unconverged(check, a)
        shapes = (a.shape[:-1], a.shape)[: 1 + vectors]
        factors = tuple(np.full(s, np.nan, a.dtype) for s in shapes)
    return _flat(a.shape[:-2], *factors)


def eigh_factors(packed: Any, n: int) -> tuple[Any, Any]:
    """Eigenvalues, ascending, and eigenvectors, as columns."""
    return piece(packed, 0, (n,)), piece(packed, n, (n, n))


def _over_gaps(w: Any) -> Any:
    """1 / (w_j - w_i), and 0 where i = j."""
    gaps = row(w) - column(w)
    same = eq(*grid(gaps))
    return where(same, 0, 1 / where(same, 1, gaps))


def _eigh_rule(g: Any, y: Any, a: Any, *, upper: bool, check: str | None, **_: Any) -> Any:
    """Giles, An extended collection of matrix derivative results (2008), 3.1; made symmetric.
    Vectors of equal values have no derivative: it is infinite or NaN.
    """
    (w, v), (gw, gv) = (eigh_factors(x, a.shape[-1]) for x in (y, g))
    inner = 0.5 * dot(transpose(v), gv) * _over_gaps(w)
    inner = inner + transpose(inner) + embedded(gw)
    return dot(v, dot(inner, transpose(v)))


# eigh(a): the eigenvalues, then the eigenvectors, flat; only one triangle is read
eigh = _factorisation(
    "eigh", _eigh,
    lambda a, *, upper, check, vectors=True: (*a[:-2], a[-1] + vectors * a[-1] * a[-1]),
    (_eigh_rule,), "LinalgEighBackward0",
)


# ---- singular values
def svd_shapes(a: Shape, full_: bool) -> tuple[Shape, Shape, Shape]:
    m, n = a[-2:]
    k = min(m, n)
    return (m, m if full_ else k), (k,), (n if full_ else k, n)


def _svd(a: np.ndarray, *, full: bool, check: str | None, vectors: bool = True) -> np.ndarray:
    factors: tuple[np.ndarray, ...]
    try:
        if not np.isfinite(a).all():  # LAPACK may not come back from an infinity
            raise np.linalg.LinAlgError
        factors = np.linalg.svd(a, full) if vectors else (np.linalg.svd(a, compute_uv=False),)
    except np.linalg.LinAlgError:
        _unconverged(check, a)
        shapes = svd_shapes(a.shape, full) if vectors else svd_shapes(a.shape, full)[1:2]
        factors = tuple(np.full((*a.shape[:-2], *s), np.nan, a.dtype) for s in shapes)
    return _flat(a.shape[:-2], *factors)


def svd_factors(packed: Any, shape: Shape, full_: bool) -> tuple[Any, Any, Any]:
    """U, S and V'."""
    u, s, vh = svd_shapes(shape, full_)
    at = math.prod(u)
    return piece(packed, 0, u), piece(packed, at, s), piece(packed, at + s[0], vh)


def _quotient(x: Any, s: Any) -> Any:
    """x / s, and 0 where x is: of factors that nobody used."""
    return where(eq(x, 0), 0, x / s)


def _svd_rule(g: Any, y: Any, a: Any, *, full: bool, check: str | None) -> Any:
    """Townsend, Differentiating the singular value decomposition (2016); of full factors, the
    columns that belong to no singular value have no gradient.
    """
    m, n = a.shape[-2:]
    k = min(m, n)
    (u, s, vh), (gu, gs, gvh) = (svd_factors(x, tuple(a.shape), full) for x in (y, g))
    u, gu = (corner(x, (0, m), (0, k)) for x in (u, gu))
    vh, gvh = (corner(x, (0, k), (0, n)) for x in (vh, gvh))
    v, gv = transpose(vh), transpose(gvh)
    gap = _over_gaps(s * s)
    ut_gu, vt_gv = dot(transpose(u), gu), dot(vh, gv)
    inner = (
        (ut_gu - transpose(ut_gu)) * gap * row(s)
        + (vt_gv - transpose(vt_gv)) * gap * column(s)
        + embedded(gs)
    )
    left = dot(u, inner)
    if m > k:
        left = left + _quotient(gu - dot(u, ut_gu), row(s))
    gradient = dot(left, vh)
    if n > k:
        gradient = gradient + dot(u, transpose(_quotient(gv - dot(v, vt_gv), row(s))))
    return gradient


# svd(a): U, S and V', flat
svd = _factorisation(
    "svd", _svd,
    lambda a, *, full, check, vectors=True: (
        *a[:-2], sum(math.prod(s) for s in svd_shapes(a, full)) if vectors else min(a[-2:])),
    (_svd_rule,), "LinalgSvdBackward0",
)
