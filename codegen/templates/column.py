"""Columns: reductions over leading axes, where the innermost axis is kept.

Going down the columns one by one would stride through memory; instead whole rows are added into the
result, which stays in cache, and the loop along the row vectorises. Some rows at a time, where they
are no long work: the result is then read and written once for all, and they are added up in pairs,
so that no addition waits for many others. Workers take blocks of columns, if those are not few.

    for j in range(start, stop):
        store_f4(p0, j, f4(0), 0)
    for r0 in range(0, n0 - 1, 2):      # two rows, here
        or0_0 = r0 * n1
        r0_1 = r0 + 1
        or0_1_0 = r0_1 * n1
        for j in range(start, stop):
            a0 = load_f4(p0, j, 0)
            v2 = load_f4(p1, or0_0 + j, 1)
            v3 = load_f4(p1, or0_1_0 + j, 1)
            a0 = sum_up(a0, sum_up(v2, v3))
            store_f4(p0, j, a0, 0)
    for r0 in range(n0 - (n0 & 1), n0): # the rows that are left over
        ...
    for j in range(start, stop):        # what follows from the sums
        ...

Of floats, each block of rows is added up in scratch memory first, and then added to the result.
"""

from __future__ import annotations

from math import prod

from ...ir.cached import cached_property
from ...ir.node import Node
from ...ir.op import Kind
from ...ir.strides import View
from ..schedule.loop_space import SMALL, expected
from ..text import combine, load, store
from .blocked_sums import in_blocks, rounds
from .loop_body import PRELUDE, Body
from .loops import Axis, Scope, nested

BLOCK = 128  # rows are added up by themselves
WIDEST = 8  # bytes of a number in scratch memory, at most
# rows added at a time, and statements for them all: more would need too many registers. A row of
# few numbers is a register or two, and LLVM makes vectors of them where it sees many such rows
NARROW, WIDE = (16, 128), (8, 32)


