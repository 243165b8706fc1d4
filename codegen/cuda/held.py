"""Rows of several passes whose points stay in registers: a thread has a few points, and what one
pass computes at them is known to the next, so memory is read once.

    j0 = minimum(lane, n - 1)           # points beyond the end are the last one, and count for none
    in0 = lane < end
    j1 = minimum(lane + width, n - 1)
    ...
    v1 = load_f4(p0, ok0_0 + j0, 0)     # pass 0
    if in0:
        a0 = max_up(a0, v1)
    ...
    a0 = block_max_f4(a0)
    v5 = exp(v1 - a0)                   # pass 1
"""

from __future__ import annotations

import math

from ...ir.node import Node
from ..schedule.groups import Group
from ..schedule.schedule import Schedule
from ..templates.loops import Axis, Scope
from . import teams
from .grid import counter, unravelled
from .teams import WARP, WARPS, Teams

MOST = 8  # points of a thread
MOST_LINES = 320  # of all of them


def suits(rows: Teams) -> bool:
    """Whether the points of rows that Teams may write are few enough."""
    if rows.passes < 2 or rows.short or rows.space.sums or rows.group.template != "row":
        return False
    points = math.prod(rows.reduced_extents)
    count = -(-points // _team(points).each)
    if count > MOST:
        return False
    rows.build()
    return count * sum(len(point.lines) for (point,) in rows.points) <= MOST_LINES


def _team(points: int) -> teams.Team:
    return WARPS if points <= MOST * WARP else teams.BLOCK


class Held(Teams):
    def __init__(self, s: Schedule, group: Group, stored: set[Node], fast: bool):
        super().__init__(s, group, stored, fast)
        points, kept = math.prod(self.reduced_extents), len(self.kept_extents)
        self.team = _team(points)
        self.axes = [
            tuple(Axis(f"j{d}_{r}", "", kept + d) for d in range(len(self.reduced_extents)))
            for r in range(-(-points // self.team.each))
        ]

    def chains(self) -> list[tuple[Axis, ...]]:
        return [(*self.outer, *axes) for axes in self.axes]

    def which(self, here: Scope) -> int | None:
        every = enumerate(self.axes)
        return next((r for r, axes in every if axes == here.chain[-len(axes):]), None)

    def counted(self, here: Scope, line: str) -> list[str]:
        return [f"if in{self.which(here)}:", f"    {line}"]

    def span(self) -> list[str]:
        n = self.args.integer(math.prod(self.reduced_extents), "row")
        lines = [f"end = select(live, {n}, 0)"]
        for r, axes in enumerate(self.axes):
            j = f"lane + {r} * {self.team.width}" if r else "lane"
            name = counter(axes, f"j_{r}")
            lines += [f"in{r} = {j} < end", f"{name} = minimum({j}, {n} - 1)",
                      *unravelled(axes, self.reduced_extents, self.args, name)]
        return lines

    def over_points(self, p: int) -> list[str]:
        return [line for point in self.points[p] for line in point.lines]
