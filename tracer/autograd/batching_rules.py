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
from ...ir.ops.order import argsort, searchsorted, top
from ...ir.ops.source import full, iota
from ..tensor.dispatch import bind
from ..tensor.tensor import Tensor

Rule = Callable[[OpDef, int, list[Tensor], list[bool], dict], Tensor]
RULES: dict[OpDef | Kind, Rule] = {}  # of a primitive, else of its Kind


def rule(*keys: OpDef | Kind) -> Callable[[Rule], Rule]:
    """Register a rule for primitives or for kinds of primitives."""

    def enter(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(keys, function))
        return function

    return enter


def apply_batched(
    op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict
) -> Tensor:
    """Apply the primitive to `size` examples."""
    rule = RULES.get(op) or RULES.get(op.kind, one_by_one)
    return rule(op, size, xs, mapped, params)


def _reshape(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return x if tuple(x.shape) == shape else reshape(x, shape=shape)


def aligned(x: Tensor, mapped: bool, rank: int) -> Tensor:
    """`x` with `rank` axes per example, so that it broadcasts. Unmapped operands do not change."""
    shape = tuple(x.shape)
    return _reshape(x, (shape[0], *(1,) * (rank + 1 - len(shape)), *shape[1:])) if mapped else x


def full_batch(x: Tensor, mapped: bool, size: int) -> Tensor:
    """`x` with an axis of examples. An unmapped operand is repeated along it."""
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


@rule(Kind.REDUCE, Kind.PREFIX, argsort, top, flip, concat, window, fold)
def _along_axes(op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict) -> Tensor:
    """The parameters name axes from the front, and nothing else depends on the rank."""
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
def _per_axis_parameters(
    op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict
) -> Tensor:
    return bind(op, tuple(xs), {k: _EXTENDED[k](v, size) for k, v in params.items()})


@rule(expand)
def _expand(op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict) -> Tensor:
    (x,) = xs
    x = aligned(x, True, len(params["shape"]))
    return _per_axis_parameters(op, size, [x], mapped, params)


@rule(dot)
def _dot(op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict) -> Tensor:
    a, b = xs
    if mapped == [True, False] and b.ndim == 2:  # all examples' rows in one product
        _, m, k = a.shape
        rows = op(_reshape(a, (size * m, k)), b)
        return _reshape(rows, (size, m, b.shape[1]))
    return op(full_batch(a, mapped[0], size), full_batch(b, mapped[1], size))


@rule(Kind.LINALG, Kind.IMPLICIT, diagonal)
def _leading_axes(
    op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict
) -> Tensor:
    """The primitive works on the last axes. All operands have the same leading axes."""
    return bind(op, tuple(full_batch(x, m, size) for x, m in zip(xs, mapped, strict=True)), params)


@rule(searchsorted)
def _search(op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict) -> Tensor:
    rows, x = xs
    if not mapped[0] and rows.ndim == 1:
        return op(rows, x, **params)
    rows, x = (full_batch(t, m, size) for t, m in zip(xs, mapped, strict=True))
    shape = tuple(x.shape)
    if rows.ndim == 2:  # one row for all numbers of an example
        x = _reshape(x, (size, math.prod(shape[1:])))
    return _reshape(op(rows, x, **params), shape)


def _with_example_index(size: int, ixs: list[Tensor], mapped: list[bool]) -> list[Tensor]:
    """Index arrays for all examples: the number of the example comes first."""
    rank = max(map(rank_of, ixs, mapped))
    number = bind(iota, (), {"shape": (size,), "dtype": int64})
    number = _reshape(number, (size, *(1,) * rank))
    return [number, *(aligned(x, m, rank) for x, m in zip(ixs, mapped, strict=True))]


def _index_rank(ixs: list[Tensor], mapped: list[bool]) -> int:
    return max(map(rank_of, ixs, mapped))


def _move_axes(x: Tensor, start: int, count: int, to: int) -> Tensor:
    """Move `count` axes, from `start` on, to position `to`."""
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
        return y if first_axis(later) else _move_axes(y, rank, 1, 0)
    if not x_mapped:
        ixs = [aligned(i, m, rank) for i, m in zip(ixs, ixs_mapped, strict=True)]
        return _move_axes(index(x, *ixs, axes=axes), at, 1, 0)
    y = index(x, *_with_example_index(size, ixs, ixs_mapped), axes=(0, *(a + 1 for a in axes)))
    return _move_axes(y, 1, rank, at + 1)


@rule(index_put, index_reduce)
def _scatter(
    op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict
) -> Tensor:
    (x, v, *ixs), (x_mapped, v_mapped, *ixs_mapped) = xs, mapped
    x, v = full_batch(x, x_mapped, size), full_batch(v, v_mapped, size)
    axes, at = params["axes"], first_axis(params["axes"])
    later = tuple(a + 1 for a in axes)
    rank = _index_rank(ixs, ixs_mapped)
    if any(ixs_mapped):
        ixs = _with_example_index(size, ixs, ixs_mapped)
        later, v = (0, *later), _move_axes(v, at + 1, rank, 1)
    elif not first_axis(later):
        v = _move_axes(v, 0, 1, rank)
    return bind(op, (x, v, *ixs), {**params, "axes": later})


# ---- everything else
def one_by_one(
    op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict
) -> Tensor:
    """Apply the primitive to one example after the other. Correct for every primitive, but slow."""
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
    """Example number `k`, along the first axis."""
    shape = tuple(x.shape)
    part = slice_(x, slices=((k, k + 1, 1), *((0, n, 1) for n in shape[1:])))
    return reshape(part, shape=shape[1:])
