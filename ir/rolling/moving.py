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

from ..dtype import DType
from ..graph import Graph
from ..interpret import value_of
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
    form, size = _form(chain, level), len(chain)
    cuts = [
        c[level].params["slices"] if len(c) == size and _form(c, level) == form else None
        for c in chains
    ]
    whole = chain[level].inputs[0]
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


def _form(movement: Movement, level: int) -> list[Any]:
    """What is made of the value that is sliced at that level, but for where the slice begins."""
    if movement[level].op is not slice_:
        return []
    x = movement[level]
    cut = [(stop - start, step) for start, stop, step in x.params["slices"]]
    return [id(x.inputs[0]), cut, *((y.op, y.params) for y in movement[level + 1 :])]


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
    like, before = folded[middle - low], folded[middle - low - 1]
    steady = np.zeros(count, bool)
    if like is before:
        steady[low:high] = [x is like for x in folded]
        return steady, lambda first: Same(nodes[middle])
    numbers = _numbers(folded)
    if numbers is None or like.dtype.kind == "bool":
        return None
    if like.dtype.kind == "float":
        at, (start, by) = _nearest(numbers, low, like.dtype)
    else:
        by = int(numbers[middle - low]) - int(numbers[middle - low - 1])
        start = int(numbers[middle - low]) - by * middle
        at = np.array([start + by * k for k in range(low, high)])
    steady[low:high] = at == numbers
    return steady, lambda first: Count(like, start, by, first, 1)


def _numbers(constants: Many[Node]) -> np.ndarray | None:
    """The number that each constant is; None if one has several."""
    if all(x.op is full for x in constants):
        return np.array([x.params["value"] for x in constants])
    if any(x.size != 1 for x in constants):
        return None
    values = value_of(constants, {})
    return np.array([x.dtype.decode(values[x]).item() for x in constants])


def _nearest(numbers: np.ndarray, low: int, dtype: DType) -> tuple[np.ndarray, tuple[float, float]]:
    """The best of some ways to count: start + by * k for k from `low` on, rounded; and the start,
    and by what it grows.
    """
    k = np.arange(low, low + len(numbers), dtype=float)
    by = float(numbers[-1] - numbers[0]) / (len(numbers) - 1)
    ways = [(float(numbers[0]) - low * by, by)]
    if by:  # multiples of a number that is known only as they are rounded, such as t * 0.1
        offset = round(float(numbers[0]) / by) - low if np.isfinite(numbers[0] / by) else 0
        times = (k + offset)[k + offset != 0]
        rounded = numbers[k + offset != 0]
        ulp = np.abs(rounded) * float(np.finfo(dtype.compute).eps) / 2
        ends = np.array([(rounded - ulp) / times, (rounded + ulp) / times])
        exact = float(ends.min(axis=0).max() + ends.max(axis=0).min()) / 2
        ways.append((offset * exact, exact))
    counted = [dtype.decode(dtype.encode(start + by * k)) for start, by in ways]
    best = max(range(len(ways)), key=lambda w: int((counted[w] == numbers).sum()))
    return counted[best], ways[best]
