"""Sums of products by the names of their axes, through batched matrix products: einsum, tensordot.

An operand here is a pair (tensor, labels), one label per axis; the axes of an ellipsis are labelled
by numbers counted from the last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from string import ascii_letters, ascii_lowercase, ascii_uppercase
from typing import Any

from ...ir.dtype import int64
from ...ir.op import ShapeError
from ...ir.ops.contract import dot as product
from ...ir.ops.movement import permute, reshape
from ...ir.ops.reduce import sum as sum_
from ...tracer.autograd.graph import composite
from ...tracer.tensor.tensor import Tensor
from ..arguments import wrap_dim

__all__ = ["einsum", "tensordot"]

Labels = tuple[str, ...]
Part = tuple[Tensor, Labels]
_SUBLIST = ascii_uppercase + ascii_lowercase  # the letters that the numbers of a sublist stand for


# ---- reading the equation
def _letters(term: str, owner: str, at: int) -> tuple[str, bool, str]:
    """A term as (labels before the ellipsis, whether there is one, labels after it)."""
    head, dots, tail = term.partition("...")
    for k, c in enumerate(term):
        if c not in ascii_letters and c not in ". ":
            raise RuntimeError(
                f"einsum(): invalid subscript given at index {at + k} in the equation string, "
                "subscripts must be in [a-zA-Z]"
            )
    if "." in head or "." in tail:
        again = dots and "..." in tail
        raise RuntimeError(
            f"einsum(): found '.' for {owner} "
            + (
                "for which an ellipsis was already found"
                if again
                else "that is not part of any ellipsis"
            )
        )
    return head.replace(" ", ""), bool(dots), tail.replace(" ", "")


def _labelled(term: str, k: int, at: int, x: Tensor) -> Labels:
    head, dots, tail = _letters(term, f"operand {k}", at)
    named, extra = len(head) + len(tail), x.ndim - len(head) - len(tail)
    if extra < 0 or (extra and not dots):
        raise RuntimeError(
            f"einsum(): the number of subscripts in the equation ({named}) "
            + (
                f"is more than the number of dimensions ({x.ndim}) for operand {k}"
                if dots
                else f"does not match the number of dimensions ({x.ndim}) for operand {k} and no "
                "ellipsis was given"
            )
        )
    return (*head, *_dots(extra), *tail)


def _dots(n: int) -> Labels:
    return tuple(str(i) for i in range(n - 1, -1, -1))


def _parse(equation: str, operands: Sequence[Tensor]) -> tuple[list[Labels], Labels]:
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        fewer = "fewer" if len(operands) < len(terms) else "more"
        raise RuntimeError(
            f"einsum(): {fewer} operands were provided than specified in the equation"
        )
    inputs, at = [], 0
    for k, (term, x) in enumerate(zip(terms, operands, strict=True)):
        inputs.append(_labelled(term, k, at, x))
        at += len(term) + 1
    seen = [c for labels in inputs for c in labels]
    every = _dots(max((int(c) + 1 for c in seen if c.isdigit()), default=0))
    if not arrow:
        return inputs, (*every, *sorted(c for c in set(seen) if seen.count(c) == 1 and c.isalpha()))
    head, dots, tail = _letters(right, "output", at + 1)
    for k, c in enumerate(head + tail):
        if c not in seen:
            raise RuntimeError(
                f"einsum(): output subscript {c} does not appear in the equation for any input "
                "operand"
            )
        if c in (head + tail)[:k]:
            raise RuntimeError(
                f"einsum(): output subscript {c} appears more than once in the output"
            )
    return inputs, (*head, *(every if dots else ()), *tail)


def _sublists(args: tuple) -> tuple[str, tuple]:
    """einsum(x, [0, 1], y, [1, 2], [0, 2]) as an equation and operands."""

    def term(numbers: Any) -> str:
        for i in numbers:
            if i is not Ellipsis and not 0 <= i < len(_SUBLIST):
                raise ValueError(
                    "einsum(): subscript in subscript list is not within the valid range [0, 52)"
                )
        return "".join("..." if i is Ellipsis else _SUBLIST[i] for i in numbers)

    pairs, rest = args[: len(args) // 2 * 2], args[len(args) // 2 * 2 :]
    equation = ",".join(term(labels) for labels in pairs[1::2])
    return "->".join([equation, *map(term, rest)]), pairs[::2]


# ---- preparing operands
def _sizes(operands: Sequence[Tensor], inputs: list[Labels]) -> dict[str, int]:
    size: dict[str, int] = {}
    for k, (x, labels) in enumerate(zip(operands, inputs, strict=True)):
        mine: dict[str, int] = {}
        for c, n in zip(labels, x.shape, strict=True):
            if mine.setdefault(c, n) != n:
                raise ShapeError(
                    f"einsum(): subscript {c} is repeated for operand {k} but the sizes don't "
                    f"match, {n} != {mine[c]}"
                )
        for c, n in mine.items():
            if n != 1 and size.get(c, 1) not in (1, n):
                raise ShapeError(
                    f"einsum(): subscript {'...' if c.isdigit() else c} has size {n} for operand "
                    f"{k} which does not broadcast with previously seen size {size[c]}"
                )
            size[c] = size.get(c, 1) if n == 1 else n
    return size


def _simple(x: Tensor, labels: Labels, size: dict[str, int]) -> Part:
    """Repeated labels take the diagonal; axes of extent 1 that stand for more are dropped."""
    for c in dict.fromkeys(labels):
        while labels.count(c) > 1:
            i = labels.index(c)
            j = labels.index(c, i + 1)
            x = x.diagonal(0, i, j)
            labels = (*labels[:i], *labels[i + 1 : j], *labels[j + 1 :], c)
    kept = [d for d, (c, n) in enumerate(zip(labels, x.shape, strict=True)) if n == size[c]]
    if len(kept) < len(labels):
        x = reshape(x, shape=tuple(x.shape[d] for d in kept))
    return x, tuple(labels[d] for d in kept)


def _summed(x: Tensor, labels: Labels, keep: set[str]) -> Part:
    """Sum the axes that nobody else needs."""
    gone = tuple(d for d, c in enumerate(labels) if c not in keep)
    if gone and x.dtype.kind != "float":
        x = x.to(int64)  # as every sum of them
    return (sum_(x, dims=gone) if gone else x), tuple(c for c in labels if c in keep)


def _pair(first: Part, second: Part, keep: set[str], size: dict[str, int]) -> Part:
    """Contract two operands: labels of both that are kept are a batch, the others are summed."""
    (x, xs), (y, ys) = first, second
    x, xs = _summed(x, xs, keep | set(ys))
    y, ys = _summed(y, ys, keep | set(xs))
    both = [c for c in xs if c in ys]
    batch, summed = [c for c in both if c in keep], [c for c in both if c not in keep]
    mine, theirs = [c for c in xs if c not in both], [c for c in ys if c not in both]

    def arranged(t: Tensor, labels: Labels, *groups: list[str]) -> Tensor:
        t = permute(t, axes=tuple(labels.index(c) for g in groups for c in g))
        return reshape(t, shape=tuple(math.prod(size[c] for c in g) for g in groups))

    a = arranged(x, xs, batch, mine, summed)
    b = arranged(y, ys, batch, summed, theirs)
    out = (*batch, *mine, *theirs)
    return reshape(product(a, b), shape=tuple(size[c] for c in out)), out


def _best(parts: list[Part], out: set[str], size: dict[str, int]) -> tuple:
    """The two operands to contract next: those whose product grows memory least, then costs
    least.
    """

    def worth(pair: tuple[int, int]) -> tuple[int, int]:
        i, j = pair
        (x, xs), (y, ys) = parts[i], parts[j]
        others = {c for k, (_, cs) in enumerate(parts) if k not in pair for c in cs}
        joined = {*xs, *ys}
        made = math.prod(size[c] for c in joined if c in out or c in others)
        return made - x.numel() - y.numel(), math.prod(size[c] for c in joined)

    return min(combinations(range(len(parts)), 2), key=worth)


# ---- the functions
@composite("ViewBackward0")
def _einsum(operands: Sequence[Tensor], inputs: list[Labels], out: Labels) -> Tensor:
    size = _sizes(operands, inputs)
    parts = [_simple(x, labels, size) for x, labels in zip(operands, inputs, strict=True)]
    while len(parts) > 1:
        i, j = _best(parts, set(out), size)
        later = {c for k, (_, cs) in enumerate(parts) if k not in (i, j) for c in cs}
        new = _pair(parts[i], parts[j], {*out, *later}, size)
        parts = [*(p for k, p in enumerate(parts) if k not in (i, j)), new]
    x, xs = _summed(*parts[0], set(out))
    missing = [c for c in out if c not in xs]  # of extent 1 everywhere it was
    x = reshape(x, shape=(*x.shape, *(size[c] for c in missing))) if missing else x
    xs = (*xs, *missing)
    return permute(x, axes=tuple(xs.index(c) for c in out))


def einsum(*args: Any) -> Tensor:
    """Products summed over the labels that the result lacks: `einsum("ij,jk->ik", a, b)`, or
    `einsum(a, [0, 1], b, [1, 2], [0, 2])`.

    Shape: one label per dimension; equal labels have equal extents. Dtype: that of the operands.
    Raises RuntimeError if labels and shapes do not fit.

    >>> torch.einsum("ik,kj->ij", torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [4.0]]))
    tensor([[11.]])
    """
    if len(args) < 2:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least "
            "one operand and its subscripts list"
        )
    equation, operands = (args[0], args[1:]) if isinstance(args[0], str) else _sublists(args)
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = tuple(operands[0])
    for k, x in enumerate(operands):
        if not isinstance(x, Tensor):
            raise TypeError(f"einsum(): operand {k} must be Tensor, not {type(x).__name__}")
    return _einsum(operands, *_parse(equation, operands))


def _contracted(a: Tensor, b: Tensor, dims: Any) -> tuple[list[int], list[int]]:
    """The axes of both that tensordot sums over."""
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(a.ndim, b.ndim):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        return list(range(a.ndim - dims, a.ndim)), list(range(dims))
    first, second = ([d] if isinstance(d, int) else list(d) for d in dims)
    if len(first) != len(second):
        raise RuntimeError("both dimension lists should have same length")
    return [wrap_dim(d, a.ndim) for d in first], [wrap_dim(d, b.ndim) for d in second]


def tensordot(a: Tensor, b: Tensor, dims: Any = 2, out: None = None) -> Tensor:
    """The product summed over the given dimensions of both.

    Shape: the dimensions of both that are not summed. Dtype: that of both, which must agree.
    Raises RuntimeError if the extents differ.

    >>> torch.tensordot(torch.ones(2, 3, 4), torch.ones(3, 4, 5), dims=2).shape
    tracegrad.Size([2, 5])
    """
    mine, theirs = _contracted(a, b, dims)
    names = [f"a{d}" for d in range(a.ndim)]
    others = [f"b{d}" for d in range(b.ndim)]
    for i, j in zip(mine, theirs, strict=True):
        n, m = a.shape[i], b.shape[j]
        if n != m and 1 not in (n, m):
            raise ShapeError(
                f"contracted dimensions need to match, but first has size {n} in dim {i} and "
                f"second has size {m} in dim {j}"
            )
        others[j] = names[i]
    out_labels = [
        *(c for d, c in enumerate(names) if d not in mine),
        *(c for d, c in enumerate(others) if d not in theirs),
    ]
    return _einsum((a, b), [tuple(names), tuple(others)], tuple(out_labels))
