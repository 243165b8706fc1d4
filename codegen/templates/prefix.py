"""Prefix scans: rows in parallel, each sequential along the axis.

Where the axis is the innermost one, the running value is in a register. Else each step takes whole
rows of columns, which vectorise, and the running values are in the answer itself. Threads take
whichever has more of them, scans or columns.

    for k0 in range(start, stop):
        h = load_f4(p0, k0 * n1, 0)
        store_f4(p1, k0 * n1, h, 1)
        for j in range(1, n0):
            h = h + load_f4(p0, k0 * n1 + j, 0)
            store_f4(p1, k0 * n1 + j, h, 1)
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...ir.node import Node
from ..body import Axis, nested
from ..lower import Lowered
from ..program import Kernel
from ..text import Arguments, compute_code, load, store
from ..view import View, collapse
from .pieces import Piece


class _Scan:
    """The loops of one scan: those outside the axis, the axis, those inside."""

    def __init__(self, anchor: Node, views: list[View]):
        self.args = Arguments()
        self.axis = axis = anchor.params["axis"]
        self.length = self.args.integer(anchor.shape[axis], "length")
        parts = (slice(axis), slice(axis + 1, None))
        (outer, far), (inner, near) = (
            collapse(anchor.shape[part], [v.strides[part] for v in views]) for part in parts
        )
        self.extents = (*outer, *inner)
        self.strides = {v.strides: (*f, *n) for v, f, n in zip(views, far, near, strict=True)}
        columns = bool(inner) and (not outer or inner[0] > outer[0])
        self.split = len(outer) if columns else 0  # which loop is the launch's range
        loops = tuple(Axis(f"k{d}", f"range({self.span(d)})", d) for d in range(len(self.extents)))
        self.outer, self.inner = loops[: len(outer)], loops[len(outer) :]

    def span(self, d: int) -> str:
        if d == self.split:
            return "start, stop"
        return self.args.integer(self.extents[d], ("axis", d))

    def place(self, view: View, j: str) -> str:
        """Where the element at position j of the axis stands."""
        terms = [self.args.integer(view.offset, "offset")] if view.offset else []
        loops = [(loop.name, loop.index) for loop in (*self.outer, *self.inner)]
        strides = (*self.strides[view.strides], view.strides[self.axis])
        for (name, which), stride in zip([*loops, (j, "along")], strides, strict=True):
            if stride == 1:
                terms.append(name)
            elif stride:
                terms.append(f"{name} * {self.args.integer(stride, ('stride', which))}")
        return " + ".join(terms) or "0"

    def piece(self, first: list[str], step: list[str]) -> Piece:
        """`first` and `step` under the loops."""
        ahead = nested(self.inner, first)
        along = nested((Axis("j", f"range(1, {self.length})", -1), *self.inner), step)
        lines = nested(self.outer, [*ahead, *along])
        extent = self.extents[self.split] if self.extents else 1
        work = math.prod(self.extents) // max(extent, 1) if self.extents else 0
        source = "".join(f"    {line}\n" for line in [*self.args.lines, *lines])
        return Kernel("prefix", source), self.args, extent, work


def prefix(low: Lowered, anchor: Node, place: dict[Node, Node]) -> Iterator[Piece]:
    op, params = anchor.op, anchor.params
    leaves, views = zip(*(low.resolve(x) for x in anchor.inputs), strict=True)
    views = (*views, View.of(anchor.shape))
    if params["reverse"]:
        views = tuple(view.flip((params["axis"],)) for view in views)
    scan = _Scan(anchor, list(views))
    sources = [scan.args.pointer(place.get(x, x), x.dtype) for x in leaves]
    goal = scan.args.pointer(place.get(anchor, anchor), anchor.dtype)

    def element(text: str, j: str) -> list[str]:
        operands = (load(p, x.dtype, scan.place(view, j))
                    for p, x, view in zip(sources, leaves, views, strict=False))  # fmt: skip
        now = f"{compute_code(anchor.dtype)}({text.format(*operands, h='h')})"
        return [f"h = {now}", store(goal, anchor.dtype, scan.place(views[-1], j), "h")]

    step = element(op.facts["step"], "j")
    if scan.inner:
        before = scan.place(views[-1], "(j - 1)")
        step.insert(0, f"h = {load(goal, anchor.dtype, before)}")
    piece, args, extent, work = scan.piece(element(op.facts["first"], "0"), step)
    yield piece, args, extent, work * anchor.shape[params["axis"]] * 4
