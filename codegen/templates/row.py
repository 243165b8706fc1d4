"""Maps and rows: one loop nest over the kept points; under it, the passes over the reduced axes.

A group without reductions is a map: its innermost kept axis is the loop that LLVM vectorises. With
reductions, each pass runs over the reduced axes while the row is in cache, and what a pass produced
is known to all later ones.

    for k0 in range(start, stop):
        v1 = ...                        # known once per row
        a2 = f4(-inf)                   # pass 0
        for j0 in range(n):
            v3 = load_f4(p0, ok0_0 + j0, 0)
            a2 = maximum(a2, v3)
        ...                             # pass 1
        store_f4(p1, k0, v9, 1)
"""

from __future__ import annotations

from ...ir.node import Node
from ...ir.op import Kind
from ..body import KEPT, POINT, PRELUDE, Axis, Body, Scope, nested
from ..fuse import level


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
        self.points = [Scope(self.outer + self._reduced_axes()) for _ in range(self.passes)]
        begins: list[list[str]] = [[] for _ in range(self.passes)]
        self.accumulators: dict[Node, str] = {}
        for anchor in self.group.anchors:
            if anchor.op.kind is Kind.REDUCE:
                p = self.pass_of(anchor)
                self.accumulators[anchor] = acc = f"a{len(self.accumulators)}"
                begins[p].append(f"{acc} = {self.initial(anchor)}")
                self.points[p].lines.append(f"{acc} = {self.combined(anchor, acc, self.points[p])}")
        tail = self._stores()
        body: list[str] = []
        for p in range(self.passes):
            inner = self.points[p].chain[len(self.outer) :]
            body += [*self.segments[p].lines, *begins[p], *nested(inner, self.points[p].lines)]
        body += [*self.segments[self.passes].lines, *tail]
        return [*self.args.lines, *self.prelude.lines, *nested(self.outer, body)]

    def _reduced_axes(self) -> tuple[Axis, ...]:
        count, first = len(self.reduced_extents), len(self.kept_extents)
        return tuple(self.axis(first + d, f"j{d}", innermost=d == count - 1) for d in range(count))

    def _stores(self) -> list[str]:
        """Stores at points happen in the pass that knows the value; stores at kept points at the
        end of the row.
        """
        tail: list[str] = []
        for anchor in self.stored:
            if anchor.op.kind is Kind.REDUCE:
                tail.append(
                    self.store(
                        anchor, self.reduced_value(anchor, self.segments[-1]), self.segments[-1]
                    )
                )
            elif level(anchor, self.space) == "point" and self.space.reduced:
                here = self.points[self.depth_of_anchor(anchor)[1]]
                here.lines.append(self.store(anchor, self.anchor_value(anchor, here), here))
            else:
                last = self.segments[-1]
                tail.append(self.store(anchor, self.anchor_value(anchor, last), last))
        return tail

    def scope_for(self, depth: tuple[int, int], here: Scope) -> Scope:
        where, ready = depth
        if where == PRELUDE and ready == 0:
            return self.prelude
        if where == POINT:
            return here
        assert where in (KEPT, PRELUDE)
        return self.segments[ready]

    def reduced_value(self, reduction: Node, here: Scope) -> str:
        return self.accumulators[reduction]
