"""Sums of what iterations pad to different places: the gradient of a value of which each iteration
reads a slice.

The unrolled graph adds n arrays of the whole size, one in each iteration. A loop stacks the parts;
after it they are put in their places, and added to what was there before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..node import Node
from ..ops.movement import flip, fold, pad, permute, slice as slice_
from .sequence import Sequence

PIECES = 4  # of a part that overlaps with that of the next iteration, at most


@dataclass(frozen=True)
class Padded:
    """Value number `value` of an iteration pads a part: in iteration k there are `before` + `step`
    * k zeros before it along an axis.
    """

    value: int
    axis: int
    before: int
    step: int


@dataclass(frozen=True)
class Total:
    """`initial` and all that the iterations pad; `adds` are the values of an iteration that add,
    the last of which is the sum.
    """

    initial: Node
    adds: tuple[int, ...]
    parts: tuple[Padded, ...]


def padding(
    sequence: Sequence, start: int, period: int, count: int, value: int
) -> tuple[np.ndarray, Padded | None]:
    """For a value of an iteration that pads: in which of `count` iterations it pads as in the
    middle, but for a steady move, and how it moves.
    """
    pads = np.array(
        [sequence.nodes[start + k * period + value].params["pads"] for k in range(count)]
    ).reshape(count, -1, 3)
    m = count // 2
    step = pads[m, :, 0] - pads[m - 1, :, 0]
    axes = np.flatnonzero(step)
    at = pads[m, :, 0] + (np.arange(count) - m)[:, None] * step
    steady = (pads[:, :, 0] == at).all(axis=1)
    if not len(axes):
        return steady, None
    axis = int(axes[0])
    before = int(at[0, axis])
    return steady & (len(axes) == 1), Padded(value, axis, before, int(step[axis]))


def sums(adds: dict[int, tuple[int, int, Padded]]) -> list[list[int]] | None:
    """Chains of additions, each a sum over the iterations. `adds` has, for a value that adds a
    padded part, (the other value that it adds, 0 or 1 if that is of the iteration before, part).
    None if they are no such chains.
    """
    after = {other: a for a, (other, lag, _) in adds.items() if lag == 0}
    chains = []
    for first, (last, lag, _) in adds.items():
        if lag:
            chain = [first]
            while chain[-1] in after:
                chain.append(after[chain[-1]])
            steps = {(part.axis, part.step) for _, _, part in map(adds.__getitem__, chain)}
            if chain[-1] != last or len(steps) > 1:
                return None
            chains.append(chain)
    return chains if sum(map(len, chains)) == len(adds) else None


@dataclass(frozen=True)
class Piece:
    """Numbers `start` to `stop` of a padded part: no two iterations have them at one place."""

    of: Padded
    start: int
    stop: int

    @property
    def arrival(self) -> float:
        """The first of two pieces to be added to a place has the lesser one."""
        return -(self.of.before + self.start) / self.of.step


def pieces(of: Padded, part: Node) -> list[Piece]:
    """A part that is padded, in pieces that do not overlap with those of other iterations."""
    size, gap = part.inputs[0].shape[of.axis], part.params["pads"][of.axis][2]
    if (size - 1) * (gap + 1) < abs(of.step):
        return [Piece(of, 0, size)]
    return [Piece(of, k, min(k + abs(of.step), size)) for k in range(0, size, abs(of.step))]


def may_be_late(of: Padded, part: Node) -> bool:
    """Whether a part need not be added in the iteration that makes it."""
    every = pieces(of, part)
    return len(every) == 1 or len(every) <= PIECES and part.params["pads"][of.axis][2] == 0


def placed(parts: Node, piece: Piece, part: Node, count: int, reverse: bool) -> Node:
    """The sum of what `count` iterations pad of a piece. `parts` are stacked in the order of the
    loop's index; `part` is what one iteration makes of its part.
    """
    to = piece.of
    axis, before = to.axis, to.before + piece.start
    low, apart = min(before, before + to.step * (count - 1)), abs(to.step)
    if (to.step < 0) != reverse:
        parts = flip(parts, axes=(0,))
    cuts = [(0, n, 1) for n in parts.shape]
    cuts[axis + 1] = piece.start, piece.stop, 1
    pads, order = list(part.params["pads"]), list(range(1, parts.ndim))
    order[axis] = 0
    y = permute(slice_(parts, slices=tuple(cuts)), axes=(*order, axis + 1))
    span = (piece.stop - piece.start - 1) * (pads[axis][2] + 1) + 1
    extent = (count - 1) * apart + span
    y = fold(y, axis=axis, extent=extent, step=apart, dilation=pads[axis][2] + 1)
    pads[axis] = low, part.shape[axis] - low - extent, 0
    return pad(y, pads=tuple(pads))


def total(initial: Node, sums: list[Node]) -> Node:
    """In an iteration most numbers are added to the zeros around a part."""
    y = initial
    for x in sums:
        y = y + x
    return y + 0.0 if y.dtype.kind == "float" else y
