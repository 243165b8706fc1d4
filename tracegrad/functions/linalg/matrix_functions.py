"""Norms of matrices, and functions of whole matrices: powers, the exponential, rank, condition."""

from __future__ import annotations

import math
from typing import Any

from ...ir.dtype import bool_, int64
from ...ir.op import ShapeError
from ...ir.ops import elementwise as ops, kinks, reduce as reductions
from ...ir.ops.contract import dot, transpose
from ...ir.ops.matrices import corner, identity
from ...ir.ops.movement import concat, reshape
from ...tracer.autograd.graph import composite
from ...tracer.tensor.promotion import SCALAR_TYPE, as_dtype
from ...tracer.tensor.tensor import Tensor
from ..arguments import Dims, numpy_names, wrap_dim
from ..torch.reduction import amax, amin, sum as sum_
from ..torch.reduction_statistics import vector_norm
from ..torch.slicing_joining import stack
from .decompositions import eigvalsh, matrices, square, svdvals
from .solvers import inv, inv_ex, solve, tolerance

__all__ = ["frobenius_norm", "matrix_exp", "matrix_power", "norm", "nuclear_norm", "orgqr", "ormqr"]


# ---- norms
def _two_dims(dim: Any, rank: int) -> tuple[int, int]:
    first, second = (wrap_dim(d, rank) for d in dim)
    if first == second:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got {tuple(dim)}")
    return first, second


def matrix_norm(A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *,
                dtype: Any = None) -> Tensor:
    """The norm of matrices: 'fro', 'nuc', inf, -inf, 1, -1, 2, -2.

    Shape: (*, N, M) -> (*). Dtype: that of A, which must be floating point, or `dtype`.
    Raises RuntimeError for fewer than two dimensions or integers; ValueError for another order.

    >>> torch.linalg.matrix_norm(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), ord=1)
    tensor(4.)
    """
    if A.ndim < 2:
        raise RuntimeError(
            "linalg.matrix_norm: The input tensor A must have at least 2 dimensions."
        )
    if not A.dtype.is_floating_point:
        raise RuntimeError(
            "linalg.matrix_norm: Expected a floating point or complex tensor as input. Got "
            f"{SCALAR_TYPE[A.dtype]}"
        )
    x = A if dtype is None else A.to(as_dtype(dtype))
    rows, columns = _two_dims(dim, x.ndim)
    if ord == "fro":
        return vector_norm(x, 2, (rows, columns), keepdim)
    if ord not in _ORDERS:
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    if ord in (1, 2, math.inf) and 0 in (x.shape[rows], x.shape[columns]):
        return vector_norm(x, 2, (rows, columns), keepdim)  # 0
    if ord in ("nuc", 2, -2):
        s = svdvals(x.movedim((rows, columns), (-2, -1)))
        y = sum_(s, -1) if ord == "nuc" else (amax if ord == 2 else amin)(s, -1)
    else:
        summed, then = (rows, columns) if abs(ord) == 1 else (columns, rows)
        sums = sum_(x.abs(), summed, True)
        y = (amax if ord > 0 else amin)(sums, then, True)
        y = reshape(y, shape=tuple(n for d, n in enumerate(y.shape) if d not in (rows, columns)))
    if keepdim:
        shape = tuple(1 if d in (rows, columns) else n for d, n in enumerate(x.shape))
        y = reshape(y, shape=shape)
    return y


_ORDERS = ("fro", "nuc", math.inf, -math.inf, 1, -1, 2, -2)


def linalg_norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *,
                dtype: Any = None) -> Tensor:
    """The norm of vectors (one dim), of matrices (two), or of all elements.

    Shape: (*) -> (), or without the dimensions `dim`; `keepdim` leaves them with extent 1.
    Dtype: that of A, which must be floating point, or `dtype`.
    Raises RuntimeError for integers; IndexError for a dimension out of range.

    >>> torch.linalg.norm(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor(5.)
    """
    if dim is None and ord is not None and A.ndim not in (1, 2):
        raise RuntimeError(
            "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
            f"{A.ndim}D."
        )
    of_matrices = A.ndim == 2 if dim is None else not isinstance(dim, int) and len(dim) == 2
    if ord is not None and of_matrices:
        return matrix_norm(A, ord, (0, 1) if dim is None else dim, keepdim, dtype=dtype)
    if isinstance(ord, str):
        raise RuntimeError(f"linalg.norm: Order {ord} is only for matrices")
    return vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype)


