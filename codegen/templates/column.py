"""Columns: reductions over leading axes, where the innermost axis is kept.

Going down the columns one by one would stride through memory; instead whole rows are added into the
result, which stays in cache, and the loop along the row vectorises. Workers take blocks of columns.

    for j in range(start, stop):
        store_f4(p1, j, f4(0.0), 1)
    for r0 in range(n):
        for j in range(start, stop):
            v1 = load_f4(p0, or0_0 + j, 0)
            store_f4(p1, j, load_f4(p1, j, 1) + v1, 1)
    for j in range(start, stop):        # what follows from the sums
        ...
"""

from __future__ import annotations

from ...ir.node import Node
from ...ir.op import Kind
from ..body import PRELUDE, Axis, Body, Scope, nested
from ..fuse import level
from ..text import load


class Column(Body):
    def build(self) -> list[str]:
        kept = len(self.kept_extents)
        self.outer = tuple(self.axis(d, f"k{d}", outermost=d == 0) for d in range(kept - 1))
        self.points = [
            Scope((*self.outer, *self._reduced_axes(), self._along())) for _ in range(self.passes)
        ]
        begins = [Scope((*self.outer, self._along())) for _ in range(self.passes)]
        end = Scope((*self.outer, self._along()))
        for anchor in self.group.anchors:
            if anchor.op.kind is Kind.REDUCE:
                p = self.pass_of(anchor)
                here = self.points[p]
                begins[p].lines.append(self.store(anchor, self.initial(anchor), begins[p]))
                total = self.combined(anchor, self._accumulated(anchor, here), here)
                here.lines.append(self.store(anchor, total, here))
        for anchor in self.stored:
            if anchor.op.kind is not Kind.REDUCE:
                at_points = level(anchor, self.space) == "point"
                here = self.points[self.depth_of_anchor(anchor)[1]] if at_points else end
                here.lines.append(self.store(anchor, self.anchor_value(anchor, here), here))
        body: list[str] = []
        for begin, point in zip(begins, self.points, strict=True):
            for scope in (begin, point):
                if scope.lines:
                    body += nested(scope.chain[len(self.outer) :], scope.lines)
        if end.lines:
            body += nested(end.chain[len(self.outer) :], end.lines)
        return [*self.args.lines, *self.prelude.lines, *nested(self.outer, body)]

    def _along(self) -> Axis:
        last = len(self.kept_extents) - 1
        return self.axis(last, "j", outermost=last == 0, innermost=last > 0)

    def _reduced_axes(self) -> tuple[Axis, ...]:
        first = len(self.kept_extents)
        return tuple(self.axis(first + d, f"r{d}") for d in range(len(self.reduced_extents)))

    def _accumulated(self, reduction: Node, here: Scope) -> str:
        buffer, view = self.target(reduction)
        return load(
            self.args.pointer(buffer, reduction.dtype), reduction.dtype, self.position(view, here)
        )

    def scope_for(self, depth: tuple[int, int], here: Scope) -> Scope:
        return self.prelude if depth == (PRELUDE, 0) else here

    def reduced_value(self, reduction: Node, here: Scope) -> str:
        return self.define(here, ("sum", reduction), self._accumulated(reduction, here))
