"""The memory of rows: values that one pass of a row leaves for later ones, and sums down columns.

It is scratch memory, cut into chunks: a part of the rows has one (loops.py), or there is one for
all of them. In a chunk stand rows of numbers, and single numbers that a part has summed up. Each
has a pointer of its own, so that LLVM knows that they do not overlap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ...ir.node import Node
from ...ir.op import Kind
from ..schedule.kept_values import kept_values
from ..text import load, store
from .blocked_sums import rounds
from .loop_body import POINT, Body
from .loops import rows_of_a_part

LINE = 64  # bytes of a line of the cache
FEW = 8  # rows that a part with sums has at least, so that these take little memory
MANY = 128  # and at most; also rows of a block, where there are no parts: sums keep their digits


class RowMemory:
    def __init__(
        self, row: Body, values: Mapping[Node, int], late: Sequence[Node], shared: bool
    ):
        """Of `row`, which keeps `values`; `late` are the sums that are known when all rows are
        done, of parts if the rows are `shared`.
        """
        self.row, self.shared, short = row, shared, row.space.short
        fresh = [a for a in values if a not in row.stored]
        self.columns = [] if short else [r for r in late if row.known(r)]
        self.singles = [r for r in late if shared and r not in self.columns]
        self.blocks = [] if shared else [r for r in self.columns if rounds(r)]
        self.each = self.parts = 0  # rows of a part, parts; 0 if there are none
        if row.kept_extents and (shared or (fresh and not row.space.sums)):
            self.each = self._rows_of_a_part()
            self.parts = -(-row.kept_extents[0] // self.each)
        self.rooms: dict[tuple[Node, bool], int] = {}  # where each begins, in bytes
        self.chunk = 0
        for a in (*fresh, *self.columns, *self.singles):
            self._add(a, False, row.known(a) or a not in self.singles)
        for a in self.blocks:
            self._add(a, True, True)

    def _add(self, key: Node, block: bool, points: object) -> None:
        """Room for a number, or for one at each of the points of a row."""
        self.rooms[key, block] = self.chunk
        count = math.prod(self.row.space.along(self.row.space.reduced)) if points else 1
        self.chunk += -(-count * key.dtype.itemsize // LINE) * LINE

    def _rows_of_a_part(self) -> int:
        first, *others = self.row.kept_extents
        each, inner = rows_of_a_part(first), math.prod(others)
        if not self.shared:
            return each
        return max(min(each, MANY // inner), -(-FEW // inner), 1)

    def place(self, key: Node, block: bool = False) -> tuple[str, str]:
        """The pointer to what is kept of `key`, and the position where it begins."""
        args, begin = self.row.args, self.rooms[key, block]
        size = key.dtype.itemsize
        nbytes = self.chunk * max(self.parts, 1)
        pointer = args.scratch(nbytes, key.dtype, (key, block))
        terms = [f"part * {args.integer(self.chunk // size, 'chunk')}"] if self.each else []
        if begin:
            terms.append(args.integer(begin // size, ("room", begin)))
        return pointer, " + ".join(terms)

    def read(self, key: Node, index: str, block: bool = False) -> str:
        pointer, begin = self.place(key, block)
        return load(pointer, key.dtype, f"{begin} + {index}" if begin else index)

    def write(self, key: Node, index: str, value: str, block: bool = False) -> str:
        pointer, begin = self.place(key, block)
        return store(pointer, key.dtype, f"{begin} + {index}" if begin else index, value)


def kept_of_rows(row: Body) -> dict[Node, int]:
    """The values at points that passes leave for later ones, and the pass that computes each."""
    if row.space.short or row.passes < 2:
        return {}
    anchors, passes = [], {}
    for a in row.group.anchors:
        if a.op.kind is not Kind.REDUCE:
            where, ready = row.depth_of_anchor(a)
            if where != POINT:
                continue
            passes[a] = {ready} if a in row.wanted else set()
        elif row.computed(a) == row.space.all and not row.picked(a):
            passes[a] = {row.pass_of(a)}
        else:
            continue
        anchors.append(a)
    members = set(anchors)

    def reads(a: Node) -> list[Node]:
        return [x for _, x in row.operands[a] if x in members and x.op.kind is not Kind.REDUCE]

    def cost(a: Node) -> int:
        inlined = [x for x in row.facts[a].inlined if x.op.kind is Kind.ELEMENTWISE]
        return a.op.cost + sum(x.op.cost for x in inlined if row.depth(x, a)[0] == POINT)

    return kept_values(anchors, passes, reads, cost, lambda a: a in row.stored,
                       math.prod(row.reduced_extents), row.low.choices.keep)
