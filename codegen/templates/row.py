"""Maps and rows: one loop nest over the kept points; under it, the passes over the reduced axes.

A group without reductions is a map: its innermost kept axis is the loop that LLVM vectorises. With
reductions, each pass runs over the reduced axes while the row is in cache, and what a pass produced
is known to all later ones.

    t0 = f4(0)                          # a sum over all rows
    for k0 in range(start, stop):
        v1 = ...                        # known once per row
        a2 = f4(-inf)                   # pass 0
        for j0 in range(n):
            v3 = load_f4(p0, ok0_0 + j0, 0)
            a2 = max_up(a2, v3)
        ...                             # pass 1
        store_f4(p1, k0, v9, 1)
        t0 = sum_up(t0, v9)
    store_f4(p2, 0, t0, 2)              # what follows from all rows

A short row is written out point by point, so that what one pass computes at a point is known to the
next, and LLVM takes several rows at a time. Sums that may have many terms are made block by block:

    for j0_begin in range(0, n, 512):
        j0_end = minimum(j0_begin + 512, n)
        a2p = f4(0)
        for j0 in range(j0_begin, j0_end):
            ...
        a2 = sum_up(a2, a2p)
"""

from __future__ import annotations

from ...ir.node import Node
from ...ir.op import Kind
from ..text import combine
from .blocked_sums import in_blocks, rounds
from .loop_body import END, ENDS, POINT, PRELUDE, Body
from .loops import Axis, Scope, nested

BLOCK = 512  # terms of a sum that have an accumulator of their own


