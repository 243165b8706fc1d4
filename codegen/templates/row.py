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

Other things stay in memory (row_memory.py): costly values from pass to pass, and sums down the
columns of longer rows, to which each row adds its numbers. Where threads share the rows, they do so
in parts (loops.py), whose sums are put together by further launches (partial_sums.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from ...ir.node import Node
from ..schedule.fuse import shares_rows
from ..schedule.groups import Group
from ..schedule.schedule import Schedule
from ..text import Piece, combine, load
from .blocked_sums import in_blocks, rounds
from .loops import Axis, Scope, nested, part_of
from .partial_sums import partial_sums
from .picks import picked_by
from .row_body import RowBody
from .row_memory import MANY, RowMemory, kept_of_rows

BLOCK = 512  # terms of a sum that have an accumulator of their own


class Row(RowBody):
    def __init__(self, s: Schedule, group: Group, stored: set[Node], fast: bool):
        self.picks: dict[Node, Node | None] = {}
        super().__init__(s, group, stored, fast)
        self.shared = shares_rows(group)
        self.late = [a for a in self.reductions if self.space.late(self.known(a))]
        self.keeps = not s.row_by_row  # threads that share no rows have no parts, and no memory
        self.kept_values: dict[Node, int] = {}  # and the pass that computes them
        self.picking: dict[Scope, int] = {}  # the pass before which a single point is computed

    def build(self) -> list[str]:
        kept = len(self.kept_extents)
        self.outer = tuple(
            self.axis(
                d, f"k{d}", outermost=d == 0, innermost=d == kept - 1 and not self.space.reduced
            )
            for d in range(kept)
        )
        if self.keeps:
            self.kept_values = kept_of_rows(self)
        self.memory = RowMemory(self, self.kept_values, self.late, self.shared)
        self.segments = [Scope(self.outer) for _ in range(self.passes + 1)]
        self.points = [self._points() for _ in range(self.passes)]
        self.begins: list[list[str]] = [[] for _ in range(self.passes)]
        # when all rows are done: once, and for each point of a row
        self.end, self.ends = Scope(()), self._ends()
        self.starts: list[str] = []
        # of sums made in blocks, what begins and what ends a block: of rows, and of a row's points
        self.blocks: dict[int | None, tuple[list[str], list[str]]] = {}
        self.accumulators: dict[Node, list[str]] = {}
        for anchor in self.reductions:
            self._accumulate(anchor)
        at_end: list[str] = []
        tail = self._stores(at_end)
        self._keep()
        body: list[str] = []
        for p in range(self.passes):
            body += [*self.segments[p].lines, *self.begins[p]]
            for point in self.points[p]:
                loops = point.chain[kept:]
                body += point.lines if self.short else self._blocked(p, loops, point.lines)
        body += [*self.segments[self.passes].lines, *tail]
        if self.memory.each:
            rows = self._rows_in_parts(body)
        else:
            late = [*self.end.lines, *(line for scope in self.ends for line in self._late(scope))]
            rows = [*self.starts, *self._blocked(None, self.outer, body), *late, *at_end]
        return [*self.args.lines, *self.prelude.lines, *rows, *self.reports]

    def later(self) -> Iterator[Piece]:
        """The launches that follow that of the kernel."""
        for reduction in self.late if self.shared else ():
            yield partial_sums(self, self.memory, reduction)

    def _rows_in_parts(self, body: list[str]) -> list[str]:
        """The loops over the rows, in parts."""
        first, *others = self.outer
        last = self.args.integer(self.kept_extents[0], ("axis", 0))
        part, own = part_of(first, self.args.integer(self.memory.each, "rows"), last)
        self.extent = self.memory.parts
        rows = nested((own, *others), body)
        sums = [self.memory.write(r, str(j), name) for r in self.memory.singles
                for j, name in enumerate(self.accumulators[r])]
        return nested((part,), [*self.starts, *rows, *sums])

    def _blocked(self, p: int | None, loops: tuple[Axis, ...], lines: list[str]) -> list[str]:
        """The loops over the points of a row in pass p, or over the rows."""
        if p not in self.blocks:
            return nested(loops, lines)
        extents = self.kept_extents if p is None else self.reduced_extents
        before, after = self.blocks[p]
        most = MANY if p is None and self.memory.columns else BLOCK
        return in_blocks(
            loops, extents, most, self.args, before, lambda axes: nested(axes, lines), after
        )

    def _along(self, letter: str) -> tuple[Axis, ...]:
        """The loops over the reduced axes."""
        count, first = len(self.reduced_extents), len(self.kept_extents)
        return tuple(self.axis(first + d, f"{letter}{d}", innermost=d == count - 1)
                     for d in range(count))

    def _points(self) -> list[Scope]:
        """The scopes of a pass: one inside the loops over the reduced axes, or one for each point
        of a short row.
        """
        if self.short:
            return [Scope((*self.outer, axis)) for axis in self.fixed()]
        return [Scope((*self.outer, *self._along("j")))]

    def _ends(self) -> list[Scope]:
        """The same when all rows are done, if something is known for each point then."""
        if self.short:
            return [Scope((axis,)) for axis in self.fixed()]
        down = any(self.space.late(axes) and axes for axes in map(self.known, self.group.anchors))
        return [Scope(self._along("e"))] if down else []

    def _late(self, scope: Scope) -> list[str]:
        return scope.lines if self.short else nested(scope.chain, scope.lines)

    # ---- reductions
    def _accumulate(self, anchor: Node) -> None:
        """One number per row, or for all rows one, or one for each point of a row."""
        p, axes = self.pass_of(anchor), self.known(anchor)
        late = self.space.late(axes)
        if anchor in self.memory.columns:
            self._add_to_columns(anchor, p)
            return
        name = f"{'t' if late else 'a'}{len(self.accumulators)}"
        names = [f"{name}_{j}" for j in range(len(self.ends))] if late and axes else [name]
        self.accumulators[anchor] = names
        picked = self.picked(anchor)
        begin = self.starts if late else self.segments[p].lines if picked else self.begins[p]
        begin += [f"{name} = {self.initial(anchor)}" for name in names]
        if rounds(anchor) and (late or not picked):
            names = self._in_blocks(anchor, names, None if late else p)
        if picked:
            self._pick(anchor, names[0], p)
            return
        every = self.computed(anchor) == self.space.all
        for j, here in enumerate(self.points[p] if every else [self.segments[p]]):
            acc = names[j % len(names)]
            here.lines.append(f"{acc} = {self.combined(anchor, acc, here)}")

    def picked(self, reduction: Node) -> bool:
        if reduction not in self.picks:
            self.picks[reduction] = picked_by(self, reduction)
        return self.picks[reduction] is not None

    def _pick(self, reduction: Node, acc: str, p: int) -> None:
        """Add the one term of a row that may not be 0."""
        row, place = self.segments[p], self.picks[reduction]
        assert place is not None
        k = self.value(place, reduction, row)
        last = self.args.integer(self.reduced_extents[0], ("axis", len(self.kept_extents)))
        point = self.fresh()
        row.lines.append(f"{point} = minimum(maximum(i8({k}), i8(0)), {last} - 1)")
        here = Scope((*self.outer, Axis(point, "", len(self.kept_extents))))
        self.picking[here] = p
        term = self.value(reduction.inputs[0].inputs[1], reduction, here)
        term = f"select(i8({k}) == {point}, {term}, {self.initial(reduction)})"
        row.lines += [*here.lines, f"{acc} = {combine(reduction, acc, term, self.fast)}"]

    def _in_blocks(self, anchor: Node, names: list[str], p: int | None) -> list[str]:
        """The accumulators to add to inside the loops over rows (p is None) or over a row's points:
        those of a block, if there are many.
        """
        few = self._rows_of_one_axis and self.reduced_extents[0] <= BLOCK
        if self.shared if p is None else (self.short or few):
            return names
        before, after = self.blocks.setdefault(p, ([], []))
        before += [f"{name}p = {self.initial(anchor)}" for name in names]
        after += [f"{name} = {combine(anchor, name, f'{name}p', self.fast)}" for name in names]
        return [f"{name}p" for name in names]

    def _add_to_columns(self, anchor: Node, p: int) -> None:
        """A sum down the columns, of which each row knows a term at each point."""
        memory, (here,), column = self.memory, self.points[p], self._along("e")
        at, start = self.point(column), self.initial(anchor)
        self.starts += nested(column, [memory.write(anchor, at, start)])
        block = anchor in memory.blocks
        if block:
            before, after = self.blocks.setdefault(None, ([], []))
            before += nested(column, [memory.write(anchor, at, start, block)])
            total = combine(anchor, memory.read(anchor, at), memory.read(anchor, at, block),
                            self.fast)
            after += nested(column, [memory.write(anchor, at, total)])
        at = self.point(here.chain)
        new = self.combined(anchor, memory.read(anchor, at, block), here)
        here.lines.append(memory.write(anchor, at, new, block))

    def point(self, chain: tuple[Axis, ...]) -> str:
        """The number of the current point within its row."""
        terms, step = [], 1
        for axis in reversed(chain[-len(self.reduced_extents):]):
            by = "" if step == 1 else f" * {self.args.integer(step, ('points', axis.index))}"
            terms.append(f"{axis.name}{by}")
            step *= self.reduced_extents[axis.index - len(self.kept_extents)]
        return " + ".join(reversed(terms))

    @property
    def _rows_of_one_axis(self) -> bool:
        """Whether there are many rows, whose length decides how they are written. A loop of its
        own, or one of several axes, is written alike for any extent: a batch may be among them.
        """
        return bool(self.kept_extents) and len(self.reduced_extents) == 1

    def often(self, scope: Scope) -> bool:
        return super().often(scope) or (self._rows_of_one_axis and scope in self.segments)

    # ---- stores
    def _stores(self, at_end: list[str]) -> list[str]:
        """Stores at points happen in the pass that knows the value; stores at kept points at the
        end of the row, which are returned; what all rows make is stored `at_end`, at points after
        all that is computed there.
        """
        tail: list[str] = []
        columns: list[str] = []
        at_points: list[Node] = []
        for anchor in self.wanted:
            axes, scopes, lines = self.known(anchor), [self.segments[-1]], tail
            if self.space.late(axes):
                if self.shared:
                    continue  # the launches that follow store it
                scopes = self.ends if axes else [self.end]
                lines = columns if axes and not self.short else at_end
            elif axes == self.space.all and self.space.reduced:
                at_points.append(anchor)
                continue
            for here in scopes:
                lines += self.finished(anchor, self.final(anchor, here), here)
        if columns:
            self.ends[0].lines += columns
        self.store_at_points(at_points)
        return tail

    def _keep(self) -> None:
        """Write the values that later passes read."""
        for anchor, p in self.kept_values.items():
            if anchor not in self.stored:
                (here,) = self.points[p]
                value = self.anchor_value(anchor, here)
                here.lines.append(self.memory.write(anchor, self.point(here.chain), value))

    def recalled(self, anchor: Node, here: Scope) -> str | None:
        written = self.kept_values.get(anchor)
        if written is None or here is self.points[written][0]:
            return None
        if here in self.picking and written >= self.picking[here]:
            return None
        if anchor not in self.stored:
            return self.memory.read(anchor, self.point(here.chain))
        buffer, view = self.target(anchor)
        pointer = self.args.pointer(buffer, anchor.dtype)
        return load(pointer, anchor.dtype, self.position(view, here))

    # ---- values
    def reduced_value(self, reduction: Node, here: Scope) -> str:
        if reduction in self.memory.columns:
            total = self.memory.read(reduction, self.point(here.chain))
            return self.define(here, ("total", reduction), total)
        return super().reduced_value(reduction, here)
