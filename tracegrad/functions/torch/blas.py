"""Products of matrices and vectors of every rank, over the one primitive `dot`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...ir.dtype import bool_
from ...ir.op import ShapeError, broadcast
from ...ir.ops.contract import dot as product
from ...ir.ops.movement import expand, reshape
from ...ir.ops.reduce import sum as sum_
from ...tracer.autograd.graph import composite
from ...tracer.autograd.plans import shortcut
from ...tracer.tensor.dispatch import not_implemented
from ...tracer.tensor.promotion import SCALAR_TYPE, common_dtype
from ...tracer.tensor.tensor import Tensor
from ..arguments import as_factor, numbers_fit, refuse, wrap_dim
from .einsum import tensordot
from .other_shapes import roll
from .reduction import sum as total

__all__ = [
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "chain_matmul", "cross", "dot", "ger",
    "inner", "kron", "matmul", "mm", "mv", "outer", "trace", "vdot",
]


def _cross(a: Tensor, b: Tensor) -> str:
    return f"({'x'.join(map(str, a.shape))} and {'x'.join(map(str, b.shape))})"


def _same_dtype(a: Tensor, b: Tensor) -> None:
    if a.dtype is not b.dtype:
        names = [SCALAR_TYPE[x.dtype].lower() for x in (a, b)]
        raise RuntimeError(
            f"expected m1 and m2 to have the same dtype, but got: {names[0]} != {names[1]}"
        )


def _no_bools(name: str, x: Tensor) -> None:
    """A product of bools would have to count them; torch has none, and `dot` refuses the rest."""
    if x.dtype is bool_:
        raise not_implemented(name, x)


def _rank(x: Tensor, n: int, name: str, refusal: str) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}(): argument must be Tensor, not {type(x).__name__}")
    if x.ndim != n:
        raise RuntimeError(f"{refusal}, but got a tensor of shape {list(x.shape)}")


@composite("MmBackward0")
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices.

    Shape: (N, K), (K, M) -> (N, M). Dtype: that of both, which must agree.
    Raises RuntimeError if the dtypes or the inner extents differ, or for other ranks.

    >>> torch.mm(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [4.0]]))
    tensor([[11.]])
    """
    _rank(input, 2, "mm", "self must be a matrix")
    _rank(mat2, 2, "mm", "mat2 must be a matrix")
    _same_dtype(input, mat2)
    if input.shape[1] != mat2.shape[0]:
        raise ShapeError(f"mat1 and mat2 shapes cannot be multiplied {_cross(input, mat2)}")
    return product(input, mat2)


@composite("MvBackward0")
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix and a vector.

    Shape: (N, K), (K,) -> (N,). Dtype: that of both, which must agree.
    Raises RuntimeError if the dtypes or the inner extents differ, or for other ranks.

    >>> torch.mv(torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([3.0, 4.0]))
    tensor([11.,  4.])
    """
    if input.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {input.ndim}, {vec.ndim}")
    _same_dtype(input, vec)
    if input.shape[1] != vec.shape[0]:
        raise ShapeError(
            f"size mismatch, got input ({input.shape[0]}), mat "
            f"({'x'.join(map(str, input.shape))}), vec ({vec.shape[0]})"
        )
    _no_bools("addmv_impl_cpu", input)
    return reshape(product(input, reshape(vec, shape=(vec.shape[0], 1))), shape=(input.shape[0],))


@composite("DotBackward0")
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The inner product of two vectors.

    Shape: (K,), (K,) -> (). Dtype: that of both, which must agree.
    Raises RuntimeError if the dtypes or the extents differ, or for other ranks.

    >>> torch.dot(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    tensor(11.)
    """
    if input.ndim != 1 or tensor.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {input.ndim}D and {tensor.ndim}D tensors")
    if input.dtype is not tensor.dtype:
        names = [SCALAR_TYPE[x.dtype] for x in (input, tensor)]
        raise RuntimeError(
            f"dot : expected both vectors to have same dtype, but found {names[0]} and {names[1]}"
        )
    n, m = input.shape[0], tensor.shape[0]
    if n != m:
        raise ShapeError(
            f"inconsistent tensor size, expected tensor [{n}] and src [{m}] to have the same "
            "number of elements, but got "
            f"{n} and {m} elements respectively"
        )
    _no_bools("dot", input)
    return sum_(input * tensor, dims=(0,))


