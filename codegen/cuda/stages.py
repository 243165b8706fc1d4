"""Long reductions of few rows in two launches, so that many blocks share them.

The rows are cut into parts, and a team makes the sum of a part; the second launch adds up the sums
of a row, from the first part to the last, and computes what follows. How rows are cut does not
depend on the grid, so any gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ...ir.node import Node
from ..program import Grid
from ..schedule.groups import Group
from ..schedule.schedule import Schedule
from ..templates.loops import Axis
from ..text import Piece, combine, load, store
from . import held, wide
from .grid import THREADS, counter, cuda_piece, grid_of, indented
from .teams import ALONE, Teams

ENOUGH = 256  # blocks that keep a large GPU busy
LONG = 64  # steps of a team; a row of fewer is not cut
SHORTEST = 8  # steps of a part
MOST = 64  # parts of a row
WIDEST = 8  # bytes of a number in scratch memory, at most


def pieces(s: Schedule, group: Group, stored: set[Node], fast: bool) -> Iterator[Piece]:
    """The launch of a group, or the two."""
    teams = Teams(s, group, stored, fast)
    parts = parts_of(teams)
    if parts == 1:
        for suits, template in ((wide.suits, wide.Wide), (held.suits, held.Held)):
            if suits(Teams(s, group, stored, fast)):
                teams = template(s, group, stored, fast)
        yield teams.piece()
        return
    yield First(s, group, stored, fast, parts).piece()
    yield Second(s, group, stored, fast, parts).piece()


def parts_of(teams: Teams) -> int:
    """Into how many parts a row is cut."""
    whole = teams.space.all
    if teams.team is ALONE or teams.space.sums or teams.passes != 1:
        return 1
    if any(teams.computed(a) != whole for a in teams.reductions):
        return 1
    if any(teams.known(a) == whole for a in teams.wanted):
        return 1
    points, rows = math.prod(teams.reduced_extents), math.prod(teams.kept_extents)
    return worth(points // teams.team.each, -(-rows * teams.team.each // THREADS))


def worth(steps: int, blocks: int) -> int:
    """How many parts pay, of rows of so many steps, which so many blocks would have."""
    return 1 if steps < LONG else max(min(ENOUGH // blocks, steps // SHORTEST, MOST), 1)


class _Stage(Teams):
    def __init__(self, s: Schedule, group: Group, stored: set[Node], fast: bool, parts: int):
        super().__init__(s, group, stored, fast)
        self.parts, self.rows = parts, math.prod(self.kept_extents)

    def sum_of(self, reduction: Node) -> tuple[str, str]:
        """The pointer to the sums of parts, and where that of a part of row 0 is."""
        nth, size = self.reductions.index(reduction), self.parts * self.rows
        pointer = self.args.scratch(len(self.reductions) * size * WIDEST, reduction.dtype)
        begin = nth * size * WIDEST // reduction.dtype.itemsize
        first = [self.args.integer(begin, ("sums", nth))] if begin else []
        return pointer, " + ".join([*first, f"part * {self.args.integer(self.rows, 'sums')}"])


class First(_Stage):
    """The sums of parts."""

    def grid(self) -> Grid:
        return grid_of(self.parts * self.rows, self.team.each)

    def _stores(self, at_end: list[str]) -> None:
        for anchor in self.reductions:
            pointer, at = self.sum_of(anchor)
            (name,) = self.accumulators[anchor]
            self.tail.append(store(pointer, anchor.dtype, f"{at} + row", name))

    def by_teams(
        self, axes: Sequence[Axis], extents: Sequence[int], lines: Sequence[str]
    ) -> list[str]:
        rows = self.args.integer(self.rows, "sums")
        number = [f"row = i - part * {rows}" if axes else "row = 0"]
        axes, extents = (Axis("part", "", -2), *axes), (self.parts, *extents)
        return super().by_teams(axes, extents, [*number, *lines])

    def span(self) -> list[str]:
        points = math.prod(self.reduced_extents)
        n, size = (self.args.integer(x, name) for x, name in
                   ((points, "row"), (-(-points // self.parts), "part")))
        return [f"begin = part * {size} + lane",
                f"end = select(live, minimum((part + 1) * {size}, {n}), 0)"]


class Second(_Stage):
    """What follows from them."""

    def __init__(self, s: Schedule, group: Group, stored: set[Node], fast: bool, parts: int):
        super().__init__(s, group, stored, fast, parts)
        self.team = ALONE

    def piece(self) -> Piece:
        lines = self.build()
        return cuda_piece(f"{self.group.template}_sums", lines, self.args, self.grid(), self.fast)

    def _accumulate(self, anchor: Node) -> None:
        name = f"a{len(self.accumulators)}"
        self.accumulators[anchor] = [name]
        pointer, at = self.sum_of(anchor)
        value = load(pointer, anchor.dtype, f"{at} + {counter(self.outer, 'i')}")
        self.begins[0] += [
            f"{name} = {self.initial(anchor)}",
            f"for part in range({self.args.integer(self.parts, 'parts')}):",
            *indented([f"{name} = {combine(anchor, name, value, self.fast)}"]),
        ]
