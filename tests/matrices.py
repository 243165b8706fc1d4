"""Cases of the linear algebra primitives for the gradient test: name -> [(function, shapes)].

The functions make good matrices of the numbers drawn, so that no factor is near a singular one.
"""

from __future__ import annotations

from tracegrad.ir.ops import determinants as D, implicit as I, linalg as L
from tracegrad.ir.ops.contract import dot, transpose
from tracegrad.ir.ops.elementwise import cast, eq, log, stop_gradient, where
from tracegrad.ir.ops.matrices import counter, grid, identity, tril, triu

SHAPES = ((2, 3, 3),), ((1, 1),), ((0, 0),), ((0, 2, 2),)
TALL = ((4, 2),), ((2, 4),), ((3, 3),), ((0, 3, 2),), ((2, 0),)


TWICE = [(s, s) for (s,) in SHAPES]


def strong(x):
    """Its diagonal outweighs the rest: regular, positive definite if symmetric."""
    return 0.3 * x + 4 * identity(x, tuple(x.shape))


def symmetric(x):
    return strong(x + transpose(x))


def steps(x):
    """A matrix of this shape with 1, 2, 3, ... on its diagonal."""
    numbers = cast(counter(x, x.shape[-1], 1, 2) + 1, dtype=x.dtype)
    return where(eq(*grid(x)), numbers, 0 * x)


def rank_two(x):
    return dot(x, transpose(x + 1.0))


def packed(a):
    return stop_gradient(L.lu(a, check=None))


def solving(trans):
    return lambda x, b: I.solved(strong(x), packed(strong(x)), b, trans)


def inverted(x):
    a = strong(x)
    return I.inverse(stop_gradient(I.lu_solve(packed(a), identity(a, tuple(a.shape)), False)), a)


def logabsdet(x):
    a = strong(x)
    return D.logabsdet(stop_gradient(log(D.determinant(a, packed(a)))), a, packed(a))


def eigenvalues(x):
    w, v = L.eigh_factors(L.eigh(stepped(x), upper=False, check=None), x.shape[-1])
    return I.eigenvalues(stop_gradient(w), stepped(x), v)


def stepped(x):
    return steps(x) + 0.1 * (x + transpose(x))


def singular_values(x):
    a = steps(x) + 0.2 * x
    u, s, vh = L.svd_factors(L.svd(a, full=False, check=None), tuple(a.shape), False)
    return I.singular_values(stop_gradient(s), a, u, vh)


def pinv(x):
    """Of a matrix of full column rank: (a'a)^-1 a'."""
    a = steps(x) + 0.2 * x
    gram = stop_gradient(dot(transpose(a), a))
    return I.pinv(I.lu_solve(packed(gram), stop_gradient(transpose(a)), False), a)


def each(function, shapes):
    return [(function, s) for s in shapes]


CASES = {
    "cholesky": each(lambda x: L.cholesky(symmetric(x), check=None), SHAPES),
    "triangular_solve": [
        (lambda x, b, f=flags: L.triangular_solve(
            strong(x), b, upper=f[0], trans=f[1], unit=f[2]), shapes)
        for flags in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 1), (0, 0, 1))
        for shapes in (((2, 3, 3), (2, 3, 2)),)
    ],
    "lu": each(lambda x: L.lu(steps(x) + 0.2 * x, check=None), TALL),
    "qr": each(lambda x: L.qr(steps(x) + 0.2 * x, complete=False), TALL)
    + each(lambda x: L.qr(steps(x) + 0.2 * x, complete=True), TALL[1:3]),
    "eigh": [
        (lambda x, u=u: L.eigh(steps(x) + 0.1 * (x + transpose(x)), upper=u, check=None), s)
        for s in SHAPES for u in (False, True)
    ],
    "svd": each(lambda x: L.svd(steps(x) + 0.2 * x, full=False, check=None), TALL),
    "eigenvalues": each(eigenvalues, SHAPES),
    "singular_values": each(singular_values, TALL),
    "solve": [(solving(t), ((2, 3, 3), (2, 3, 2))) for t in (False, True)],
    "inverse": each(inverted, SHAPES),
    "cholesky_solve": [
        (lambda x, b, u=u: I.cholesky_solved((triu if u else tril)(strong(x)), b, u),
         ((2, 3, 3), (2, 3, 2))) for u in (False, True)
    ],
    "det": each(lambda x: D.determinant(strong(x), packed(strong(x))), SHAPES)
    + [(lambda x: D.determinant(dot(x, transpose(x)), packed(dot(x, transpose(x)))), ((3, 3),))],
    "cofactor": each(lambda x: D.cofactors(strong(x), packed(strong(x))), SHAPES),
    "det_curvature": each(
        lambda x, g: D.curvature(strong(x), packed(strong(x)), g), TWICE),
    "logabsdet": each(logabsdet, SHAPES),
    "pinv": each(pinv, (((4, 2),), ((2, 3, 3),))),
}