@composite("VdotBackward0")
def vdot(input: Tensor, tensor: Tensor) -> Tensor:
    """The inner product of two vectors; of real ones the same as `dot`.

    Shape: (K,), (K,) -> (). Dtype: that of both. Raises RuntimeError as `dot`.

    >>> torch.vdot(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    tensor(11.)
    """
    return dot(input, tensor)


@composite("BmmBackward0")
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of two batches of matrices.

    Shape: (B, N, K), (B, K, M) -> (B, N, M). Dtype: that of both, which must agree.
    Raises RuntimeError if the dtypes, the batches or the inner extents differ, or for other ranks.

    >>> torch.bmm(torch.ones(2, 3, 4), torch.ones(2, 4, 5)).shape
    tracegrad.Size([2, 3, 5])
    """
    _rank(input, 3, "bmm", "batch1 must be a 3D tensor")
    _rank(mat2, 3, "bmm", "batch2 must be a 3D tensor")
    _same_dtype(input, mat2)
    if input.shape[0] != mat2.shape[0] or input.shape[2] != mat2.shape[1]:
        raise ShapeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{input.shape[0]}, "
            f"{input.shape[2]}] but got: "
            f"[{mat2.shape[0]}, {mat2.shape[1]}]."
        )
    return product(input, mat2)


@shortcut
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product; vectors are rows on the left and columns on the right, leading dimensions
    are batches.

    Shape: (*B, N, K), (*B, K, M) -> (*B, N, M). Dtype: that of both, which must agree.
    Raises RuntimeError if the dtypes or the inner extents differ, or for a 0-d tensor.

    >>> torch.matmul(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1.0, 1.0]))
    tensor([3., 7.])
    """
    for x in (input, other):
        if not isinstance(x, Tensor):
            raise TypeError(f"matmul(): argument must be Tensor, not {type(x).__name__}")
    if input.ndim == 0 or other.ndim == 0:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {input.ndim}D and "
            f"{other.ndim}D"
        )
    ranks = (input.ndim, other.ndim)
    if ranks == (1, 1):
        return dot(input, other)
    if ranks == (2, 2):
        return mm(input, other)
    if ranks == (2, 1):
        return mv(input, other)
    if ranks == (1, 2):
        return _row(input, other)
    return _batched(input, other)


@composite("SqueezeBackward4")
def _row(a: Tensor, b: Tensor) -> Tensor:
    _same_dtype(a, b)
    if a.shape[0] != b.shape[0]:
        raise ShapeError(
            f"mat1 and mat2 shapes cannot be multiplied (1x{a.shape[0]} and "
            f"{'x'.join(map(str, b.shape))})"
        )
    return reshape(product(reshape(a, shape=(1, a.shape[0])), b), shape=(b.shape[1],))


@composite("UnsafeViewBackward0")
def _batched(a: Tensor, b: Tensor) -> Tensor:
    _same_dtype(a, b)
    row, column = a.ndim == 1, b.ndim == 1
    x = reshape(a, shape=(1, a.shape[0])) if row else a
    y = reshape(b, shape=(b.shape[0], 1)) if column else b
    if column:
        _no_bools("addmv_impl_cpu", a)
    (m, k), n = x.shape[-2:], y.shape[-1]
    if k != y.shape[-2]:
        raise ShapeError(f"mat1 and mat2 shapes cannot be multiplied {_cross(x, y)}")
    lead = broadcast("matmul", tuple(x.shape[:-2]), tuple(y.shape[:-2]))
    if y.ndim == 2:  # one matrix for all: the batch is more rows
        out = product(reshape(x, shape=(math.prod(lead) * m, k)), y)
    else:
        out = product(expand(x, shape=(*lead, m, k)), expand(y, shape=(*lead, k, n)))
    return reshape(out, shape=(*lead, *(() if row else (m,)), *(() if column else (n,))))