@numpy_names
def norm(
    input: Tensor, p: Any = "fro", dim: Dims = None, keepdim: bool = False, dtype: Any = None
) -> Tensor:
    """The p-norm of all elements, or along dimensions, taken as vectors; 'nuc' is of matrices.

    Shape: (*) -> (), or without the dimensions `dim`; `keepdim` leaves them with extent 1.
    Dtype: that of input, which must be floating point, or `dtype`.
    Raises RuntimeError for integers; IndexError for a dimension out of range.

    >>> torch.norm(torch.tensor([3.0, 4.0]))
    tensor(5.)
    """
    if p == "nuc":
        return matrix_norm(input, p, (0, 1) if dim is None else dim, keepdim, dtype=dtype)
    if isinstance(p, str) and p != "fro":
        raise RuntimeError(f"linalg.matrix_norm: Order {p} not supported.")
    return vector_norm(input, 2 if p in ("fro", None) else p, dim, keepdim, dtype=dtype)


def cond(A: Tensor, p: Any = None) -> Tensor:
    """How much a small change of the equation AX = B may change X: the norm of A times that of its
    inverse.

    Shape: (*, M, N) -> (*). Dtype: floating point. Raises RuntimeError for an unknown norm.

    >>> torch.linalg.cond(torch.tensor([[4.0, 0.0], [0.0, 2.0]]))
    tensor(2.)
    """
    if A.ndim < 2:
        raise RuntimeError("linalg.cond: The input tensor must have at least 2 dimensions.")
    if p in (None, 2, -2):
        s = svdvals(A)
        if not s.shape[-1]:
            return sum_(s, -1)
        first, last = s[..., 0], s[..., -1]
        return last / first if p == -2 else first / last
    if p not in _ORDERS:
        raise RuntimeError(f"linalg.cond got an invalid norm type: {p}")
    if A.shape[-1] != A.shape[-2]:
        raise ShapeError(
            f"linalg.cond(ord={p}): A must be batches of square matrices, but they are "
            f"{A.shape[-2]} by {A.shape[-1]} matrices"
        )
    if not A.shape[-1]:
        return A.new_zeros(tuple(A.shape[:-2]))
    inverse, info = inv_ex(A)
    size = matrix_norm(A, p) * matrix_norm(inverse, p)
    return ops.where(ops.eq(info, 0), size, math.inf)


def matrix_rank(A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None,
                rtol: Any = None) -> Tensor:
    """How many singular values exceed max(atol, rtol * largest).

    Shape: (*, N, M) -> (*). Dtype: int64. Raises RuntimeError for fewer than two dimensions.

    >>> torch.linalg.matrix_rank(torch.ones(3, 3))
    tensor(1)
    """
    if A.ndim < 2:
        raise RuntimeError(
            "torch.linalg.matrix_rank: The input tensor input must have at least 2 dimensions."
        )
    x = ops.stop_gradient(matrices(A, "torch.linalg.matrix_rank", "input"))
    s = eigvalsh(x).abs() if hermitian else svdvals(x)
    atol, rtol = (tol, 0.0) if tol is not None else (atol, rtol)
    return reductions.sum((s > tolerance(s, x.shape, atol, rtol)).to(int64), dims=(s.ndim - 1,))


# ---- powers and the exponential
def matrix_power(input: Tensor, n: int) -> Tensor:
    """The product of n copies of a matrix, or of its inverse for n < 0.

    Shape: (*, N, N) -> the same. Dtype: that of input.
    Raises RuntimeError for matrices that are not square, and for ones without an inverse if n < 0.

    >>> torch.linalg.matrix_power(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), 3)
    tensor([[1., 3.],
            [0., 1.]])
    """
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(
            f"linalg_matrix_power(): argument 'n' (position 2) must be int, not {type(n).__name__}"
        )
    x = square(input, "linalg.matrix_power", floating=False)
    if n == 0:
        return ops.where(False, x, identity(x, tuple(x.shape)))  # x has a gradient, of zero
    if n < 0:
        x, n = inv(x), -n
    found: Tensor | None = None
    while n > 1:  # by squaring
        if n & 1:
            found = x if found is None else dot(found, x)
        n, x = n >> 1, dot(x, x)
    x = x if found is None else dot(found, x)
    return x.clone() if x is input else x


