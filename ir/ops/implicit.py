"""Values that are known otherwise and only lack a derivative: solutions and inverses.

The first operand of such a primitive is its result, computed from the others by means that need not
be differentiated; its rule is that of the equation which the result fulfils.
"""

from __future__ import annotations

from typing import Any

from ..dtype import DType
from ..op import Kind, OpDef, register
from .contract import dot, transpose
from .elementwise import stop_gradient
from .linalg import lu_factors, triangular_solve
from .matrices import inverse_order, row, rows_in_order


def implicit(name: str, vjp: Any, grad_name: str, *params: dict[str, Any]) -> OpDef:
    """A primitive whose result is its first operand, known by other means, and which says how that
    depends on the others. In a kernel it is nothing. `params` are those that it is used with.
    """

    def infer(x: Any, *others: Any, **_: Any) -> tuple[tuple[int, ...], DType]:
        return x.shape, x.dtype

    return register(OpDef(
        name, Kind.IMPLICIT, lambda x, *others, **_: x, infer, vjp, grad_name=grad_name,
        used_with=params or ({},),
    ))


def lu_solve(packed: Any, b: Any, trans: bool) -> Any:
    """X of a X = b, or of a' X = b, from the packed LU of a."""
    factors, order, _ = lu_factors(packed)
    lower, upper = {"upper": False, "unit": True}, {"upper": True, "unit": False}
    if trans:
        x = triangular_solve(factors, b, trans=True, **upper)
        x = triangular_solve(factors, x, trans=True, **lower)
        return rows_in_order(x, inverse_order(order))
    x = triangular_solve(factors, rows_in_order(b, order), trans=False, **lower)
    return triangular_solve(factors, x, trans=False, **upper)


def solved(a: Any, packed: Any, b: Any, trans: bool = False) -> Any:
    """The same, differentiable in a (by the rule of a solution, not through its LU) and b."""
    x = lu_solve(stop_gradient(packed), stop_gradient(b), trans)
    return solve(x, a, stop_gradient(packed), b, trans=trans)


def _solve_rule(g: Any, y: Any, x: Any, a: Any, packed: Any, b: Any, *, trans: bool) -> Any:
    gb = solved(a, packed, g, not trans)
    return -dot(y, transpose(gb)) if trans else -dot(gb, transpose(y))


# solve(x, a, packed, b, trans=): x of a x = b, or of a' x = b
solve = implicit(
    "solve", (None, _solve_rule, None,
              lambda g, y, x, a, packed, b, *, trans: solved(a, packed, g, not trans)),
    "LinalgSolveExBackward0", {"trans": False}, {"trans": True},
)

# inverse(x, a): x = a^-1
inverse = implicit(
    "inverse",
    (None, lambda g, y, x, a: -dot(transpose(y), dot(g, transpose(y)))),
    "LinalgInvExBackward0",
)


def cholesky_solved(factor: Any, b: Any, upper: bool) -> Any:
    """X of L L' X = b, or of U' U X = b. As torch has it, the gradient is that of the product of
    the whole factor, of which the value reads one triangle.
    """
    x, triangle = stop_gradient(b), stop_gradient(factor)
    for trans in (upper, not upper):
        x = triangular_solve(triangle, x, upper=upper, trans=trans, unit=False)
    return cholesky_solve(x, factor, b, upper=upper)


def _cholesky_solve_rule(g: Any, y: Any, x: Any, factor: Any, b: Any, *, upper: bool) -> Any:
    outer = dot(cholesky_solved(factor, g, upper), transpose(y))
    both = -(outer + transpose(outer))
    return dot(factor, both) if upper else dot(both, factor)


cholesky_solve = implicit(
    "cholesky_solve", (None, _cholesky_solve_rule,
                       lambda g, y, x, f, b, *, upper: cholesky_solved(f, g, upper)),
    "CholeskySolveBackward0", {"upper": False}, {"upper": True},
)


def read(*_: Any) -> None:
    """Of an operand that a rule reads: no gradient, but its history counts for the second one."""


# eigenvalues(x, a, v): x are the eigenvalues of a symmetric a, and v its eigenvectors
eigenvalues = implicit(
    "eigenvalues", (None, lambda g, y, x, a, v: dot(v * row(g), transpose(v)), read),
    "LinalgEighBackward0",
)

# singular_values(x, a, u, vh): x are the singular values of a, and u and vh its singular vectors
singular_values = implicit(
    "singular_values", (None, lambda g, y, x, a, u, vh: dot(u * row(g), vh), read, read),
    "LinalgSvdBackward0",
)


def _pinv_rule(g: Any, y: Any, x: Any, a: Any) -> Any:
    """Golub and Pereyra, The differentiation of pseudo-inverses and nonlinear least squares
    problems whose variables separate (1973).
    """
    xt, gt = transpose(y), transpose(g)
    inside = dot(xt, dot(g, xt))
    one = dot(dot(gt, y), xt)
    two = dot(xt, dot(y, gt))
    return one - dot(a, dot(y, one)) + two - dot(dot(two, y), a) - inside


# pinv(x, a): x is the pseudo-inverse of a, whose rank does not change nearby
pinv = implicit("pinv", (None, _pinv_rule), "LinalgPinvBackward0")