def scaled_sum(input: Tensor, ab: Tensor, beta: Any, alpha: Any) -> Tensor:
    """beta * input + alpha * ab, in the shape of ab; a beta of 0 ignores even NaN."""
    sizes, lead = tuple(ab.shape), ab.ndim - input.ndim
    for d, n in reversed(list(enumerate(input.shape, lead))):
        if d < 0 or n not in (1, sizes[d]):
            raise ShapeError(
                f"The expanded size of the tensor ({sizes[d]}) must match the existing size ({n}) "
                f"at non-singleton dimension {d}.  Target sizes: {list(sizes)}.  Tensor sizes: "
                f"{list(input.shape)}"
            )
    if ab.dtype is bool_:
        raise refuse("addmm_impl_cpu_", bool_)
    ab = ab if alpha == 1 else ab * as_factor(alpha, ab.dtype)
    if not isinstance(beta, Tensor) and beta == 0:
        return ab
    return (input if beta == 1 else input * as_factor(beta, input.dtype)) + ab


@composite("AddmmBackward0")
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * mat1 @ mat2.

    Shape: (N, M) or what broadcasts to it, (N, K), (K, M) -> (N, M). Dtype: that of all.
    Raises RuntimeError if the dtypes or the inner extents differ.

    >>> torch.addmm(torch.ones(1, 2), torch.ones(1, 3), torch.ones(3, 2), alpha=2)
    tensor([[7., 7.]])
    """
    return scaled_sum(input, mm(mat1, mat2), beta, alpha)


@composite("AddmvBackward0")
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * mat @ vec.

    Shape: (N,) or what broadcasts to it, (N, K), (K,) -> (N,). Dtype: that of all.
    Raises RuntimeError if the dtypes or the inner extents differ.

    >>> torch.addmv(torch.ones(1), torch.ones(1, 3), torch.ones(3))
    tensor([4.])
    """
    numbers_fit(input.dtype, beta, alpha)
    return scaled_sum(input, mv(mat, vec), beta, alpha)


