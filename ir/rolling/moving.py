"""What an operand is in n iterations if it is no value of theirs: the same, or what moves steadily.

Each function takes the operand's nodes in all iterations. It says in which of them the operand is
as around the `middle`, and gives a function from an iteration to what is read when that is the
first; None if it is something else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence as Many
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph import Graph
from ..node import Node
from ..ops.movement import slice as slice_
from ..ops.source import full
from ..simplify import simplify
from .sequence import Movement, Sequence


@dataclass(frozen=True)
class Same:
    """A value from outside, the same in each iteration."""

    node: Node


@dataclass(frozen=True)
class Slice:
    """A slice of `whole`, in iteration k moved by `step` * k along an axis."""

    whole: Node
    axis: int
    cut: tuple[tuple[int, int, int], ...]
    step: int
    movement: Movement


@dataclass(frozen=True)
class Count:
    """A constant like another: the number `start` + `by` * i, where i is `first` + `step` * k."""

    like: Node
    start: Any
    by: Any
    first: int
    step: int


Steady = tuple[np.ndarray, Callable[[int], Any]] | None


def slices(sequence: Sequence, nodes: Many[Node], middle: int) -> Steady:
    """A slice of one value, which moves along an axis."""
    chains = [sequence.movement(x) for x in nodes]
    chain, before = chains[middle], chains[middle - 1]
    if len(chain) != len(before):
        return None
    level = next(k for k, (x, y) in enumerate(zip(chain, before, strict=True)) if x is not y)
    if chain[level].op is not slice_:
        return None
    whole, after = chain[level].inputs[0], [x.params for x in chain[level + 1 :]]
    cuts = [
        c[level].params["slices"]
        if c[level].inputs[0] is whole and [x.params for x in c[level + 1 :]] == after else None
        for c in chains
    ]
    begins = np.array([[s[0] for s in cut] if cut else [-1] * whole.ndim for cut in cuts])
    steps = begins[middle] - begins[middle - 1]
    axes = np.flatnonzero(steps)
    if len(axes) != 1 or not chain[level].size or begins[middle - 1].min() < 0:
        return None
    at = begins[middle] + (np.arange(len(nodes)) - middle)[:, None] * steps

    def read(first: int) -> Slice:
        axis, movement = int(axes[0]), chains[first][level:]
        return Slice(whole, axis, movement[0].params["slices"], int(steps[axis]), movement)

    return (begins == at).all(axis=1), read


def counts(sequence: Sequence, nodes: Many[Node], middle: int) -> Steady:
    """A number that grows by equal steps, rounded to its type; or a constant that is written in
    different ways.
    """
    low, high, count = middle, middle, len(nodes)
    while low > 0 and nodes[low - 1] in sequence.constants:
        low -= 1
    while high < count and nodes[high] in sequence.constants:
        high += 1
    if high - low < 2:
        return None
    folded = simplify(Graph((), tuple(nodes[low:high]))).outputs
    if any(x.op is not full for x in folded):
        return None
    like, before = folded[middle - low], folded[middle - low - 1]
    numbers = np.array([x.params["value"] for x in folded])
    steady = np.zeros(count, bool)
    if like is before:
        steady[low:high] = [x is like for x in folded]
        return steady, lambda first: Same(nodes[middle])
    if like.dtype.kind == "bool":
        return None
    if like.dtype.kind == "float":
        by = float(numbers[-1] - numbers[0]) / (high - low - 1)
        start = float(numbers[0]) - low * by
        at = like.dtype.decode(like.dtype.encode(start + by * np.arange(low, high, dtype=float)))
    else:
        by = int(numbers[middle - low]) - int(numbers[middle - low - 1])
        start = int(numbers[middle - low]) - by * middle
        at = np.array([start + by * k for k in range(low, high)])
    steady[low:high] = at == numbers
    return steady, lambda first: Count(like, start, by, first, 1)
