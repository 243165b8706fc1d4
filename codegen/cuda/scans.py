"""What scans for a GPU read and write, and banded recurrences: these have a block for each scan,
whose threads wait for each other between the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from ...ir.node import Node
from ...ir.ops.band import WIDTH
from ...ir.strides import View
from ..program import Grid
from ..schedule.lower import Lowered
from ..templates.loops import Axis
from ..templates.prefix import scan_of, wide_of
from ..text import Arguments, Piece, compute_code, load, store
from .grid import MOST_BLOCKS, THREADS, cuda_piece, indented, strided, unravelled
from .points import product

Placed = Mapping[Node, Node]


class Scan:
    """What a scan reads and writes; `turned` axes are gone along from the end if in reverse."""

    def __init__(self, low: Lowered, anchor: Node, place: Placed, turned: tuple[int, ...]):
        self.anchor, self.args = anchor, Arguments()
        self.axis, self.shape = anchor.params["axis"], anchor.shape
        resolved = [low.resolve(x) for x in anchor.inputs]
        self.leaves = [leaf for leaf, _ in resolved]
        views = [*(view for _, view in resolved), View.of(anchor.shape)]
        if anchor.params["reverse"]:
            views = [view.flip(turned) for view in views]
        *self.views, self.goal = views
        self.sources = [self.args.pointer(place.get(x, x), x.dtype) for x in self.leaves]
        self.target = self.args.pointer(place.get(anchor, anchor), anchor.dtype)
        self.length = self.args.integer(anchor.shape[self.axis], "length")

    def position(self, view: View, **names: str) -> str:
        """Where a number stands; `names` are those of axes that are not called after their rank."""
        terms = [self.args.beginning(view.offset)] if view.offset else []
        for d, n in enumerate(self.shape):
            name = names.get(f"k{d}", "j" if d == self.axis else f"k{d}")
            if n != 1:
                terms += product(name, view.strides[d], self.args, ("stride", view.strides, d))
        return " + ".join(terms) or "0"

    def step(self, text: str, **before: str) -> list[str]:
        """What stands at position j, by the text of a step."""
        wide, dtype = wide_of(self.anchor), self.anchor.dtype
        operands = (
            load(p, x.dtype, self.position(view))
            for p, x, view in zip(self.sources, self.leaves, self.views, strict=True)
        )
        return [
            f"h = {compute_code(wide)}({text.format(*operands, **before)})",
            store(self.target, dtype, self.position(self.goal), "h"),
        ]

    def others(self, but: tuple[int, ...]) -> tuple[Axis, ...]:
        """The axes along which scans are independent."""
        return tuple(Axis(f"k{d}", "", d) for d, n in enumerate(self.shape)
                     if d not in but and n != 1)


def band(low: Lowered, anchor: Node, place: Placed) -> Iterator[Piece]:
    how, last = scan_of(anchor), len(anchor.shape) - 1
    scan = Scan(low, anchor, place, (anchor.params["axis"], last))
    args, none = scan.args, f"{compute_code(anchor.dtype)}({how.none!r})"
    axes = scan.others((scan.axis, last))
    extents = [anchor.shape[axis.index] for axis in axes]
    count, columns = args.integer(math.prod(extents), "scans"), args.integer(anchor.shape[-1], "n")
    column = f"k{last}"
    before = []
    for k in range(WIDTH):
        there = {f"k{scan.axis}": "(j - 1)", column: f"({column} - {k})"}
        value = load(scan.target, anchor.dtype, scan.position(scan.goal, **there))
        before += [f"h{k} = {none}", f"if {column} >= {k}:", f"    h{k} = {value}"]
    names = {f"h{k}": f"h{k}" for k in range(WIDTH)}

    def across(lines: list[str]) -> list[str]:
        loop = strided(column, "cuda.threadIdx.x", columns, "cuda.blockDim.x", lines)
        return [*loop, "cuda.syncthreads()"]

    body = [
        *unravelled(axes, extents, args, "scan"), "j = 0", *across(scan.step(how.first)),
        f"for j in range(1, {scan.length}):",
        *indented(across([*before, *scan.step(how.step, **names)])),
    ]
    text = strided("scan", "cuda.blockIdx.x", count, "cuda.gridDim.x", body)
    grid = Grid(min(math.prod(extents), MOST_BLOCKS), THREADS)
    yield cuda_piece("band", [*args.lines, *text], args, grid)