@composite("BaddbmmBackward0")
def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """beta * input + alpha * batch1 @ batch2.

    Shape: (B, N, M) or what broadcasts to it, (B, N, K), (B, K, M) -> (B, N, M). Dtype: that of
    all.
    Raises RuntimeError if the dtypes or the extents differ.

    >>> torch.baddbmm(torch.ones(1, 1, 1), torch.ones(1, 1, 3), torch.ones(1, 3, 1))
    tensor([[[4.]]])
    """
    _no_bools("baddbmm", batch1)
    return scaled_sum(input, bmm(batch1, batch2), beta, alpha)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of an element of one vector with one of the other.

    Shape: (N,), (M,) -> (N, M). Dtype: the promoted one.
    Raises RuntimeError for other ranks.

    >>> torch.outer(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    tensor([[3., 4.],
            [6., 8.]])
    """
    for name, x in (("self", input), ("vec2", vec2)):
        _rank(x, 1, "outer", f"outer: Expected 1-D argument {name}")
    return reshape(input, shape=(input.shape[0], 1)) * vec2


ger = outer


@composite("TraceBackward0")
def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix.

    Shape: (N, M) -> (). Dtype: that of input; int64 of integers.
    Raises RuntimeError for other ranks.

    >>> torch.trace(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(5.)
    """
    _rank(input, 2, "trace", "trace: expected a matrix")
    _no_bools("trace", input)
    return input.diagonal().sum()


# ---- sums and chains of products, and products of vectors
@composite("AddrBackward0")
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2).

    Shape: (N, M), (N,), (M,) -> (N, M); input may broadcast. Dtype: the promoted one. Raises
    RuntimeError if they do not fit.

    >>> v = torch.tensor([1.0, 2.0])
    >>> torch.addr(torch.zeros(2, 2), v, v)
    tensor([[1., 2.],
            [2., 4.]])
    """
    for k, v in enumerate((vec1, vec2), 1):
        if v.ndim != 1:
            raise RuntimeError(f"addr: Expected 1-D argument vec{k}, but got {v.ndim}-D")
    numbers_fit(common_dtype((input, vec1, vec2)), beta, alpha)
    return scaled_sum(input, outer(vec1, vec2), beta, alpha)


@composite("AddbmmBackward0")
def addbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """beta * input + alpha * (batch1 @ batch2).sum(0).

    Shape: (N, P), (B, N, M), (B, M, P) -> (N, P); input may broadcast. Dtype: that of all, which
    must agree. Raises RuntimeError if they do not fit.

    >>> a = torch.ones(2, 1, 2)
    >>> torch.addbmm(torch.zeros(1, 1), a, torch.ones(2, 2, 1))
    tensor([[4.]])
    """
    for k, x in enumerate((batch1, batch2), 1):
        if x.ndim != 3:
            raise RuntimeError(f"batch{k} must be a 3D tensor")
    (n, p, q), (m, r, s) = batch1.shape, batch2.shape
    if n != m:
        raise ShapeError(f"batch1 and batch2 must have same number of batches, got {n} and {m}")
    if q != r:
        raise ShapeError(f"Incompatible matrix sizes for bmm ({p}x{q} and {r}x{s})")
    # one long product: the batch is summed over with the inner axis
    ab = mm(reshape(batch1.transpose(0, 1), shape=(p, n * q)), reshape(batch2, shape=(n * q, s)))
    return scaled_sum(input, ab, beta, alpha)


def inner(input: Tensor, other: Tensor) -> Tensor:
    """The products summed along the last dimension of both; with a scalar, the plain product.

    Shape: (*A, K), (*B, K) -> (*A, *B). Dtype: that of both.
    Raises RuntimeError if the last extents differ.

    >>> torch.inner(torch.tensor([1.0, 2.0]), torch.tensor([[3.0, 4.0], [5.0, 6.0]]))
    tensor([11., 17.])
    """
    if input.ndim == 0 or other.ndim == 0:
        return input * other
    if input.shape[-1] != other.shape[-1]:
        raise ShapeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(input.shape)} and {list(other.shape)}"
        )
    return tensordot(input, other, dims=([-1], [-1]))


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The inner products of vectors that lie along `dim`.

    Shape: two that broadcast -> without `dim`. Dtype: the promoted one. Raises RuntimeError if they
    do not broadcast.

    >>> torch.linalg.vecdot(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1.0, 1.0]))
    tensor([3., 7.])
    """
    if not x.is_floating_point():
        raise RuntimeError(
            "linalg.vecdot: Expected a floating point or complex tensor as input. Got "
            f"{SCALAR_TYPE[x.dtype]}"
        )
    return total(x * y, dim)


