"""Products of matrices and vectors, of every rank, over the one primitive `dot`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.op import ShapeError, broadcast
from ...ir.ops.contract import dot as product
from ...ir.ops.movement import expand, permute, reshape
from ...ir.ops.reduce import sum as sum_
from ..promotion import SCALAR_TYPE
from ..tape import composite
from ..tensor import Tensor
from .reduce import wrap_dim


def _cross(a: Tensor, b: Tensor) -> str:
    return f"({'x'.join(map(str, a.shape))} and {'x'.join(map(str, b.shape))})"


def _same_dtype(a: Tensor, b: Tensor) -> None:
    if a.dtype is not b.dtype:
        names = [SCALAR_TYPE[x.dtype].lower() for x in (a, b)]
        raise RuntimeError(
            f"expected m1 and m2 to have the same dtype, but got: {names[0]} != {names[1]}"
        )


def _rank(x: Tensor, n: int, name: str) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}(): argument must be Tensor, not {type(x).__name__}")
    if x.ndim != n:
        raise RuntimeError(
            f"{name}: expected a {n}-D tensor, but got a tensor of shape {list(x.shape)}"
        )


@composite("MmBackward0")
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices."""
    _rank(input, 2, "mm")
    _rank(mat2, 2, "mm")
    _same_dtype(input, mat2)
    if input.shape[1] != mat2.shape[0]:
        raise ShapeError(f"mat1 and mat2 shapes cannot be multiplied {_cross(input, mat2)}")
    return product(input, mat2)


@composite("MvBackward0")
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix and a vector."""
    _rank(input, 2, "mv")
    _rank(vec, 1, "mv")
    _same_dtype(input, vec)
    if input.shape[1] != vec.shape[0]:
        raise ShapeError(
            f"size mismatch, got input ({input.shape[0]}), mat "
            f"({'x'.join(map(str, input.shape))}), vec ({vec.shape[0]})"
        )
    return reshape(product(input, reshape(vec, shape=(vec.shape[0], 1))), shape=(input.shape[0],))


@composite("DotBackward0")
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The inner product of two vectors."""
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
    return sum_(input * tensor, dims=(0,))


inner_1d = vdot = dot


@composite("BmmBackward0")
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of two batches of matrices."""
    _rank(input, 3, "bmm")
    _rank(mat2, 3, "bmm")
    _same_dtype(input, mat2)
    if input.shape[0] != mat2.shape[0] or input.shape[2] != mat2.shape[1]:
        raise ShapeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{input.shape[0]}, "
            f"{input.shape[2]}] but got: "
            f"[{mat2.shape[0]}, {mat2.shape[1]}]."
        )
    return product(input, mat2)


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product; vectors are rows on the left and columns on the right, leading dimensions
    are batches.
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
    (m, k), n = x.shape[-2:], y.shape[-1]
    if k != y.shape[-2]:
        raise ShapeError(f"mat1 and mat2 shapes cannot be multiplied {_cross(x, y)}")
    lead = broadcast("matmul", tuple(x.shape[:-2]), tuple(y.shape[:-2]))
    if y.ndim == 2:  # one matrix for all: the batch is more rows
        out = product(reshape(x, shape=(lead_size(lead) * m, k)), y)
    else:
        out = product(expand(x, shape=(*lead, m, k)), expand(y, shape=(*lead, k, n)))
    return reshape(out, shape=(*lead, *(() if row else (m,)), *(() if column else (n,))))


def lead_size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


@composite("AddmmBackward0")
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * mat1 @ mat2."""
    ab = mm(mat1, mat2)
    return (input if beta == 1 else input * beta) + (ab if alpha == 1 else ab * alpha)


@composite("AddmvBackward0")
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * mat @ vec."""
    ab = mv(mat, vec)
    return (input if beta == 1 else input * beta) + (ab if alpha == 1 else ab * alpha)


@composite("BaddbmmBackward0")
def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """beta * input + alpha * batch1 @ batch2."""
    ab = bmm(batch1, batch2)
    return (input if beta == 1 else input * beta) + (ab if alpha == 1 else ab * alpha)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of an element of one vector with one of the other."""
    _rank(input, 1, "outer")
    _rank(vec2, 1, "outer")
    return reshape(input, shape=(input.shape[0], 1)) * vec2


ger = outer