class Row(Body):
    def build(self) -> list[str]:
        kept = len(self.kept_extents)
        self.outer = tuple(
            self.axis(
                d, f"k{d}", outermost=d == 0, innermost=d == kept - 1 and not self.space.reduced
            )
            for d in range(kept)
        )
        self.segments = [Scope(self.outer) for _ in range(self.passes + 1)]
        self.points = [self._points() for _ in range(self.passes)]
        self.begins: list[list[str]] = [[] for _ in range(self.passes)]
        # when all rows are done: once, and for each point of a short row
        self.end, self.ends = Scope(()), [Scope((axis,)) for axis in self._fixed()]
        self.starts: list[str] = []
        # of sums made in blocks, what begins and what ends a block: of rows, and of a row's points
        self.blocks: dict[int | None, tuple[list[str], list[str]]] = {}
        self.accumulators: dict[Node, list[str]] = {}
        for anchor in self.reductions:
            self._accumulate(anchor)
        at_end: list[str] = []
        tail = self._stores(at_end)
        body: list[str] = []
        for p in range(self.passes):
            body += [*self.segments[p].lines, *self.begins[p]]
            for point in self.points[p]:
                loops = point.chain[kept:]
                body += point.lines if self.short else self._blocked(p, loops, point.lines)
        body += [*self.segments[self.passes].lines, *tail]
        rows = self._blocked(None, self.outer, body)
        late = [*self.end.lines, *(line for scope in self.ends for line in scope.lines), *at_end]
        before = [*self.args.lines, *self.prelude.lines, *self.starts]
        return [*before, *rows, *late, *self.reports]

    def _blocked(self, p: int | None, loops: tuple[Axis, ...], lines: list[str]) -> list[str]:
        """The loops over the points of a row in pass p, or over the rows."""
        if p not in self.blocks:
            return nested(loops, lines)
        extents = self.kept_extents if p is None else self.reduced_extents
        before, after = self.blocks[p]
        return in_blocks(
            loops, extents, BLOCK, self.args, before, lambda axes: nested(axes, lines), after
        )

    @property
    def short(self) -> bool:
        return self.space.short

    def _fixed(self) -> list[Axis]:
        """The points of a short row, as axes that stand still."""
        extent = self.space.extents[self.space.reduced[0]] if self.short else 0
        return [Axis(str(j), "", len(self.kept_extents)) for j in range(extent)]

    def _points(self) -> list[Scope]:
        """The scopes of a pass: one inside the loops over the reduced axes, or one for each point
        of a short row.
        """
        if self.short:
            return [Scope((*self.outer, axis)) for axis in self._fixed()]
        count, first = len(self.reduced_extents), len(self.kept_extents)
        loops = (self.axis(first + d, f"j{d}", innermost=d == count - 1) for d in range(count))
        return [Scope((*self.outer, *loops))]

    def _accumulate(self, anchor: Node) -> None:
        """One number per row, or for all rows one, or one for each point of a short row."""
        p, axes = self.pass_of(anchor), self.known(anchor)
        late = self.space.late(axes)
        name = f"{'t' if late else 'a'}{len(self.accumulators)}"
        names = [f"{name}_{j}" for j in range(len(self.ends))] if late and axes else [name]
        self.accumulators[anchor] = names
        begin = self.starts if late else self.begins[p]
        begin += [f"{name} = {self.initial(anchor)}" for name in names]
        every = self.computed(anchor) == self.space.all
        if rounds(anchor):
            names = self._in_parts(anchor, names, None if late else p)
        for j, here in enumerate(self.points[p] if every else [self.segments[p]]):
            acc = names[j % len(names)]
            here.lines.append(f"{acc} = {self.combined(anchor, acc, here)}")

    def _in_parts(self, anchor: Node, names: list[str], p: int | None) -> list[str]:
        """The accumulators to add to inside the loops over rows (p is None) or over a row's points:
        those of a block, if there are many.
        """
        few = self._rows_of_one_axis and self.reduced_extents[0] <= BLOCK
        if p is not None and (self.short or few):
            return names
        before, after = self.blocks.setdefault(p, ([], []))
        before += [f"{name}p = {self.initial(anchor)}" for name in names]
        after += [f"{name} = {combine(anchor, name, f'{name}p', self.fast)}" for name in names]
        return [f"{name}p" for name in names]

    @property
    def _rows_of_one_axis(self) -> bool:
        """Whether there are many rows, whose length decides how they are written. A loop of its
        own, or one of several axes, is written alike for any extent: a batch may be among them.
        """
        return bool(self.kept_extents) and len(self.reduced_extents) == 1

    def often(self, scope: Scope) -> bool:
        return super().often(scope) or (self._rows_of_one_axis and scope in self.segments)

    def _stores(self, at_end: list[str]) -> list[str]:
        """Stores at points happen in the pass that knows the value; stores at kept points at the
        end of the row, which are returned; what all rows make is stored `at_end`.
        """
        tail: list[str] = []
        for anchor in self.wanted:
            axes, scopes, lines = self.known(anchor), [self.segments[-1]], tail
            if self.space.late(axes):
                scopes, lines = self.ends if axes else [self.end], at_end
            elif axes == self.space.all and self.space.reduced:
                for here in self.points[self.depth_of_anchor(anchor)[1]]:
                    here.lines += self.finished(anchor, self._final(anchor, here), here)
                continue
            for here in scopes:
                lines += self.finished(anchor, self._final(anchor, here), here)
        return tail

    def _final(self, anchor: Node, here: Scope) -> str:
        if anchor.op.kind is Kind.REDUCE:
            return self.reduced_value(anchor, here)
        return self.anchor_value(anchor, here)

    def scope_for(self, depth: tuple[int, int], here: Scope) -> Scope:
        where, ready = depth
        if where == PRELUDE and ready == 0:
            return self.prelude
        if where == POINT:
            return self.points[ready][int(here.chain[-1].name)] if self.short else here
        if where in (END, ENDS):
            return self.end if where == END else here
        return self.segments[ready]

    def reduced_value(self, reduction: Node, here: Scope) -> str:
        names = self.accumulators[reduction]
        return names[int(here.chain[-1].name) if len(names) > 1 else 0]
