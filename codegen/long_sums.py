"""Long reductions, made of short ones."""

from __future__ import annotations

import math

from ..ir.node import Node
from ..ir.ops.reduce import LONG

PART, FEW = 4096, 8  # numbers in the first part of a long sum, at most and at least


def in_two(reduction: Node) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """A long reduction as two: (shape to see its operand in, axes reduced first, axes then).

    The first has many results, which threads can share; and short sums of short sums are exact to
    more digits than one long sum. Whole axes go first, from the last on, as another loop may have
    them too; of one that is too long, a part. None where the reduction is short.
    """
    shape, dims = reduction.inputs[0].shape, reduction.params["dims"]
    if math.prod(shape[d] for d in dims) <= LONG:
        return None
    first, count, cut, part = set(), 1, len(shape), 1
    for d in sorted((d for d in dims if shape[d] > 1), reverse=True):
        first.add(d)
        if shape[d] > PART // count:
            cut, room = d, PART // count
            part = next(c for c in range(room, 0, -1) if shape[d] % c == 0)
            count *= part
            break
        count *= shape[d]
        if count >= FEW:
            break
    if count < FEW:
        return None
    split = (*shape[:cut], shape[cut] // part, part, *shape[cut + 1 :]) if part > 1 else shape
    moved = {d: d + (d >= cut and part > 1) for d in range(len(shape))}
    gone = tuple(sorted(moved[d] for d in first))
    rest = {moved[d] for d in dims if d not in first} | ({cut} if part > 1 else set())
    left = [d for d in range(len(split)) if d not in gone]
    return split, gone, tuple(k for k, d in enumerate(left) if d in rest)
