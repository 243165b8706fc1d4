"""Batching rules: how each kind of primitive is applied to many examples at once.

A rule takes the primitive, the number of examples, the operands, which operands are mapped, and the
parameters for one example. A mapped operand has the examples along its first axis; the others are
the same for all. A rule returns the outputs of all examples along the first axis. A primitive
without a rule is applied to one example after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ...ir.dtype import int64
from ...ir.node import Aval
from ...ir.op import Kind, OpDef
from ...ir.ops.contract import dot
from ...ir.ops.index import first_axis, index, index_put, index_reduce
from ...ir.ops.movement import (
    concat,
    diagonal,
    expand,
    flip,
    fold,
    pad,
    permute,
    reshape,
    slice as slice_,
    window,
)
from ...ir.ops.order import argsort, searchsorted
from ...ir.ops.source import full, iota
from ..tensor.dispatch import bind
from ..tensor.tensor import Tensor

Rule = Callable[[OpDef, int, list[Tensor], list[bool], dict], Tensor]
RULES: dict[OpDef | Kind, Rule] = {}  # of a primitive, else of its Kind


def rule(*keys: OpDef | Kind) -> Callable[[Rule], Rule]:
    """Enter a rule for primitives or for whole kinds."""

    def enter(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(keys, function))
        return function

    return enter


def apply_batched(
    op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict
) -> Tensor:
    """The primitive applied to `size` examples."""
    found = RULES.get(op) or RULES.get(op.kind, one_by_one)
    return found(op, size, xs, mapped, params)


def _reshaped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return x if tuple(x.shape) == shape else reshape(x, shape=shape)


def aligned(x: Tensor, mapped: bool, rank: int) -> Tensor:
    """`x` with one example of `rank` axes, so that it broadcasts; untouched where not mapped."""
    shape = tuple(x.shape)
    return _reshaped(x, (shape[0], *(1,) * (rank + 1 - len(shape)), *shape[1:])) if mapped else x


def full_batch(x: Tensor, mapped: bool, size: int) -> Tensor:
    """`x` with an axis of examples, repeated along it where not mapped."""
    return x if mapped else expand(x, shape=(size, *x.shape))


def rank_of(x: Tensor, mapped: bool) -> int:
    return x.ndim - mapped


# ---- kinds
@rule(Kind.ELEMENTWISE)
def _elementwise(
    op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict
) -> Tensor:
    rank = max(map(rank_of, xs, mapped))
    return bind(op, tuple(aligned(x, m, rank) for x, m in zip(xs, mapped, strict=True)), params)


_SHIFTED = {  # parameters that name axes
    "axes": lambda v: tuple(a + 1 for a in v),
    "dims": lambda v: tuple(a + 1 for a in v),
    "axis": lambda v: v + 1,
    "dim": lambda v: v + 1,
}


@rule(Kind.REDUCE, Kind.PREFIX, argsort, flip, concat, window, fold)
def _along_axes(op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict) -> Tensor:
    """The parameters name axes, counted from the front, and nothing else depends on the rank."""
    xs = [full_batch(x, m, size) for x, m in zip(xs, mapped, strict=True)]
    shifted = {k: _SHIFTED[k](v) if k in _SHIFTED else v for k, v in params.items()}
    return bind(op, tuple(xs), shifted)


_EXTENDED: dict[str, Callable] = {  # parameters with an item for each axis
    "shape": lambda v, size: (size, *v),
    "slices": lambda v, size: ((0, size, 1), *v),
    "pads": lambda v, size: ((0, 0, 0), *v),
    "axes": lambda v, size: (0, *(a + 1 for a in v)),
}


@rule(reshape, permute, slice_, pad)
def _with_an_axis_more(
    op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict
) -> Tensor:
    return bind(op, tuple(xs), {k: _EXTENDED[k](v, size) for k, v in params.items()})


@rule(expand)
def _expand(op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict) -> Tensor:
    (x,) = xs
    x = aligned(x, True, len(params["shape"]))
    return _with_an_axis_more(op, size, [x], mapped, params)


@rule(dot)
def _dot(op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict) -> Tensor:
    a, b = xs
    if mapped == [True, False] and b.ndim == 2:  # all examples' rows in one product
        _, m, k = a.shape
        rows = op(_reshaped(a, (size * m, k)), b)
        return _reshaped(rows, (size, m, b.shape[1]))
    return op(full_batch(a, mapped[0], size), full_batch(b, mapped[1], size))


@rule(Kind.LINALG, Kind.IMPLICIT, diagonal)
def _leading_axes(
    op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict
) -> Tensor:
    """The primitive works on the last axes, and all operands have the same leading ones."""
    return bind(op, tuple(full_batch(x, m, size) for x, m in zip(xs, mapped, strict=True)), params)


@rule(searchsorted)
def _search(op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict) -> Tensor:
    rows, x = xs
    if not mapped[0] and rows.ndim == 1:
        return op(rows, x, **params)
    rows, x = (full_batch(t, m, size) for t, m in zip(xs, mapped, strict=True))
    shape = tuple(x.shape)
    if rows.ndim == 2:  # one row for all numbers of an example
        x = _reshaped(x, (size, math.prod(shape[1:])))
    return _reshaped(op(rows, x, **params), shape)


def _numbered(size: int, ixs: list[Tensor], mapped: list[bool]) -> list[Tensor]:
    """The index arrays of one example as those of all: first the number of the example."""
    rank = max(map(rank_of, ixs, mapped))
    number = bind(iota, (), {"shape": (size,), "dtype": int64})
    number = _reshaped(number, (size, *(1,) * rank))
    return [number, *(aligned(x, m, rank) for x, m in zip(ixs, mapped, strict=True))]


def _index_rank(ixs: list[Tensor], mapped: list[bool]) -> int:
    return max(map(rank_of, ixs, mapped))


def _moved(x: Tensor, start: int, count: int, to: int) -> Tensor:
    """`count` axes from `start` on put where `to` is."""
    block = list(range(start, start + count))
    rest = [d for d in range(x.ndim) if d not in block]
    order = (*rest[:to], *block, *rest[to:])
    return x if order == tuple(range(x.ndim)) else permute(x, axes=order)


@rule(index)
def _index(op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict) -> Tensor:
    (x, *ixs), (x_mapped, *ixs_mapped) = xs, mapped
    axes, at = params["axes"], first_axis(params["axes"])
    rank = _index_rank(ixs, ixs_mapped)
    if not any(ixs_mapped):
        later = tuple(a + 1 for a in axes)
        y = index(x, *ixs, axes=later)
        return y if first_axis(later) else _moved(y, rank, 1, 0)
    if not x_mapped:
        ixs = [aligned(i, m, rank) for i, m in zip(ixs, ixs_mapped, strict=True)]
        return _moved(index(x, *ixs, axes=axes), at, 1, 0)
    y = index(x, *_numbered(size, ixs, ixs_mapped), axes=(0, *(a + 1 for a in axes)))
    return _moved(y, 1, rank, at + 1)


@rule(index_put, index_reduce)
def _into_indices(
    op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict
) -> Tensor:
    (x, v, *ixs), (x_mapped, v_mapped, *ixs_mapped) = xs, mapped
    x, v = full_batch(x, x_mapped, size), full_batch(v, v_mapped, size)
    axes, at = params["axes"], first_axis(params["axes"])
    later = tuple(a + 1 for a in axes)
    rank = _index_rank(ixs, ixs_mapped)
    if any(ixs_mapped):
        ixs = _numbered(size, ixs, ixs_mapped)
        later, v = (0, *later), _moved(v, at + 1, rank, 1)
    elif not first_axis(later):
        v = _moved(v, 0, 1, rank)
    return bind(op, (x, v, *ixs), {**params, "axes": later})


# ---- everything else
def one_by_one(
    op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict
) -> Tensor:
    """One example after the other: right for every primitive, and slow."""
    if not size:
        avals = [
            Aval(tuple(x.shape)[1:] if m else tuple(x.shape), x._dtype)
            for x, m in zip(xs, mapped, strict=True)
        ]
        shape, dtype = op.infer(*avals, **params)
        return bind(full, (), {"value": 0, "shape": (0, *shape), "dtype": dtype})
    outputs = []
    for k in range(size):
        one = tuple(example(x, k) if m else x for x, m in zip(xs, mapped, strict=True))
        y = bind(op, one, params)
        outputs.append(reshape(y, shape=(1, *y.shape)))
    return concat(*outputs, axis=0)


def example(x: Tensor, k: int) -> Tensor:
    """Number `k` along the first axis."""
    shape = tuple(x.shape)
    part = slice_(x, slices=((k, k + 1, 1), *((0, n, 1) for n in shape[1:])))
    return reshape(part, shape=shape[1:])