_SQUARINGS = 16  # with them, norms up to 2^16: far beyond what overflows


@composite("LinalgMatrixExpBackward0")
def matrix_exp(input: Tensor) -> Tensor:
    """The exponential of a matrix: a Taylor polynomial of degree 18 of A / 2^s, whose norm is at
    most 1, squared s times.

    s differs from matrix to matrix; all go through the same number of steps, of which those beyond
    s change nothing.

    Shape: (*, N, N) -> the same. Dtype: that of input, floating point.
    Raises RuntimeError if the matrices are not square.

    >>> torch.linalg.matrix_exp(torch.zeros(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    a = square(input, "linalg.matrix_exp")
    if not a.numel():
        return a.clone()
    size = reductions.max(reductions.sum(ops.abs(ops.stop_gradient(a)), dims=(a.ndim - 2,)),
                          dims=(a.ndim - 2,))
    size = reshape(size, shape=(*size.shape, 1, 1))
    doublings = [ops.gt(size, 2.0**k) for k in range(_SQUARINGS)]
    scale = ops.where(doublings[0], 0.5, 1.0)
    for larger in doublings[1:]:
        scale = ops.where(larger, scale * 0.5, scale)
    x = _taylor(a * scale)
    for larger in doublings:
        once = ops.where(larger, x, 0.0)  # what is not squared cannot overflow either
        x = ops.where(larger, dot(once, once), x)
    return x


def _taylor(x: Tensor) -> Tensor:
    """The terms up to x^18 / 18!, with x^3 factored out again and again (Paterson and Stockmeyer,
    1973): seven products.
    """
    one = identity(x, tuple(x.shape))
    square_ = dot(x, x)
    cube = dot(square_, x)
    weight = [1 / math.factorial(k) for k in range(19)]
    found = one * weight[18]
    for k in range(15, -1, -3):
        rest = one * weight[k] + x * weight[k + 1] + square_ * weight[k + 2]
        found = rest + (cube * weight[18] if k == 15 else dot(cube, found))
    return found


# ---- tensors as matrices
def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of the linear map that takes the dimensions from `ind` on to those before.

    Shape: (*a, *b) -> (*b, *a), where a are the first `ind` extents. Dtype: floating point. Raises
    RuntimeError if the map is not square.

    >>> torch.linalg.tensorinv(torch.eye(4).reshape(2, 2, 4) * 2, ind=2).shape
    tracegrad.Size([4, 2, 2])
    """
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', but got {ind}")
    first, last = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    n, m = math.prod(last), math.prod(first)
    if n != m:
        raise ShapeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == "
            f"prod(self.shape[:ind]), but got {n} != {m}"
        )
    return reshape(inv(reshape(A, shape=(m, n))), shape=(*last, *first))


def tensorsolve(A: Tensor, B: Tensor, dims: Any = None) -> Tensor:
    """X with tensordot(A, X, X.ndim) = B.

    Shape: (*b, *x), (*b) -> (*x). Dtype: floating point. Raises RuntimeError if the map is not
    square.

    >>> A = torch.eye(4).reshape(2, 2, 4) * 2
    >>> torch.linalg.tensorsolve(A, torch.ones(2, 2))
    tensor([0.5000, 0.5000, 0.5000, 0.5000])
    """
    if dims is not None:
        A = A.movedim(tuple(dims), tuple(range(A.ndim - len(dims), A.ndim)))
    rest = tuple(A.shape[B.ndim :])
    n, m = math.prod(rest), math.prod(A.shape[: B.ndim])
    if n != m:
        raise ShapeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
            f"prod(self.shape[:other.ndim]), but got {n} != {m}"
        )
    x = solve(reshape(A, shape=(m, n)), reshape(B, shape=(B.numel(),)))
    return reshape(x, shape=rest)


