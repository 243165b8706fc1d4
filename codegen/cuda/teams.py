"""Loops of a fused nest for a GPU: maps, rows and columns.

Each kept point has a team of threads, which share the points that are reduced. A map, and a row so
short that its points are written out, needs a team of one; a row a warp or a block; a column the
threads of a block that have the same place in a line of columns. All of a team know what is known
once per kept point; a reduction ends a pass with an exchange in a fixed order.

    lane = cuda.threadIdx.x & 31
    team = cuda.threadIdx.x >> 5
    first = cuda.blockIdx.x * teams
    while first < n:
        live = first + team < n         # teams go together: an exchange waits for all
        k0 = minimum(first + team, n - 1)
        a0 = f4(-inf)                   # pass 0
        j0 = lane
        while j0 < end:
            ...
            a0 = max_up(a0, v1)
            j0 += width
        a0 = warp_max_f4(a0)
        ...                             # pass 1
        if live and lane == 0:          # what has one value for each kept point
            store_f4(p1, k0, v9, 1)
        first += cuda.gridDim.x * teams

Sums over all rows are made by one block, each thread adding up what it comes across.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...ir.node import Node
from ..program import Grid
from ..schedule.groups import Group
from ..schedule.schedule import Schedule
from ..templates.loops import Axis, Scope
from ..templates.row_body import RowBody
from ..text import Piece, compute_code
from .grid import (
    THREADS,
    counter,
    cuda_piece,
    grid_of,
    indented,
    shared,
    strided,
    unravelled,
)

WARP = 32
LONG_ROW = 1024  # points; from here on a block takes a row


@dataclass(frozen=True)
class Team:
    """The threads that share the points of one row: how many teams a block has, and as text which
    of them a thread is in, where in it, and how many are in one.
    """

    name: str
    teams: str
    team: str
    lane: str
    width: str
    each: int  # threads
    more: str = ""  # what its exchanges are told besides a number

    def exchange(self, reduction: Node, value: str) -> str:
        code = compute_code(reduction.dtype)
        return f"{self.name}_{reduction.op.name}_{code}({value}{self.more})"


ALONE = Team("alone", "", "", "", "", 1)
BLOCK = Team("block", "1", "0", "cuda.threadIdx.x", "cuda.blockDim.x", THREADS)
WARPS = Team(
    "warp", "(cuda.blockDim.x >> 5)", "(cuda.threadIdx.x >> 5)",
    f"(cuda.threadIdx.x & {WARP - 1})", str(WARP), WARP,
)


def column_team(columns: int) -> Team:
    """So many columns side by side, a power of two."""
    by = columns.bit_length() - 1
    return Team(
        "column", str(columns), f"(cuda.threadIdx.x & {columns - 1})",
        f"(cuda.threadIdx.x >> {by})", f"(cuda.blockDim.x >> {by})",
        max(THREADS // columns, 1), f", {columns}",
    )


def team_of(group: Group) -> Team:
    space = group.space
    if not space.reduced or space.short:
        return ALONE
    rows, points = (math.prod(space.along(axes)) for axes in (space.kept, space.reduced))
    if group.template == "column":
        return column_team(1 << min(space.extents[-1] - 1, WARP - 1).bit_length())
    few = rows * WARP <= THREADS
    return BLOCK if points >= (4 * WARP if few else LONG_ROW) else WARPS


class Teams(RowBody):
    """The loop nest of one group."""

    def __init__(self, s: Schedule, group: Group, stored: set[Node], fast: bool):
        super().__init__(s, group, stored, fast)
        self.team = team_of(group)

    def piece(self) -> Piece:
        lines = self.build()
        return cuda_piece(self.group.template, lines, self.args, self.grid(), self.fast)

    def grid(self) -> Grid:
        if self.space.sums:
            return Grid(1, THREADS)
        return grid_of(math.prod(self.kept_extents), self.team.each)

    def build(self) -> list[str]:
        kept, reduced = len(self.kept_extents), len(self.reduced_extents)
        self.outer = tuple(Axis(f"k{d}", "", d) for d in range(kept))
        self.inner = tuple(Axis(f"j{d}", "", kept + d) for d in range(reduced))
        self.segments = [Scope(self.outer) for _ in range(self.passes + 1)]
        self.points = [[Scope(chain) for chain in self.chains()] for _ in range(self.passes)]
        self.end, self.ends = Scope(()), [Scope((axis,)) for axis in self.fixed()]
        self.starts: list[str] = []  # accumulators of all rows
        self.begins: list[list[str]] = [[] for _ in range(self.passes)]
        self.exchanges: list[list[str]] = [[] for _ in range(self.passes)]
        self.total: list[str] = []  # exchanges when all rows are done
        self.accumulators: dict[Node, list[str]] = {}
        self.tail: list[str] = []  # after all is known of a row
        for anchor in self.reductions:
            self._accumulate(anchor)
        at_end: list[str] = []
        self._stores(at_end)
        rows = self._rows()
        late = [*self.end.lines, *(line for scope in self.ends for line in scope.lines), *at_end]
        if late:
            late = ["if cuda.threadIdx.x == 0:", *indented(late)]
        before = [*self.args.lines, *self.prelude.lines, *self.starts]
        return [*before, *rows, *self.total, *late, *self.reports]

    def chains(self) -> list[tuple[Axis, ...]]:
        """The loops around the points of a pass, for each that is written out."""
        fixed = [(*self.outer, axis) for axis in self.fixed()]
        return fixed or [(*self.outer, *self.inner)]

    # ---- loops
    def _rows(self) -> list[str]:
        tail = [*self.segments[-1].lines, *self.tail]
        if self.team is ALONE:
            lines: list[str] = []
            for p in range(self.passes):
                lines += [*self.segments[p].lines, *self.begins[p]]
                lines += [line for point in self.points[p] for line in point.lines]
            return shared(self.outer, self.kept_extents, self.args, [*lines, *tail])
        lines = []
        for p in range(self.passes):
            lines += [*self.segments[p].lines, *self.begins[p], *self.over_points(p)]
            lines += self.exchanges[p]
        if tail:
            lines += ["if live and lane == 0:", *indented(tail)]
        return self.by_teams(self.outer, self.kept_extents, lines)

    def by_teams(
        self, axes: Sequence[Axis], extents: Sequence[int], lines: Sequence[str]
    ) -> list[str]:
        """The statements `lines` for all rows, each done by a team."""
        team, n = self.team, self.args.integer(math.prod(extents), "rows")
        i = counter(axes, "i")
        here = [
            f"live = first + team < {n}",
            f"{i} = minimum(first + team, {n} - 1)",
            *unravelled(axes, extents, self.args, i),
            *self.span(),
        ]
        step = f"cuda.gridDim.x * {team.teams}"
        begin = [f"lane = {team.lane}", f"team = {team.team}"]
        first = f"cuda.blockIdx.x * {team.teams}"
        return [*begin, *strided("first", first, n, step, [*here, *lines])]

    def span(self) -> list[str]:
        """From which point of a row to which its team goes."""
        n = self.args.integer(math.prod(self.reduced_extents), "row")
        return ["begin = lane", f"end = select(live, {n}, 0)"]

    def over_points(self, p: int) -> list[str]:
        (point,) = self.points[p]
        if not point.lines:
            return []
        j = counter(self.inner, "j")
        inner = [*unravelled(self.inner, self.reduced_extents, self.args, j), *point.lines]
        return strided(j, "begin", "end", self.team.width, inner)

    # ---- reductions
    def _accumulate(self, anchor: Node) -> None:
        """One number per row, or for all rows one, or one for each point of a short row."""
        p, axes = self.pass_of(anchor), self.known(anchor)
        late = self.space.late(axes)
        name = f"{'t' if late else 'a'}{len(self.accumulators)}"
        names = [f"{name}_{j}" for j in range(len(self.ends))] if late and axes else [name]
        self.accumulators[anchor] = names
        begin = self.starts if late else self.begins[p]
        begin += [f"{name} = {self.initial(anchor)}" for name in names]
        if late:
            self.total += [f"{name} = {BLOCK.exchange(anchor, name)}" for name in names]
        elif self.team is not ALONE:
            self.exchanges[p].append(f"{name} = {self.team.exchange(anchor, name)}")
        if self.computed(anchor) != self.space.all:  # of what is known once per row
            here = self.segments[-1]
            here.lines.append(f"{name} = {self.combined(anchor, name, here)}")
            return
        for j, here in enumerate(self.points[p]):
            acc = names[j % len(names)]
            new = self.combined(anchor, acc, here)
            here.lines += self.counted(here, f"{acc} = {new}")

    # ---- results
    def _stores(self, at_end: list[str]) -> None:
        """What has a value at each point is stored in the pass that knows it, the rest at the end
        of the row, or of all rows.
        """
        at_points: list[Node] = []
        for anchor in self.wanted:
            axes, scopes, lines = self.known(anchor), [self.segments[-1]], self.tail
            if self.space.late(axes):
                scopes, lines = self.ends if axes else [self.end], at_end
            elif axes == self.space.all and self.space.reduced:
                at_points.append(anchor)
                continue
            for here in scopes:
                lines += self.finished(anchor, self.final(anchor, here), here)
        self.store_at_points(at_points)
