"""Long reductions, made of short ones; and what else adds numbers up."""

from __future__ import annotations

import math
from typing import NamedTuple

from ...ir.node import Node
from ...ir.op import OpDef
from ...ir.ops.reduce import LONG

PART, FEW = 4096, 8  # numbers in the first part of a long sum, at most and at least


class Halves(NamedTuple):
    """A long reduction as two."""

    axis: int  # of which only the first `whole` positions are divided among them
    whole: int
    shape: tuple[int, ...]  # to see the operand in
    first: tuple[int, ...]  # the axes that are reduced first
    second: tuple[int, ...]  # and then


def in_two(reduction: Node) -> Halves | None:
    """A long reduction as two, of which the first has many results, which threads can share; and
    short sums of short sums are exact to more digits than one long sum. None where it is short.

    Whole axes go first, from the last on, as another loop may have them too; of one that is too
    long, a part: if no part divides it well, there is a rest that neither of the two takes in.
    """
    shape, dims = reduction.inputs[0].shape, reduction.params["dims"]
    if math.prod(shape[d] for d in dims) <= LONG:
        return None
    gone, count, cut, part = set(), 1, len(shape), 1
    for d in sorted((d for d in dims if shape[d] > 1), reverse=True):
        gone.add(d)
        if shape[d] > PART // count:
            cut, room = d, PART // count
            part = next((c for c in range(room, room // 4, -1) if shape[d] % c == 0), room)
            break
        count *= shape[d]
        if count >= FEW:
            break
    if part == 1:
        axis = max(gone)
        left = [d for d in range(len(shape)) if d not in gone]
        then = tuple(k for k, d in enumerate(left) if d in dims)
        return Halves(axis, shape[axis], shape, tuple(sorted(gone)), then)
    parts = shape[cut] // part
    split = (*shape[:cut], parts, part, *shape[cut + 1 :])
    moved = {d: d + (d >= cut) for d in range(len(shape))}
    first = tuple(sorted(moved[d] for d in gone))
    rest = {moved[d] for d in dims if d not in gone} | {cut}
    left = [d for d in range(len(split)) if d not in first]
    second = tuple(k for k, d in enumerate(left) if d in rest)
    return Halves(cut, parts * part, split, first, second)


def adds_up(node: Node) -> bool:
    """Whether a launch of its own combines numbers one after the other, as a reduction does."""
    return node.op.adds is not None and node.op.adds(node.params)


def pair_of(reduction: OpDef) -> OpDef:
    """The primitive that does the same with two numbers."""
    assert reduction.reduction is not None
    return reduction.reduction.pair
