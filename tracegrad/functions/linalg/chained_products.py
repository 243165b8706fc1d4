"""Products beyond the matrix product of two: sums and chains of them, and those of vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...ir.op import ShapeError, broadcast
from ...ir.ops.movement import expand, reshape
from ...tracer.autograd.graph import composite
from ...tracer.tensor.promotion import SCALAR_TYPE
from ...tracer.tensor.tensor import Tensor
from ..math.reduction import sum as sum_, wrap_dim
from ..tensors.shape import roll
from .einsum import tensordot
from .matmul import bmm, matmul, mm, outer, scaled_sum


@composite("AddrBackward0")
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2)."""
    for k, v in enumerate((vec1, vec2), 1):
        if v.ndim != 1:
            raise RuntimeError(f"addr: Expected 1-D argument vec{k}, but got {v.ndim}-D")
    return scaled_sum(input, outer(vec1, vec2), beta, alpha)


@composite("AddbmmBackward0")
def addbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """beta * input + alpha * (batch1 @ batch2).sum(0)."""
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
    """The inner products of vectors that lie along `dim`."""
    if not x.is_floating_point():
        raise RuntimeError(
            "linalg.vecdot: Expected a floating point or complex tensor as input. Got "
            f"{SCALAR_TYPE[x.dtype]}"
        )
    return sum_(x * y, dim)


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
    """As `linalg.cross`, along the first dimension of extent 3 if none is given."""
    if dim is None:
        shape = broadcast("cross", tuple(input.shape), tuple(other.shape))
        if 3 not in shape:
            raise RuntimeError("no dimension of size 3 in input")
        dim = shape.index(3)
    return linalg_cross(input, other, dim=dim)


def _split(sizes: Sequence[int]) -> list[list[int]]:
    """Where to split a chain of matrices of sizes[i] x sizes[i + 1] so that it costs least (the
    classical dynamic programme).
    """
    n = len(sizes) - 1
    cost = [[0] * n for _ in range(n)]
    best = [[0] * n for _ in range(n)]
    for span in range(1, n):
        for i in range(n - span):
            j = i + span
            cost[i][j], best[i][j] = min(
                (cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
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
    """The product of a chain of matrices, in the cheapest order."""
    if not matrices:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    for x in matrices:
        if x.ndim != 2:
            raise RuntimeError(f"Tensor dimension is {x.ndim}, expected 2 instead.")
    return matrices[0] if len(matrices) == 1 else multi_dot(matrices)


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input1 . weight[k] . input2 + bias[k]: (*, I), (*, J), (K, I, J), (K,) -> (*, K).

    Shape: as above. Dtype: that of all, which must agree. Raises RuntimeError if the shapes do not
    fit.

    >>> F.bilinear(torch.ones(5, 2), torch.ones(5, 3), torch.ones(4, 2, 3)).shape
    tracegrad.Size([5, 4])
    """
    if input1.ndim != input2.ndim:
        raise RuntimeError(
            f"bilinear(): input dimensions do not match: got {input1.ndim} and {input2.ndim}"
        )
    for d, (n, m) in enumerate(zip(input1.shape[:-1], input2.shape[:-1], strict=True)):
        if n != m:
            raise RuntimeError(
                f"bilinear(): input batch dimensions do not match at dim {d}: got {n} and {m}"
            )
    for k, (x, n) in enumerate(zip((input1, input2), weight.shape[1:], strict=True), 1):
        if x.shape[-1] != n:
            raise RuntimeError(
                f"bilinear(): input{k} size does not match weight size: got {x.shape[-1]} but "
                f"expected {n}"
            )
    lead, (k, i, j) = tuple(input1.shape[:-1]), weight.shape
    rows = math.prod(lead)
    flat = reshape(weight.permute(1, 0, 2), shape=(i, k * j))
    left = reshape(matmul(reshape(input1, shape=(rows, i)), flat), shape=(rows, k, j))
    y = reshape(bmm(left, reshape(input2, shape=(rows, j, 1))), shape=(*lead, k))
    return y if bias is None else y + bias


__all__ = [
    "addbmm", "addr", "bilinear", "chain_matmul", "cross", "inner", "kron",
]
