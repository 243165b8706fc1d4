"""Matrices as the last two axes, in pieces: triangles, blocks, orders of rows. Written in
primitives, for all classes of values.
"""

from __future__ import annotations

import math
from typing import Any

from ..dtype import int64
from .elementwise import eq, ge, gt, where
from .index import index
from .movement import concat, reshape, slice as slice_
from .reduce import sum as sum_
from .source import full, iota

Shape = tuple[int, ...]


def counter(like: Any, n: int, axis: int, rank: int) -> Any:
    """0, 1, ..., n - 1 along one axis of an otherwise flat array of this rank."""
    steps = type(like).bind(iota, (), {"shape": (n,), "dtype": int64})
    return reshape(steps, shape=tuple(n if d == axis else 1 for d in range(rank)))


def grid(x: Any) -> tuple[Any, Any]:
    """The row numbers and the column numbers of a matrix."""
    m, n = x.shape[-2:]
    return counter(x, m, 0, 2), counter(x, n, 1, 2)


def tril(x: Any, strict: bool = False) -> Any:
    """The lower triangle, zeros above; `strict`: without the diagonal."""
    rows, columns = grid(x)
    return where(gt(rows, columns) if strict else ge(rows, columns), x, 0)


def triu(x: Any, strict: bool = False) -> Any:
    rows, columns = grid(x)
    return where(gt(columns, rows) if strict else ge(columns, rows), x, 0)


def identity(like: Any, shape: Shape) -> Any:
    ones = type(like).bind(full, (), {"value": 1.0, "shape": shape, "dtype": like.dtype})
    return where(eq(*grid(ones)), ones, 0)


def column(v: Any) -> Any:
    """A vector as a matrix of one column: it scales rows."""
    return reshape(v, shape=(*v.shape, 1))


def row(v: Any) -> Any:
    """A vector as a matrix of one row: it scales columns."""
    return reshape(v, shape=(*v.shape[:-1], 1, v.shape[-1]))


def corner(x: Any, rows: tuple[int, int], columns: tuple[int, int]) -> Any:
    """A block of a matrix, from and to."""
    lead = tuple((0, n, 1) for n in x.shape[:-2])
    return slice_(x, slices=(*lead, (*rows, 1), (*columns, 1)))


def piece(packed: Any, at: int, shape: Shape) -> Any:
    """A factor out of a flat packed answer: `shape` numbers from `at` on."""
    lead = tuple(packed.shape[:-1])
    part = slice_(packed, slices=(*((0, n, 1) for n in lead), (at, at + math.prod(shape), 1)))
    return reshape(part, shape=(*lead, *shape))


def join(a: Any, b: Any, axis: int) -> Any:
    """Two blocks side by side (axis -1) or one below the other (axis -2)."""
    return concat(a, b, axis=len(a.shape) + axis)


def inverse_order(order: Any) -> Any:
    """The permutation that undoes this one."""
    n, rank = order.shape[-1], len(order.shape) + 1
    rows, columns = (counter(order, n, d, rank) for d in (rank - 2, rank - 1))
    return sum_(where(eq(row(order), rows), columns, 0), dims=(rank - 1,))


def rows_in_order(x: Any, order: Any) -> Any:
    """The rows of matrices in an order of their own."""
    lead = x.shape[:-2]
    batch = (counter(order, n, d, len(lead) + 1) for d, n in enumerate(lead))
    return index(x, *batch, order, axes=tuple(range(len(lead) + 1)))
