"""Runs of equal iterations: which parts of a sequence are one body, again and again.

Symbols say where to look (periods.py); here each operand of each value must be, in every
iteration, the same value, one of this iteration or of one shortly before, one of the matching
iteration of another run, or a slice or number that moves by a fixed step. Iterations that
differ are no part of a run.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..node import Node
from ..ops.elementwise import add
from ..ops.movement import pad
from .moving import Count, Same, Slice, counts, slices
from .periods import Repetition
from .scatter import Padded, Total, may_be_late, padding, sums
from .sequence import Movement, Sequence

LAG = 4  # an iteration may read values of so many iterations before
HALVES = 2  # times that iterations are halved if those in the middle differ
TRIES = 16  # beginnings of a run that are tried


@dataclass(frozen=True)
class Earlier:
    """Value number `value` of the iteration `lag` before, 0 for this one. `initial` are those that
    the first iterations read.
    """

    value: int
    lag: int
    initial: tuple[Node, ...]
    movement: Movement


@dataclass(frozen=True)
class Row:
    """Value number `value` of another run's iteration `first` + `step` * k."""

    run: Run
    value: int
    first: int
    step: int
    movement: Movement


Read = Same | Earlier | Row | Slice | Count


@dataclass(eq=False)
class Run:
    """`count` iterations of `period` values each, from the place `start`. `reads` has what each
    operand of each value of an iteration is; `totals` are sums that are taken after the loop.
    """

    start: int
    period: int
    count: int
    reads: list[list[Read]] = field(default_factory=list)
    totals: list[Total] = field(default_factory=list)

    @property
    def stop(self) -> int:
        return self.start + self.period * self.count


