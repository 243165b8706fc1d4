"""Determinants and their logarithms, with derivatives that hold for singular matrices too.

The first derivative of a determinant are the cofactors, which an LU gives for any rank. Their
derivative in turn is made of products of all singular values but two: the formula by inverses,
differences of large numbers, loses everything next to a singular matrix. As in implicit.py, the
first operand of a primitive is its value.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .contract import dot, transpose
from .elementwise import abs, cast, eq, gt, logical_and, sign, stop_gradient, where
from .implicit import implicit, solved
from .linalg import lu, lu_factors, svd, svd_factors
from .matrices import column, corner, counter, grid, identity, join, row
from .movement import diagonal, embedded
from .prefix import others
from .reduce import max as max_, min as min_, prod, sum as sum_


def _pivots(packed: Any) -> Any:
    n = packed.shape[-2]
    return diagonal(corner(packed, (0, n), (0, n)))


def _last(x: Any) -> tuple[int, ...]:
    return (len(x.shape) - 1,)


def _both(x: Any) -> Any:
    """The sum of each matrix, as a matrix of one number."""
    sums = sum_(x, dims=(len(x.shape) - 2, len(x.shape) - 1))
    return column(column(sums))


def regular(packed: Any) -> Any:
    """A packed LU, its zero pivots replaced by a tiny one: of a matrix of rank n - 1, the product
    of determinant and inverse then is its adjugate.
    """
    n = packed.shape[-2]
    tiny = float(np.finfo(packed.dtype.compute).eps)
    factors = corner(packed, (0, n), (0, n))
    factors = where(logical_and(eq(*grid(factors)), eq(factors, 0)), tiny, factors)
    return join(factors, corner(packed, (0, n), (n, n + 2)), axis=-1)


def parity(packed: Any) -> Any:
    """1 or -1: whether the order of the rows takes an even number of exchanges."""
    n = packed.shape[-2]
    pivots = lu_factors(packed)[2]
    moved = where(eq(pivots, counter(pivots, n, 0, 1)), 1.0, -1.0)
    return prod(cast(moved, dtype=packed.dtype), dims=_last(moved))


def determinant(a: Any, packed: Any) -> Any:
    """det(a) from its packed LU."""
    packed = stop_gradient(packed)
    pivots = _pivots(packed)
    value = prod(pivots, dims=_last(pivots)) * parity(packed)
    return det(stop_gradient(value), a, packed)


def transposed_inverse(a: Any, packed: Any) -> Any:
    return solved(a, packed, identity(a, tuple(a.shape)), True)


def cofactors(a: Any, packed: Any) -> Any:
    """The derivative of the determinant: the transposed adjugate."""
    x, packed = stop_gradient(a), stop_gradient(packed)
    filled = regular(packed)
    value = column(column(determinant(x, filled))) * transposed_inverse(x, filled)
    return cofactor(stop_gradient(value), a, packed)


def _curved(a: Any, g: Any) -> Any:
    """The second derivative of the determinant of a = U S V', applied to g. Of a diagonal matrix,
    it goes from the entries (i, i) to (j, j), and with the other sign from (i, j) to (j, i), by
    the product of all other numbers on the diagonal.
    """
    n = a.shape[-1]
    u, s, vh = svd_factors(svd(a, full=False, check=None), (n, n), False)
    on = eq(*grid(a))
    rest = where(on, 0, others(where(on, 1, row(s)), len(a.shape) - 1))
    inner = dot(transpose(u), dot(g, transpose(vh)))
    straight = sum_(rest * row(diagonal(inner)), dims=_last(a))
    turned = lu(dot(u, vh), check=None)
    way = sign(prod(_pivots(turned), dims=_last(s))) * parity(turned)
    curved = embedded(straight) - rest * transpose(inner)
    return column(column(way)) * dot(u, dot(curved, vh))


def curvature(a: Any, packed: Any, g: Any) -> Any:
    """The derivative of the cofactors along g, and, since it is symmetric, back from g."""
    return det_curvature(_curved(stop_gradient(a), stop_gradient(g)), a, packed, g)


def _third(k: Any, y: Any, x: Any, a: Any, packed: Any, g: Any) -> Any:
    """The derivative of |a| (<g, w> <k, w> - <k, w g' w>), where w is the transposed inverse; NaN
    where there is none.
    """
    pivots = abs(_pivots(packed))
    if not pivots.shape[-1]:
        return k
    small = max_(pivots, dims=_last(pivots)) * (4 * float(np.finfo(a.dtype.compute).eps))
    fits = gt(min_(pivots, dims=_last(pivots)), small * a.shape[-1])
    w, size = transposed_inverse(a, packed), column(column(determinant(a, packed)))
    of_g, of_k = (dot(w, dot(transpose(m), w)) for m in (g, k))
    along_g, along_k = _both(g * w), _both(k * w)
    third = (along_g * along_k - _both(k * of_g)) * w - along_k * of_g - along_g * of_k
    third = third + dot(of_g, dot(transpose(k), w)) + dot(of_k, dot(transpose(g), w))
    return where(column(column(fits)), size * third, float("nan"))


# det(x, a, packed): x = |a|
det = implicit(
    "det", (None, lambda g, y, x, a, p: column(column(g)) * cofactors(a, p), None),
    "LinalgDetBackward0",
)

# cofactor(x, a, packed): x is the derivative of |a|
cofactor = implicit(
    "cofactor", (None, lambda g, y, x, a, p: curvature(a, p, g), None), "LinalgDetBackward0"
)

# det_curvature(x, a, packed, g): x is the derivative of the cofactors along g
det_curvature = implicit(
    "det_curvature", (None, _third, None, lambda k, y, x, a, p, g: curvature(a, p, k)),
    "LinalgDetBackward0",
)

# logabsdet(x, a, packed): log |det a|
logabsdet = implicit(
    "logabsdet",
    (None, lambda g, y, x, a, p: column(column(g)) * transposed_inverse(a, p), None),
    "LinalgSlogdetBackward0",
)
