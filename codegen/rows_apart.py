"""Which loops threads can share without waiting for each other: those in which each row of the
carries is computed from the same row of them, and of whatever the loop only reads.

That is seen in memory. What an iteration writes is row-major, so a row of it is a run of numbers;
every loop nest must go over the rows first, and touch no other row of what the iteration writes.
What nothing writes may be read anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from ..ir.graph import Graph
from ..ir.node import Node
from ..ir.op import Kind
from ..ir.ops import movement
from ..ir.strides import View
from .gemm.tile import tile_for, turned
from .program import LEAST_ROWS
from .schedule.groups import Group
from .schedule.loop_space import expected, seen, space_of
from .schedule.schedule import Schedule
from .text import storage_code

# bytes of a matrix that each thread reads for its rows; more would come from far memory in each
# iteration, and threads had better share the columns
NEAR = 1 << 20


def rows_apart(s: Schedule, body: Graph, carried: int) -> tuple[int, int] | None:
    """How many rows of a body can be computed apart, and how many stay together; None if they
    cannot.
    """
    carries = body.inputs[:carried]
    firsts = {x.shape[:1] for x in (*carries, *body.outputs)}
    if len(firsts) != 1 or s.low.checks:
        return None
    count = math.prod(firsts.pop())  # of what has no axis, one
    if count < 2 * LEAST_ROWS:
        return None
    way = _RowByRow(s, count, carries)
    units = [way.unit(group) for group in s.order]
    if None in units:
        return None
    unit = math.lcm(*(u for u in units if u is not None))
    return count, unit


class _RowByRow:
    def __init__(self, s: Schedule, count: int, carries: Collection[Node]):
        self.s, self.low, self.count = s, s.low, count
        self.stored = s.stored()
        self.written = self.stored | set(carries)

    def unit(self, group: Group) -> int | None:
        """How many rows of a group stay together; None if it does not go row by row."""
        if any(self.s.facts[a].may_fail for a in group.anchors):
            return None
        if group.product:
            return self.unit_of_product(group)
        if group.opaque:
            return 1 if self.copies_rows(group.anchors[0]) else None
        return 1 if self.loops_over_rows(group) else None

    def apart(self, leaf: Node, view: View, axis: int, each: int = 1) -> bool:
        """Whether `each` steps along an axis of the view are a row of the leaf, and touch no other;
        or nothing writes it.
        """
        if leaf not in self.written:
            return True
        row, step = leaf.size // self.count, view.strides[axis]
        others = (n for d, n in enumerate(view.shape) if d != axis)
        steps = (x for d, x in enumerate(view.strides) if d != axis)
        last = view.offset + step * (each - 1)
        last += sum((n - 1) * x for n, x in zip(others, steps, strict=True))
        return step * each == row and view.offset >= 0 <= min(view.strides) and last < row

    def loops_over_rows(self, group: Group) -> bool:
        space = group.space
        if space.sums or not space.kept or space.extents[space.kept[0]] % self.count:
            return False
        first = space.kept[0]
        each = space.extents[first] // self.count
        for anchor in group.anchors:
            facts = self.s.facts[anchor]
            if facts.gathered in self.written:
                return False
            views = [(leaf, seen(self.low, x, anchor, space)[1]) for x, leaf in facts.operands]
            if anchor in self.stored:
                views.append((anchor, View(space.extents, expected(anchor, space))))
            if not all(self.apart(leaf, view, first, each) for leaf, view in views):
                return False
        return True

    def copies_rows(self, anchor: Node) -> bool:
        """Whether it is made of copies, each of which goes over the rows first."""
        if anchor.op is not movement.concat and anchor.op is not movement.pad:
            return False
        if anchor.op is movement.pad and any(anchor.params["pads"][0]):
            return False
        return anchor.shape[0] == self.count and all(
            x.shape[0] == self.count and 0 not in x.shape
            and self.apart(*self.low.resolve(x), axis=0)
            for x in anchor.inputs
        )

    def unit_of_product(self, group: Group) -> int | None:
        product, *others = group.anchors
        (a, left), (b, right) = map(self.low.resolve, product.inputs)
        if b in self.written or product.ndim != 2 or product.shape[0] != self.count:
            return None
        (k, n), code = right.shape, storage_code(product.dtype)
        far = k * n * product.dtype.itemsize > NEAR
        if far or left.strides[1] != 1 or not self.apart(a, left, 0):
            return None
        for anchor in others:
            if anchor.op.kind is Kind.REDUCE:
                return None
            for x, leaf in self.s.facts[anchor].operands:
                view = seen(self.low, x, anchor, space_of(anchor))[1].reshape((self.count, n))
                if leaf not in group.anchors and not (view and self.apart(leaf, view, 0)):
                    return None
        if not turned(product):
            return 1
        columns = tile_for(code, self.count).columns
        return columns if self.count > columns and self.count % columns == 0 else None