@composite("SumBackward0")
def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix."""
    _rank(input, 2, "trace")
    return input.diagonal().sum()


def _labels(equation: str, operands: Sequence[Tensor]) -> tuple[list[list[str]], list[str]]:
    """The labels of each operand and of the result; those of an ellipsis are numbers, counted from
    the last.
    """
    left, _, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise RuntimeError(
            f"einsum(): the number of subscripts in the equation ({len(terms)}) does not match "
            f"the number of operands ({len(operands)})"
        )
    most = 0
    inputs = []
    for term, x in zip(terms, operands, strict=True):
        head, dots, tail = term.partition("...")
        extra = x.ndim - len(head) - len(tail)
        if extra < 0 or (extra and not dots):
            raise RuntimeError(
                f"einsum(): the subscript '{term}' does not match the {x.ndim} dimensions of its "
                f"operand, of shape {list(x.shape)}"
            )
        most = extra if extra > most else most
        inputs.append([*head, *(str(i) for i in range(extra - 1, -1, -1)), *tail])
    every = [str(i) for i in range(most - 1, -1, -1)]
    if "->" in equation:
        head, dots, tail = right.partition("...")
        return inputs, [*head, *(every if dots else ()), *tail]
    flat = [c for labels in inputs for c in labels if not c.isdigit()]
    return inputs, [*every, *sorted(c for c in set(flat) if flat.count(c) == 1)]


def _merged(x: Tensor, labels: list[str]) -> tuple[Tensor, list[str]]:
    """A label that occurs twice in one operand takes the diagonal."""
    for c in dict.fromkeys(labels):
        while labels.count(c) > 1:
            i = labels.index(c)
            j = labels.index(c, i + 1)
            x = x.diagonal(0, i, j)
            labels = [*labels[:i], *labels[i + 1 : j], *labels[j + 1 :], c]
    return x, labels


def _pair(
    x: Tensor, xs: list[str], y: Tensor, ys: list[str], keep: set[str]
) -> tuple[Tensor, list[str]]:
    """Contract two operands: batch labels stay in both, summed ones go, through one batched matrix
    product.
    """
    both = [c for c in xs if c in ys]
    batch = [c for c in both if c in keep]
    summed = [c for c in both if c not in keep]
    mine, theirs = [c for c in xs if c not in both], [c for c in ys if c not in both]
    size: dict[str, int] = {}
    for t, labels in ((x, xs), (y, ys)):
        for c, n in zip(labels, t.shape, strict=True):
            if size.get(c, 1) not in (1, n) and n != 1:
                raise ShapeError(f"einsum(): label {c} has the extents {size[c]} and {n}")
            size[c] = n if n != 1 else size.get(c, 1)

    def arranged(t: Tensor, labels: list[str], order: list[str], groups: list[list[str]]) -> Tensor:
        t = permute(t, axes=tuple(labels.index(c) for c in order))
        t = expand(t, shape=tuple(size[c] for c in order))
        return reshape(t, shape=tuple(lead_size(tuple(size[c] for c in g)) for g in groups))

    a = arranged(x, xs, [*batch, *mine, *summed], [batch, mine, summed])
    b = arranged(y, ys, [*batch, *summed, *theirs], [batch, summed, theirs])
    out = [*batch, *mine, *theirs]
    return reshape(product(a, b), shape=tuple(size[c] for c in out)), out


def einsum(equation: str, *operands: Any) -> Tensor:
    """Products summed over the labels that the result lacks: `einsum("ij,jk->ik", a, b)`."""
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = tuple(operands[0])
    inputs, out = _labels(equation, operands)
    x, xs = _merged(operands[0], inputs[0])
    for i, y in enumerate(operands[1:], 1):
        y, ys = _merged(y, inputs[i])
        later = {c for labels in inputs[i + 1 :] for c in labels}
        x, xs = _pair(x, xs, y, ys, {*out, *later})
    gone = tuple(d for d, c in enumerate(xs) if c not in out)
    if gone:
        x, xs = sum_(x, dims=gone), [c for c in xs if c in out]
    return permute(x, axes=tuple(xs.index(c) for c in out))


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """The product summed over the given dimensions of both."""
    if isinstance(dims, int):
        mine, theirs = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        mine, theirs = (
            [wrap_dim(d, x.ndim) for d in ds] for ds, x in zip(dims, (a, b), strict=True)
        )
    names = [chr(97 + i) for i in range(a.ndim)]
    others = [chr(65 + i) for i in range(b.ndim)]
    for i, j in zip(mine, theirs, strict=True):
        others[j] = names[i]
    kept = [c for i, c in enumerate(names) if i not in mine] + [
        c for j, c in enumerate(others) if j not in theirs
    ]
    return einsum(f"{''.join(names)},{''.join(others)}->{''.join(kept)}", a, b)


__all__ = [
    "addmm", "addmv", "baddbmm", "bmm", "dot", "einsum", "ger", "matmul", "mm", "mv", "outer",
    "tensordot", "trace", "vdot",
]  # fmt: skip