def runs(sequence: Sequence, repetitions: list[Repetition], least: int) -> list[Run]:
    """The runs among repetitions that are in order and do not overlap."""
    every: list[Run] = []
    for r in repetitions:
        phase = _phase(sequence, r)
        parts = [(r.start + phase, (r.length - phase) // r.period, HALVES)]
        while parts:
            start, count, halves = parts.pop()
            if count < least:
                continue
            run = _Match(sequence, every, start, r.period, count).run(least)
            if run is not None:
                insort(every, run, key=lambda run: run.start)
                before = (run.start - start) // r.period
                parts.append((run.stop, count - before - run.count, halves))
                parts.append((start, before, halves))
            elif halves:  # the middle is perhaps an exception
                half = count // 2
                parts.append((start + half * r.period, count - half, halves - 1))
                parts.append((start, half, halves - 1))
    return every


def _phase(sequence: Sequence, r: Repetition) -> int:
    """Where in the period an iteration begins best: where the fewest values are still needed."""
    start = r.start + (r.length // r.period // 2) * r.period
    needed = np.zeros(r.period + 1, np.int64)
    last: dict[int, int] = {}
    for place in range(start, min(start + r.period, r.start + r.length)):
        for base in sequence.bases[sequence.first[place] : sequence.first[place + 1]].tolist():
            if base >= r.start:
                value = (base - r.start) % r.period
                last[value] = max(last.get(value, 0), place - base)
    for value, distance in last.items():
        begin, more = (value + 1) % r.period, min(distance, r.period)
        needed[begin] += 1
        needed[min(begin + more, r.period)] -= 1
        if begin + more > r.period:
            needed[0] += 1
            needed[begin + more - r.period] -= 1
    return int(np.argmin(np.cumsum(needed[:-1])))


class _Match:
    """Iterations from `start` that look alike. Arrays have a row for each iteration, a column for
    each operand.
    """

    def __init__(
        self, sequence: Sequence, runs: list[Run], start: int, period: int, count: int
    ):
        self.sequence, self.runs = sequence, runs
        self.start, self.period, self.count = start, period, count
        begin, stop = (int(sequence.first[p]) for p in (start, start + period))
        columns = stop - begin
        end = begin + columns * count
        self.bases = sequence.bases[begin:end].reshape(count, columns)
        self.movements = sequence.movements[begin:end].reshape(count, columns)
        self.middle = count // 2
        self.columns = [
            (j, i) for j in range(period) for i in range(len(sequence.nodes[start + j].inputs))
        ]

    def node(self, k: int, j: int, i: int) -> Node:
        """Operand i of value j of iteration k."""
        return self.sequence.nodes[self.start + k * self.period + j].inputs[i]

    def run(self, least: int) -> Run | None:
        """The longest run among the iterations."""
        m, iterations = self.middle, np.arange(self.count)
        steps = self.bases[m] - self.bases[m - 1]
        at = self.bases[m] + (iterations - m)[:, None] * steps  # where a steady read would be
        steady = (self.bases == at) & (self.movements == self.movements[m])
        every = np.ones(self.count, bool)
        carried: list[tuple[int, int, np.ndarray]] = []  # column, lag, iterations that read it
        kinds: list[Any] = []
        for c, (step, base) in enumerate(zip(steps.tolist(), self.bases[m].tolist(), strict=True)):
            moves = self.movements[m, c] != self.movements[m - 1, c]
            if moves or (step and base < 0):
                nodes = [self.node(k, *self.columns[c]) for k in range(self.count)]
                kind = (slices if moves else counts)(self.sequence, nodes, m)
                if kind is None:
                    return None
                every &= kind[0]
                kinds.append(kind[1])
            elif step == 0:
                every &= steady[:, c]
                kinds.append("same")
            elif base >= self.start:
                lag = -((base - self.start - m * self.period) // self.period)
                if step != self.period or lag > LAG:
                    return None
                kinds.append(lag)
                if lag:
                    carried.append((c, lag, steady[:, c]))
                else:
                    every &= steady[:, c]
            else:
                other = self.other(base, step)
                if other is None:
                    return None
                kinds.append(other)
                place = self.bases[:, c]
                every &= steady[:, c] & (place >= other.start) & (place < other.stop)
        adds = self.adds(every, kinds)
        if adds is None:
            return None
        for c, kind in enumerate(kinds):  # what is outside of the iterations comes before them
            inside = self.outermost(c) - self.start
            if not isinstance(kind, (int, Run)) and inside >= 0:
                every[: inside // self.period + 1] = False
        first, stop = self.longest(every, carried)
        if stop - first < least:
            return None
        run = self.cut(first, stop, kinds)
        for chain in adds:
            head = next(c for c, (j, _) in enumerate(self.columns) if j == chain[0][0])
            head += kinds[head] == 0  # the operand that is of the iteration before
            parts = tuple(replace(p, before=p.before + p.step * first) for _, p in chain)
            initial = self.initial(head, first)
            assert initial is not None
            run.totals.append(Total(initial, tuple(a for a, _ in chain), parts))
        return run

    def adds(self, every: np.ndarray, kinds: list[Any]) -> list[list[tuple[int, Padded]]] | None:
        """Chains of additions of parts that are padded to different places, which nobody else
        reads; None if a part is padded for something else. `every` becomes false where it is so.
        """
        moving: dict[int, Padded] = {}
        for value in range(self.period):
            if self.sequence.nodes[self.start + value].op is pad:
                steady, padded = padding(self.sequence, self.start, self.period, self.count, value)
                every &= steady
                if padded is not None:
                    moving[value] = padded
                    if not may_be_late(padded, self.sequence.nodes[self.start + value]):
                        return None
        if not moving:
            return []
        adds: dict[int, tuple[int, int, Padded]] = {}
        for c in range(len(kinds) - 1):
            (a, i), (b, _) = self.columns[c], self.columns[c + 1]
            if i or a != b or self.sequence.nodes[self.start + a].op is not add:
                continue
            pair = self.plain(c, kinds[c]), self.plain(c + 1, kinds[c + 1])
            for part, other in (pair, pair[::-1]):
                if part and other and part[1] == 0 and part[0] in moving and other[1] <= 1:
                    adds[a] = *other, moving.pop(part[0])
        if moving or (chains := sums(adds)) is None:
            return None
        for chain in chains:
            for k, a in enumerate(chain):
                once = self.readers(a) == 1
                every &= self.readers(adds[a][2].value) == 1
                if k < len(chain) - 1:
                    every &= once
                else:
                    every[1:] &= once[:-1]
        return [[(a, adds[a][2]) for a in chain] for chain in chains]

    def readers(self, value: int) -> np.ndarray:
        """How many read a value, in each iteration."""
        stop = self.start + self.period * self.count
        return self.sequence.readers[self.start + value : stop : self.period]

    def plain(self, c: int, kind: Any) -> tuple[int, int] | None:
        """The value of the iterations that an operand is, and its lag."""
        if not isinstance(kind, int) or self.movements[self.middle, c]:
            return None
        return (self.outermost(c) - self.start) % self.period, kind

    def outermost(self, c: int) -> int:
        """The place of the value that the operand is a movement of, in the middle."""
        return int(self.bases[self.middle, c])

    def longest(
        self, every: np.ndarray, carried: list[tuple[int, int, np.ndarray]]
    ) -> tuple[int, int]:
        """The most iterations in a row in which `every` holds, and that read what they carry,
        except that the first ones read values from before.
        """
        best = 0, 0
        breaks = {0, *(np.flatnonzero(~every) + 1).tolist()}
        for _, _, ok in carried:
            bad = np.flatnonzero(~ok)
            breaks.update(bad.tolist(), (bad + 1).tolist())
        for first in sorted(breaks)[:TRIES]:
            ends = [self.count, *_first_false(every, first)]
            before = self.start + first * self.period
            for c, lag, ok in carried:
                ends += _first_false(ok, first + lag)
                places = self.bases[first : first + lag, c]
                if (places >= before).any() or self.initials(c, first, lag) is None:
                    ends = [first]
            if min(ends) - first > best[1] - best[0]:
                best = first, min(ends)
        return best

    def initial(self, c: int, k: int) -> Node | None:
        """What iteration k reads in place of a value carried on from the one before; None if the
        movement that all others make of that is not made of it.
        """
        x = self.node(k, *self.columns[c])
        wanted = self.sequence.movement(self.node(self.middle, *self.columns[c]))
        if wanted:
            chain = self.sequence.movement(x)[-len(wanted) :]
            if [(y.op, y.params) for y in chain] != [(y.op, y.params) for y in wanted]:
                return None
            x = chain[0].inputs[0]
        return x if x.shape == self.sequence.nodes[self.outermost(c)].shape else None

    def initials(self, c: int, first: int, lag: int) -> tuple[Node, ...] | None:
        """What the first iterations read; None if it cannot stand for what is carried to them."""
        values = (self.initial(c, k) for k in range(first, min(first + lag, self.count)))
        read = tuple(x for x in values if x is not None)
        return read if len(read) == lag else None

    def other(self, place: int, step: int) -> Run | None:
        """The run that has this place, if it goes on as the reads do."""
        k = bisect_right(self.runs, place, key=lambda run: run.start) - 1
        if k < 0 or place >= self.runs[k].stop or abs(step) != self.runs[k].period:
            return None
        return self.runs[k]

    def cut(self, first: int, stop: int, kinds: list[Any]) -> Run:
        """The run of the iterations from first to stop."""
        run = Run(self.start + first * self.period, self.period, stop - first)
        run.reads = [[] for _ in range(self.period)]
        for c, ((j, i), kind) in enumerate(zip(self.columns, kinds, strict=True)):
            x = self.node(first, j, i)
            movement = self.sequence.movement(x)
            read: Read
            if kind == "same":
                read = Same(x)
            elif isinstance(kind, int):
                movement = self.sequence.movement(self.node(self.middle, j, i))
                value = (int(self.bases[self.middle, c]) - self.start) % self.period
                read = Earlier(value, kind, self.initials(c, first, kind) or (), movement)
            elif isinstance(kind, Run):
                k, value = divmod(int(self.bases[first, c]) - kind.start, kind.period)
                step = 1 if self.bases[first + 1, c] > self.bases[first, c] else -1
                read = Row(kind, value, k, step, movement)
            else:
                read = kind(first)
            run.reads[j].append(read)
        return run


def _first_false(holds: np.ndarray, start: int) -> Iterator[int]:
    """The first place from start where it does not hold, if there is one."""
    rest = ~holds[start:]
    if rest.any():
        yield start + int(rest.argmax())
