"""Prefix scans for a GPU.

Short scans, and many side by side, have a thread each, with the running value in a register. Else a
block goes along the axis tile by tile. Each thread combines its EACH neighbours, an exchange tells
what stands before them, and what it knows of all earlier tiles goes on as `carry`:

    while first < stop:
        j = first + cuda.threadIdx.x * 4
        x0 = f8(0.0)
        if j < stop:
            x0 = ...                    # and x1, x2, x3
        h, carry = scan_sum_f8(x0 + x1 + x2 + x3, carry)
        h = h + x0
        if j < stop:
            store_f4(p1, j, h, 1)       # and so on
        first += cuda.blockDim.x * 4

Few long scans are cut into parts, in two launches: the totals of parts, and the scans of parts,
each of which first combines the totals before it. A recurrence y[t] = a[t] y[t - 1] + b[t] is not
cut: products of the factors alone may overflow where y does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from ...ir.node import Node
from ...ir.op import OpDef
from ...ir.ops import prefix as scans, reduce as red
from ..program import Grid
from ..schedule.lower import Lowered
from ..templates.loops import Axis
from ..templates.prefix import scan_of, wide_of
from ..text import Piece, compute_code, load, store
from .grid import MOST_BLOCKS, THREADS, cuda_piece, grid_of, indented, shared, strided, unravelled
from .scans import Scan

REDUCTIONS: dict[OpDef, OpDef] = {  # what a scan does with all numbers
    scans.cumsum: red.sum, scans.cumprod: red.prod, scans.cummax: red.max, scans.cummin: red.min,
}
EACH = 4  # neighbours of a thread
SHORT = 64  # shorter scans have a thread each
MANY = 8192  # scans side by side in memory that keep a GPU busy with a thread each
ENOUGH = 256  # blocks that keep a GPU busy
PART = 4096  # numbers of a part, at least
MOST_PARTS = 256


def prefix(low: Lowered, anchor: Node, place: Mapping[Node, Node]) -> Iterator[Piece]:
    axis = anchor.params["axis"]
    length, count = anchor.shape[axis], anchor.size // max(anchor.shape[axis], 1)
    inner = math.prod(anchor.shape[axis + 1 :])
    if anchor.op not in REDUCTIONS or min(length, SHORT * count) < SHORT or (
        inner > 1 and count >= MANY
    ):
        yield _alone(low, anchor, place)
        return
    parts = 1 if count >= ENOUGH else min(length // PART, MOST_PARTS, -(-MOST_BLOCKS // count))
    if parts <= 1:
        yield _Blocks(low, anchor, place, 1).scans()
        return
    yield _Blocks(low, anchor, place, parts).totals()
    yield _Blocks(low, anchor, place, parts).scans()


def _alone(low: Lowered, anchor: Node, place: Mapping[Node, Node]) -> Piece:
    how, scan = scan_of(anchor), Scan(low, anchor, place, (anchor.params["axis"],))
    axes = scan.others((scan.axis,))
    extents = [anchor.shape[axis.index] for axis in axes]
    lines = [
        "j = 0", *scan.step(how.first),
        f"for j in range(1, {scan.length}):", *indented(scan.step(how.step, h="h")),
    ]
    text = shared(axes, extents, scan.args, lines)
    source = [*scan.args.lines, *text]
    return cuda_piece("prefix", source, scan.args, grid_of(math.prod(extents)))


class _Blocks:
    """Launches of a block for each part of each scan."""

    def __init__(self, low: Lowered, anchor: Node, place: Mapping[Node, Node], parts: int):
        self.scan = Scan(low, anchor, place, (anchor.params["axis"],))
        self.anchor, self.args, self.parts = anchor, self.scan.args, parts
        self.wide, reduction = wide_of(anchor), REDUCTIONS[anchor.op]
        assert reduction.reduction is not None
        self.code = compute_code(self.wide)
        self.kind = f"{reduction.name}_{self.code}"
        self.none = self.args.constant(reduction.reduction.init(self.wide), self.wide)

    def _step(self, h: str, x: str) -> str:
        return f"{self.code}({scan_of(self.anchor).step.format(x, h=h)})"

    def _number(self) -> str:
        """What stands at position j."""
        (leaf,), (view,), (source,) = self.scan.leaves, self.scan.views, self.scan.sources
        return f"{self.code}({load(source, leaf.dtype, self.scan.position(view))})"

    def totals(self) -> Piece:
        loop = strided("j", "begin + cuda.threadIdx.x", "stop", "cuda.blockDim.x",
                       [f"total = {self._step('total', self._number())}"])
        pointer, at = self._totals()
        return self._piece("prefix_totals", [
            f"total = {self.none}", *loop, f"total = block_{self.kind}(total)",
            "if cuda.threadIdx.x == 0:", f"    {store(pointer, self.wide, at, 'total')}",
        ])

    def scans(self) -> Piece:
        goal = self.scan.position(self.scan.goal)
        each = [f"x{e}" for e in range(EACH)]
        reads, writes, together = [], [], each[0]
        for e, x in enumerate(each):
            j = f"j = first + cuda.threadIdx.x * {EACH}" + (f" + {e}" if e else "")
            reads += [j, f"{x} = {self.none}", "if j < stop:", f"    {x} = {self._number()}"]
            writes += [j, f"h = {self._step('h', x)}", "if j < stop:",
                       f"    {store(self.scan.target, self.anchor.dtype, goal, 'h')}"]
            together = self._step(together, x) if e else x
        tile = [*reads, f"h, carry = scan_{self.kind}({together}, carry)", *writes]
        loop = strided("first", "begin", "stop", f"cuda.blockDim.x * {EACH}", tile)
        return self._piece("prefix", [f"carry = {self.none}", *self._before(), *loop])

    def _totals(self) -> tuple[str, str]:
        """Scratch memory for the totals of parts, and where that of this part is."""
        count = self.parts * math.prod(self._extents())
        pointer = self.args.scratch(count * self.wide.itemsize, self.wide)
        return pointer, "i"

    def _before(self) -> list[str]:
        """The totals of the parts before this one."""
        if self.parts == 1:
            return []
        pointer, at = self._totals()
        total = load(pointer, self.wide, f"{at} - part + other")
        lines = [f"carry = {self._step('carry', total)}"]
        loop = strided("other", "cuda.threadIdx.x", "part", "cuda.blockDim.x", lines)
        return [*loop, f"carry = block_{self.kind}(carry)"]

    def _axes(self) -> tuple[Axis, ...]:
        return self.scan.others((self.scan.axis,))

    def _extents(self) -> Sequence[int]:
        return [self.anchor.shape[axis.index] for axis in self._axes()]

    def _piece(self, template: str, lines: Sequence[str]) -> Piece:
        axes, extents = (*self._axes(), Axis("part", "", -1)), [*self._extents(), self.parts]
        length = self.anchor.shape[self.scan.axis]
        size, count = (self.args.integer(n, name) for n, name in
                       ((-(-length // self.parts), "part"), (math.prod(extents), "blocks")))
        body = [
            *unravelled(axes, extents, self.args, "i"), f"begin = part * {size}",
            f"stop = minimum(begin + {size}, {self.scan.length})", *lines,
        ]
        text = strided("i", "cuda.blockIdx.x", count, "cuda.gridDim.x", body)
        grid = Grid(min(math.prod(extents), MOST_BLOCKS), THREADS)
        return cuda_piece(template, [*self.args.lines, *text], self.args, grid)