class Column(Body):
    def build(self) -> list[str]:
        kept = len(self.kept_extents)
        self.outer = tuple(self.axis(d, f"k{d}", outermost=d == 0) for d in range(kept - 1))
        last = len(self.kept_extents) - 1
        self.narrow = self.kept_extents[last] <= SMALL
        alone = last == 0 and not self.narrow  # the loop that threads share
        self.along = self.axis(last, "j", outermost=alone, innermost=not alone)
        if last == 0 and self.narrow:
            self.extent = 1
        axes = [self._reduced_axes() for _ in range(self.passes)]
        self.points = [Scope((*self.outer, *axis, self.along)) for axis in axes]
        begins = [Scope((*self.outer, self.along)) for _ in range(self.passes)]
        end = Scope((*self.outer, self.along))
        self.sums: dict[Node, str] = {}
        reductions: list[list[Node]] = [[] for _ in range(self.passes)]
        for anchor in self.group.anchors:
            if anchor.op.kind is Kind.REDUCE:
                p = self.pass_of(anchor)
                reductions[p].append(anchor)
                self.sums[anchor] = f"a{len(self.sums)}"
                begins[p].lines.append(self.store(anchor, self.initial(anchor), begins[p]))
        for anchor in (a for a in self.group.anchors if a.op.kind is Kind.REDUCE):
            self._add(anchor, self.points[self.pass_of(anchor)])
        self.at_points: list[list[Node]] = [[] for _ in range(self.passes)]  # what they store
        at_end: list[Node] = []
        for anchor in self.wanted:
            if anchor.op.kind is not Kind.REDUCE:
                here = self.known(anchor) == self.space.all
                (self.at_points[self.depth_of_anchor(anchor)[1]] if here else at_end).append(anchor)
        for point, anchors in zip(self.points, self.at_points, strict=True):
            self._store(anchors, point)
        self._store(at_end, end)
        body: list[str] = []
        for p, begin in enumerate(begins):
            body += self._looped(begin)
            if self.points[p].lines:
                body += self._down(reductions[p], axes[p], p, self._rows(self.points[p].lines))
        body += self._looped(end)
        return [*self.args.lines, *self.prelude.lines, *nested(self.outer, body), *self.reports]

    def _store(self, anchors: list[Node], here: Scope) -> None:
        """After all is read: it may be written where something was read."""
        values = [(anchor, self.anchor_value(anchor, here)) for anchor in anchors]
        for anchor, value in values:
            here.lines += self.finished(anchor, value, here)

    def _looped(self, scope: Scope) -> list[str]:
        return nested((self.along,), scope.lines) if scope.lines else []

    def _rows(self, lines: list[str]) -> int:
        """How many rows of such statements are added at a time: a power of two."""
        most, room = NARROW if self.narrow else WIDE
        return 1 << min(most, max(room // len(lines), 1)).bit_length() - 1

    def _down(
        self, reductions: list[Node], axes: tuple[Axis, ...], p: int, rows: int
    ) -> list[str]:
        """The loops of pass p down the rows, several of which go together if they may."""

        def inside(axes: tuple[Axis, ...]) -> list[str]:
            if rows > 1:
                return self._rows_at_a_time(reductions, axes, p, rows)
            return nested((*axes, self.along), self._accumulated(reductions, self.points[p]))

        parts = [r for r in reductions if r in self.in_parts]
        if not parts:
            return inside(axes)
        begin, end = (Scope((*self.outer, self.along)) for _ in range(2))
        for r in parts:
            begin.lines.append(self._put(r, self.initial(r), begin))
            total = combine(r, self._total(r, end), self._so_far(r, end), self.fast)
            end.lines.append(self.store(r, total, end))
        return in_blocks(axes, self.reduced_extents, BLOCK, self.args, self._looped(begin), inside,
                         self._looped(end))

    @cached_property
    def in_parts(self) -> list[Node]:
        """The sums that are made of the sums of blocks, however many rows there are."""
        return [a for a in self.reductions if rounds(a)]

    def views_of_sums(self) -> list[View]:
        return [self._scratch(r) for r in self.in_parts]

    def _scratch(self, reduction: Node) -> View:
        """Where the part of a sum that a block is adding up stands in scratch memory."""
        size, index = prod(reduction.shape), self.in_parts.index(reduction)
        at = index * size * WIDEST // reduction.dtype.itemsize
        return View(self.space.extents, expected(reduction, self.space), at)

    def _part(self, reduction: Node, here: Scope) -> tuple[str, str]:
        """The pointer to it, and the position."""
        nbytes = len(self.in_parts) * prod(reduction.shape) * WIDEST
        pointer = self.args.scratch(nbytes, reduction.dtype)
        return pointer, self.position(self._scratch(reduction), here)

    def _so_far(self, reduction: Node, here: Scope) -> str:
        """The sum that rows are added to, from memory."""
        if reduction not in self.in_parts:
            return self._total(reduction, here)
        pointer, at = self._part(reduction, here)
        return load(pointer, reduction.dtype, at)

    def _put(self, reduction: Node, value: str, here: Scope) -> str:
        """The statement that writes it."""
        if reduction not in self.in_parts:
            return self.store(reduction, value, here)
        pointer, at = self._part(reduction, here)
        return store(pointer, reduction.dtype, at, value)

    def _reduced_axes(self) -> tuple[Axis, ...]:
        first = len(self.kept_extents)
        return tuple(self.axis(first + d, f"r{d}") for d in range(len(self.reduced_extents)))

    def _add(self, reduction: Node, here: Scope) -> None:
        acc = self.sums[reduction]
        here.lines.append(f"{acc} = {self.combined(reduction, acc, here)}")

    def _accumulated(self, reductions: list[Node], here: Scope) -> list[str]:
        """The statements of `here` between reading the sums so far and writing the new ones."""
        before = [f"{self.sums[r]} = {self._so_far(r, here)}" for r in reductions]
        after = [self._put(r, self.sums[r], here) for r in reductions]
        return [*before, *here.lines, *after]

    def _rows_at_a_time(
        self, reductions: list[Node], axes: tuple[Axis, ...], p: int, rows: int
    ) -> list[str]:
        """The loops of pass p over rows, so many in one go, and over those that are left."""
        *slow, row = axes
        first, last = row.bounds
        single = self._accumulated(reductions, self.points[p])
        count = last if first == "0" else f"({last} - {first})"
        left = f"({count} & {rows - 1})"
        rest = Axis(row.name, f"range({last} - {left}, {last})", row.index, row.header)
        together = Scope((*self.outer, *slow, Axis(row.name, "", row.index), self.along))
        header: list[str] = []
        terms: list[list[str]] = [[] for _ in reductions]
        for k in range(rows):
            name = f"{row.name}_{k}" if k else row.name
            one = Axis(name, "", row.index, [f"{name} = {row.name} + {k}"] if k else [])
            scope = Scope((*self.outer, *slow, one, self.along))
            for reduction, values in zip(reductions, terms, strict=True):
                values.append(self.value(reduction.inputs[0], reduction, scope))
            self._store(self.at_points[p], scope)
            header += one.header
            together.lines += scope.lines
        for reduction, values in zip(reductions, terms, strict=True):
            acc, total = self.sums[reduction], self._together(reduction, values)
            together.lines.append(f"{acc} = {combine(reduction, acc, total, self.fast)}")
        many = Axis(row.name, f"range({first}, {last} - {rows - 1}, {rows})", row.index, header)
        lines = self._accumulated(reductions, together)
        return nested(
            tuple(slow),
            [*nested((many, self.along), lines), *nested((rest, self.along), single)],
        )

    def _together(self, reduction: Node, values: list[str]) -> str:
        """One value of a power of two: in pairs, so that none waits for all that are before it."""
        while len(values) > 1:
            pairs = zip(values[::2], values[1::2], strict=True)
            values = [combine(reduction, a, b, self.fast) for a, b in pairs]
        return values[0]

    def _total(self, reduction: Node, here: Scope) -> str:
        """The sum so far, from memory."""
        buffer, view = self.target(reduction)
        return load(
            self.args.pointer(buffer, reduction.dtype), reduction.dtype, self.position(view, here)
        )

    def scope_for(self, depth: tuple[int, int], here: Scope) -> Scope:
        return self.prelude if depth == (PRELUDE, 0) else here

    def reduced_value(self, reduction: Node, here: Scope) -> str:
        return self.define(here, ("sum", reduction), self._total(reduction, here))
