"""The loop in place of a run: its body, its operands, its results.

A Body is built before those of the runs that it reads, so that these know what is read of them.
Knows of nodes outside only what they were; what they become is told by a function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from ..dtype import DType, float64, int64
from ..graph import Graph
from ..node import Node, at, constant, input_node, intern
from ..op import Lowering
from ..ops.elementwise import cast, may_fail
from ..ops.loop import loop
from ..ops.movement import expand, flip, permute, reshape, slice as slice_, window
from ..ops.source import iota
from .match import Earlier, Read, Row, Run
from .moving import Count, Same, Slice
from .scatter import Total, pieces, placed, total
from .sequence import Movement, Sequence

RECOMPUTED = 8  # operations that an iteration computes again in place of reading their result

Outer = Callable[[Node], Node]  # from a node of the unrolled graph to what it becomes
Carry = tuple[int, tuple[Node, ...]]  # a value of the body, and what the first iterations read


class Body:
    """`bodies` are those of all runs."""

    def __init__(self, run: Run, sequence: Sequence, bodies: dict[Run, Body]):
        self.run, self.sequence, self.bodies = run, sequence, bodies
        self.nodes = sequence.nodes[run.start : run.start + run.period]
        self.stacked: dict[int, int] = {}  # values that are read outside, numbered
        self.last: dict[int, None] = {}  # values of which only the last one is
        self.carries: dict[Carry, Node] = {}  # the inputs of the body
        self.sliced: dict[Row | Slice | Count, Node] = {}
        self.constants: dict[Node, Node] = {}
        self.values: list[Node] = []
        self.cheap = list(self._recomputed())

    # ---- what others read
    def needs(self, place: int) -> None:
        """The value at this place is read outside."""
        k, value = divmod(place - self.run.start, self.run.period)
        if any(value in t.adds for t in self.run.totals):
            return
        if k < self.run.count - 1:
            self.needs_each(value)
        else:
            self.last[value] = None

    def needs_each(self, value: int) -> None:
        self.stacked.setdefault(value, len(self.stacked))

    def _recomputed(self) -> Iterable[tuple[frozenset[tuple[Run, int]], int]]:
        """For each value: the values that it is computed from again by who reads it, if that is
        cheap, else itself; and the operations that this takes.
        """
        done: list[tuple[frozenset[tuple[Run, int]], int]] = []
        for value, (node, reads) in enumerate(zip(self.nodes, self.run.reads, strict=True)):
            leaves, cost = frozenset[tuple[Run, int]](), 1
            cheap = node.op.lowering is Lowering.EXPRESSION and node.op.recomputed
            for r in reads:
                if isinstance(r, Earlier):
                    cheap = cheap and not r.lag
                    below = done[r.value] if not r.lag else (frozenset(), 0)
                elif isinstance(r, Row):
                    below = self.bodies[r.run].cheap[r.value]
                else:
                    continue
                leaves, cost = leaves | below[0], cost + below[1]
            if not cheap or len(leaves) > 1 or cost > RECOMPUTED:
                leaves, cost = frozenset([(self.run, value)]), 0
            done.append((leaves, cost))
        return done

    # ---- the body
    def build(self, read: Callable[[Node], None]) -> None:
        self.read_outside = read
        adds = {a for t in self.run.totals for a in t.adds}
        parts = {part.value for t in self.run.totals for part in t.parts}
        for t in self.run.totals:
            read(t.initial)
        for value in sorted(parts):
            self.needs_each(value)
        for value, (node, reads) in enumerate(zip(self.nodes, self.run.reads, strict=True)):
            if value in adds:
                self.values.append(node)  # nobody in the body reads it
            elif value in parts:
                self.values.append(self.read(reads[0]))  # it is padded after the loop
            else:
                with at(node.site):
                    self.values.append(intern(node.op, tuple(map(self.read, reads)), node.params))

    def read(self, r: Read) -> Node:
        """In the body, what an operand is."""
        if isinstance(r, Same):
            return self.constant(r.node)
        if isinstance(r, Earlier):
            x = self.carry((r.value, r.initial)) if r.lag else self.values[r.value]
            return moved(x, r.movement)
        if isinstance(r, Row):
            return moved(self.row(r), r.movement)
        if isinstance(r, Slice):
            return self.slice(r)
        x = self.part(r, (), r.like.dtype)
        return expand(x, shape=r.like.shape)

    def constant(self, x: Node) -> Node:
        if x in self.sequence.constants:
            return x
        if x not in self.constants:
            self.read_outside(x)
            self.constants[x] = input_node(x.shape, x.dtype)
        return self.constants[x]

    def carry(self, key: Carry) -> Node:
        """What was computed some iterations before: the value before, carried on."""
        value, initial = key
        if key not in self.carries:
            self.read_outside(initial[0])
            like = self.nodes[value]
            self.carries[key] = input_node(like.shape, like.dtype)
            if len(initial) > 1:
                self.carry((value, initial[1:]))
        return self.carries[key]

    def part(self, r: Row | Slice | Count, shape: tuple[int, ...], dtype: DType) -> Node:
        """The input that is each iteration's part of an operand."""
        if r not in self.sliced:
            self.sliced[r] = input_node(shape, dtype)
        return self.sliced[r]

    def row(self, r: Row) -> Node:
        """A value of another run, or how it is computed again from values of it."""
        body = self.bodies[r.run]
        node = body.nodes[r.value]
        if (r.run, r.value) not in body.cheap[r.value][0]:
            reads = (shifted(below, r) for below in r.run.reads[r.value])
            return intern(node.op, tuple(map(self.read, reads)), node.params)
        body.needs_each(r.value)
        return self.part(replace(r, movement=()), node.shape, node.dtype)

    def slice(self, r: Slice) -> Node:
        self.read_outside(r.whole)
        node = r.movement[0]
        shape = node.shape
        if shape[r.axis] == 1:
            shape = (*shape[: r.axis], *shape[r.axis + 1 :])
        x = self.part(replace(r, movement=()), shape, node.dtype)
        return moved(reshape(x, shape=node.shape), r.movement[1:])

    # ---- the operands
    def operand(self, r: Row | Slice | Count, outer: Outer) -> Node:
        """What the iterations have slices of."""
        if isinstance(r, Row):
            return self.rows(r)
        return self.windows(r, outer) if isinstance(r, Slice) else self.numbers(r)

    def direction(self, r: Row | Slice | Count) -> int:
        """1 if the iterations read ascending slices, -1 if descending."""
        if isinstance(r, Count):
            return 0
        falls = isinstance(r, Row) and self.bodies[r.run].reverse
        return -1 if (r.step < 0) != falls else 1

    def along(self, first: int, step: int) -> tuple[int, int, int, bool]:
        """For first + step * k over the iterations k: least, greatest, distance, and whether they
        fall in the order of the loop's index.
        """
        last = first + step * (self.run.count - 1)
        return min(first, last), max(first, last), abs(step), (step < 0) != self.reverse

    def turned(self, x: Node, falling: bool) -> Node:
        return flip(x, axes=(0,)) if falling else x

    def rows(self, r: Row) -> Node:
        """What another loop has stacked, from the row that the first index reads."""
        body = self.bodies[r.run]
        first = body.index(r.first)
        step = -r.step if body.reverse else r.step
        low, high, _, falling = self.along(first, step)
        x = body.stack(r.value)
        cut = ((low, high + 1, 1), *((0, n, 1) for n in x.shape[1:]))
        return self.turned(slice_(x, slices=cut), falling)

    def windows(self, r: Slice, outer: Outer) -> Node:
        """The slices, with a leading axis that counts the iterations."""
        axis, (begin, stop, inner) = r.axis, r.cut[r.axis]
        size = len(range(begin, stop, inner))
        low, high, apart, falling = self.along(begin, r.step)
        end, every = (high + 1, apart) if size == 1 else (high + (size - 1) * inner + 1, 1)
        cut = (*r.cut[:axis], (low, end, every), *r.cut[axis + 1 :])
        x = slice_(outer(r.whole), slices=cut)
        if size == 1:
            others = [d for d in range(x.ndim) if d != axis]
            return self.turned(permute(x, axes=(axis, *others)), falling)
        x = window(x, axis=axis, size=size, step=apart, dilation=inner)
        others = [x.ndim - 1 if d == axis else d for d in range(x.ndim - 1)]
        return self.turned(permute(x, axes=(axis, *others)), falling)

    def numbers(self, r: Count) -> Node:
        """A constant that grows, for each index of the loop."""
        first, step = r.first, r.step
        if self.reverse:
            first, step = first + step * (self.run.count - 1), -step
        x = intern(iota, (), {"shape": (self.run.count,), "dtype": int64}) * step + first
        if r.like.dtype.kind == "float":
            x = cast(x, dtype=float64)
        return cast(x * r.by + r.start, dtype=r.like.dtype)

    # ---- the loop
    def loop(self, outer: Outer, rolled: Callable[[Graph], Graph]) -> None:
        """Make the loop, given what nodes outside become, and what rolls the loops in its body."""
        self.reverse = sum(map(self.direction, self.sliced)) < 0
        checks = [v for v, node in enumerate(self.nodes) if may_fail(node.op, node.params)]
        if checks and not self.stacked:
            self.last[checks[0]] = None  # a loop is one of its results
        inputs, operands = [*self.carries.values()], [outer(key[1][0]) for key in self.carries]
        new = [self.after(*key) for key in self.carries]
        carried_on = set(new)
        for value in self.last:
            if value not in self.stacked and self.values[value] not in carried_on:
                like = self.nodes[value]
                carried_on.add(self.values[value])
                new.append(self.values[value])
                inputs.append(input_node(like.shape, like.dtype))
                operands.append(constant(0, like.dtype, like.shape))
        carried = len(new)
        self.results = {y: k for k, y in reversed([*enumerate(new)])}
        new += [self.values[v] for v in self.stacked]
        inputs += [*self.sliced.values(), *self.constants.values()]
        operands += [*(self.operand(r, outer) for r in self.sliced), *map(outer, self.constants)]
        fail = dict.fromkeys(self.values[v] for v in checks)
        body = Graph(tuple(inputs), tuple(new), tuple(fail))
        self.operands = tuple(operands)
        self.params: dict[str, Any] = {
            "body": rolled(body), "carried": carried, "sliced": len(self.sliced),
            "length": self.run.count, "reverse": self.reverse,
        }
        self.totals = {t.adds[-1]: self.total(t, outer(t.initial)) for t in self.run.totals}

    def total(self, t: Total, initial: Node) -> Node:
        every = [piece for p in t.parts for piece in pieces(p, self.nodes[p.value])]
        every.sort(key=lambda piece: piece.arrival)  # as the iterations add them
        with at(self.nodes[t.adds[-1]].site):
            return total(initial, [
                placed(self.stack(piece.of.value), piece, self.nodes[piece.of.value],
                       self.run.count, self.reverse)
                for piece in every
            ])

    def after(self, value: int, initial: tuple[Node, ...]) -> Node:
        """What an iteration carries on."""
        if len(initial) == 1:
            return self.values[value]
        return self.carries[value, initial[1:]]

    def result(self, number: int) -> Node:
        with at(self.nodes[0].site):
            return intern(loop, self.operands, {**self.params, "result": number})

    def stack(self, value: int) -> Node:
        """The values of all iterations, in the order of the index."""
        return self.result(self.params["carried"] + self.stacked[value])

    def index(self, k: int) -> int:
        """The index of the loop in iteration k."""
        return self.run.count - 1 - k if self.reverse else k

    def value_at(self, place: int) -> Node:
        """The value at a place of the sequence."""
        k, value = divmod(place - self.run.start, self.run.period)
        if value in self.totals:
            return self.totals[value]
        if k == self.run.count - 1 and (y := self.values[value]) in self.results:
            return self.result(self.results[y])
        x, i = self.stack(value), self.index(k)
        row = slice_(x, slices=((i, i + 1, 1), *((0, n, 1) for n in x.shape[1:])))
        return reshape(row, shape=x.shape[1:])

    def check(self) -> Node:
        """What stands for the checks in the body."""
        return self.result(0)


def moved(x: Node, movement: Movement) -> Node:
    for step in movement:
        x = intern(step.op, (x,), step.params)
    return x


def shifted(read: Read, row: Row) -> Read:
    """What an operand of a value is in the iteration of which that row is."""
    first, step = row.first, row.step
    if isinstance(read, Earlier):
        return Row(row.run, read.value, first, step, read.movement)
    if isinstance(read, Row):
        return replace(read, first=read.first + read.step * first, step=read.step * step)
    if isinstance(read, Count):
        return replace(read, first=read.first + read.step * first, step=read.step * step)
    if isinstance(read, Slice):
        begin, stop, inner = read.cut[read.axis]
        by = read.step * first
        cut = (*read.cut[: read.axis], (begin + by, stop + by, inner), *read.cut[read.axis + 1 :])
        return replace(read, cut=cut, step=read.step * step)
    return read
