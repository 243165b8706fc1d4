"""What the loops over rows have in common on all devices: where a value of a row is computed, and
the points of a short row, whose statements are written out.

A template sets `outer`, `segments`, `points`, `end`, `ends` and `accumulators` before it asks for
values.
"""

from __future__ import annotations

from ...ir.node import Node
from ...ir.op import Kind
from .loop_body import END, ENDS, POINT, PRELUDE, Body
from .loops import Axis, Scope


class RowBody(Body):
    segments: list[Scope]  # before each pass and after the last, once per row
    points: list[list[Scope]]  # of each pass: one, or one for each point of a short row
    end: Scope  # when all rows are done
    ends: list[Scope]  # and then for each point of a row
    accumulators: dict[Node, list[str]]

    @property
    def short(self) -> bool:
        return self.space.short

    def fixed(self) -> list[Axis]:
        """The points of a short row, as axes that stand still."""
        extent = self.space.extents[self.space.reduced[0]] if self.short else 0
        return [Axis(str(j), "", len(self.kept_extents)) for j in range(extent)]

    def which(self, here: Scope) -> int | None:
        """Which of the points that are written out this is; None if there is a loop over them."""
        return int(here.chain[-1].name) if self.short else None

    def scope_for(self, depth: tuple[int, int], here: Scope) -> Scope:
        where, ready = depth
        if where == PRELUDE and ready == 0:
            return self.prelude
        if where == POINT:
            which = self.which(here)
            return here if which is None else self.points[ready][which]
        if where in (END, ENDS):
            return self.end if where == END else here
        return self.segments[ready]

    def reduced_value(self, reduction: Node, here: Scope) -> str:
        names = self.accumulators[reduction]
        return names[int(here.chain[-1].name) if len(names) > 1 else 0]

    def counted(self, here: Scope, line: str) -> list[str]:
        """A statement that is done for the points that there are."""
        return [line]

    def store_at_points(self, anchors: list[Node]) -> None:
        """Store each in the pass that knows it, after all that the pass reads: an input may be
        written where it was read.
        """
        stores = [
            (here, line) for anchor in anchors
            for here in self.points[self.depth_of_anchor(anchor)[1]]
            for line in self.finished(anchor, self.final(anchor, here), here)
        ]
        for here, line in stores:
            here.lines += self.counted(here, line)

    def final(self, anchor: Node, here: Scope) -> str:
        """What is stored of an anchor."""
        if anchor.op.kind is Kind.REDUCE:
            return self.reduced_value(anchor, here)
        return self.anchor_value(anchor, here)