def vander(x: Tensor, N: int | None = None) -> Tensor:
    """1, x, x^2, ... as columns.

    Shape: (*, n) -> (*, n, N), or (*, n, n). Dtype: that of x.

    >>> torch.linalg.vander(torch.tensor([1.0, 2.0, 3.0]), N=3)
    tensor([[1., 1., 1.],
            [1., 2., 4.],
            [1., 3., 9.]])
    """
    x = x if x.ndim else reshape(x, shape=(1,))
    count = x.shape[-1] if N is None else N
    if count <= 1:
        raise RuntimeError("N must be greater than 1.")
    if x.dtype is bool_ or x.dtype.is_half:
        raise RuntimeError(
            "linalg.vander supports floating point, complex, and integer tensors, but got "
            f"{SCALAR_TYPE[x.dtype]}"
        )
    x = x if x.is_floating_point() else x.to(int64)
    powers = [x.new_ones(tuple(x.shape))]
    for _ in range(count - 1):
        powers.append(powers[-1] * x)
    return stack(powers, -1)


def _reflected(input: Tensor, tau: Tensor, x: Tensor, forward: bool) -> Tensor:
    """x under the reflections I - tau_i v_i v_i', from the first on or from the last on, where v_i
    stands below the diagonal of column i, and has a 1 on it.
    """
    m, lead, steps = input.shape[-2], tuple(input.shape[:-2]), range(tau.shape[-1])
    for i in steps if forward else reversed(steps):
        above, one = input.new_zeros((*lead, i, 1)), input.new_ones((*lead, 1, 1))
        v = concat(above, one, corner(input, (i + 1, m), (i, i + 1)), axis=len(lead))
        t = reshape(tau[..., i], shape=(*lead, 1, 1))
        x = x - t * dot(v, dot(transpose(v), x))
    return x


def _reflections(input: Tensor, tau: Tensor, name: str) -> None:
    m, n = matrices(input, name, "input").shape[-2:]
    if m < n:
        raise RuntimeError(
            f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1]"
        )
    if n < tau.shape[-1]:
        raise RuntimeError(
            f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]"
        )


@composite("LinalgHouseholderProductBackward0")
def householder_product(input: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of reflections that `input` and `tau` hold, as LAPACK keeps
    the Q of a QR.

    Shape: (*, M, N), (*, K) -> (*, M, N). Dtype: floating point, the same of both. Raises
    RuntimeError if they do not fit.

    >>> a = torch.tensor([[1.0], [0.0]])
    >>> torch.linalg.householder_product(a, torch.tensor([0.0]))
    tensor([[1.],
            [0.]])
    """
    _reflections(input, tau, "torch.linalg.householder_product")
    start = identity(input, tuple(input.shape))
    if not tau.shape[-1]:
        return kinks.steps(start, input)
    return _reflected(input, tau, start, False)


orgqr = householder_product


@composite("OrmqrBackward0")
def ormqr(
    input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False
) -> Tensor:
    """Q other, Q' other, other Q or other Q', where Q is the product of the reflections that
    `input` and `tau` hold.

    Shape: (*, M, K), (*, K), (*, M, N) -> (*, M, N). Dtype: floating point, the same of all. Raises
    RuntimeError if they do not fit.

    >>> a = torch.tensor([[1.0], [0.0]])
    >>> torch.ormqr(a, torch.tensor([0.0]), torch.tensor([[1.0], [2.0]]))
    tensor([[1.],
            [2.]])
    """
    matrices(input, "torch.ormqr", "input")
    rows, columns = input.shape[-2:]
    if min(rows, columns) < tau.shape[-1]:
        raise RuntimeError(
            f"torch.ormqr: tau holds {tau.shape[-1]} reflections, more than the rows or columns of "
            f"input, whose shape is {list(input.shape)}"
        )
    x = other if left else other.mT
    if x.shape[-2] != input.shape[-2]:
        raise ShapeError(
            f"torch.ormqr: other.shape[{-2 if left else -1}] must be equal to input.shape[-2], but "
            f"the shapes are {list(other.shape)} and {list(input.shape)}"
        )
    y = _reflected(input, tau, x, transpose == left)
    return y if left else y.mT


def nuclear_norm(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The sum of the singular values.

    Shape: (*, M, N) -> (*). Dtype: floating point.

    >>> torch.nuclear_norm(torch.tensor([[3.0, 0.0], [0.0, 2.0]]))
    tensor(5.)
    """
    return norm(input, "nuc", dim, keepdim)


def frobenius_norm(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """The root of the sum of squares.

    Shape: (*) -> without the dimensions `dim`. Dtype: floating point.

    >>> torch.frobenius_norm(torch.tensor([[3.0, 4.0]]), dim=(0, 1))
    tensor(5.)
    """
    return norm(input, "fro", dim, keepdim)