@composite("UnsafeViewBackward0")
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: each element of `input` times the whole of `other`.

    Shape: the extents multiplied, dimension by dimension from the last. Dtype: the promoted one.
    Raises TypeError without a tensor.

    >>> torch.kron(torch.eye(2), torch.tensor([[1.0, 2.0]]))
    tensor([[1., 2., 0., 0.],
            [0., 0., 1., 2.]])
    """
    rank = max(input.ndim, other.ndim)
    a, b = ((1,) * (rank - x.ndim) + tuple(x.shape) for x in (input, other))
    x = reshape(input, shape=tuple(k for n in a for k in (n, 1)))
    y = reshape(other, shape=tuple(k for n in b for k in (1, n)))
    return reshape(x * y, shape=tuple(n * m for n, m in zip(a, b, strict=True)))


@composite("LinalgCrossBackward0")
def linalg_cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The vectors at right angles to pairs of vectors of three numbers along `dim`.

    Shape: two that broadcast -> the shape to which they do; the extent at `dim` is 3.
    Dtype: that of both. Raises RuntimeError for another extent or shapes that do not broadcast.

    >>> torch.linalg.cross(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    if input.ndim != other.ndim:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    d = wrap_dim(dim, input.ndim)
    if input.shape[d] != 3 or other.shape[d] != 3:
        raise ShapeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.shape[d]} and "
            f"{other.shape[d]}"
        )
    shape = broadcast("linalg.cross", tuple(input.shape), tuple(other.shape))
    a, b = expand(input, shape=shape), expand(other, shape=shape)
    return roll(a, -1, d) * roll(b, -2, d) - roll(a, -2, d) * roll(b, -1, d)


def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """As `linalg.cross`, along the first dimension of extent 3 if none is given.

    Shape: two that broadcast, with extent 3 along dim -> the shape to which they do. Dtype: the
    promoted one. Raises RuntimeError without such a dimension.

    >>> torch.cross(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    if dim is None:
        shape = broadcast("cross", tuple(input.shape), tuple(other.shape))
        if 3 not in shape:
            raise RuntimeError("no dimension of size 3 in input")
        dim = shape.index(3)
    return linalg_cross(input, other, dim=dim)


def _split(sizes: Sequence[int]) -> list[list[int]]:
    """Where to split a chain of matrices of sizes[i] x sizes[i + 1] so that it costs least (the
    classical dynamic programme). Of splits that cost the same, torch's: of three matrices the last,
    of more the first; it decides over rounding, and over what backward reads.
    """
    n = len(sizes) - 1
    sign = -1 if n == 3 else 1
    cost = [[0] * n for _ in range(n)]
    best = [[0] * n for _ in range(n)]
    for span in range(1, n):
        for i in range(n - span):
            j = i + span
            cost[i][j], best[i][j] = min(
                ((cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                 for k in range(i, j)), key=lambda split: (split[0], sign * split[1])
            )
    return best


def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of a chain of matrices, in the cheapest order; the first and the last may be
    vectors.

    Shape: (N, K), (K, L), ..., the first and the last may be vectors -> (N, M). Dtype: that of all.
    Raises RuntimeError for fewer than two tensors or extents that differ.

    >>> torch.linalg.multi_dot([torch.ones(1, 2), torch.ones(2, 3), torch.ones(3, 1)])
    tensor([[6.]])
    """
    n = len(tensors)
    if n < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {n}")
    for k, x in enumerate(tensors):
        if x.ndim != 2 and not (x.ndim == 1 and k in (0, n - 1)):
            wanted = "1D or 2D" if k in (0, n - 1) else "2D"
            raise RuntimeError(f"multi_dot(): tensor {k} must be {wanted} but got {x.ndim}D")
        if x.dtype is not tensors[0].dtype:
            raise RuntimeError(
                f"multi_dot(): all tensors must have be the same dtype but tensor {k} is "
                f"{x.dtype.name} and tensor 0 {tensors[0].dtype.name}"
            )
    first, last = tensors[0], tensors[-1]
    chain = list(tensors)
    if first.ndim == 1:
        chain[0] = reshape(first, shape=(1, first.shape[0]))
    if last.ndim == 1:
        chain[-1] = reshape(last, shape=(last.shape[0], 1))
    for k, (a, b) in enumerate(zip(chain, chain[1:], strict=False)):
        if a.shape[1] != b.shape[0]:
            mine, theirs = (list(tensors[i].shape) for i in (k, k + 1))
            raise ShapeError(
                f"multi_dot(): tensors {k} and {k + 1} with shapes {mine} and {theirs} cannot be "
                "multiplied"
            )
    best = _split([*(x.shape[0] for x in chain), chain[-1].shape[1]])

    def between(i: int, j: int) -> Tensor:
        return chain[i] if i == j else mm(between(i, best[i][j]), between(best[i][j] + 1, j))

    rows = () if first.ndim == 1 else (first.shape[0],)
    columns = () if last.ndim == 1 else (last.shape[1],)
    return between(0, n - 1).reshape((*rows, *columns))


def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of a chain of matrices, in the cheapest order.

    Shape: (N, M), (M, P), ... -> (N, Q). Dtype: that of all, which must agree. Raises RuntimeError
    if they do not fit.

    >>> a = torch.tensor([[1.0, 2.0]])
    >>> torch.chain_matmul(a, a.T, a)
    tensor([[ 5., 10.]])
    """
    if not matrices:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    for x in matrices:
        if x.ndim != 2:
            raise RuntimeError(f"Tensor dimension is {x.ndim}, expected 2 instead.")
    return matrices[0] if len(matrices) == 1 else multi_dot(matrices)
