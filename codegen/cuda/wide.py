"""Maps over memory that lies side by side: a thread reads, computes and writes LANES neighbours,
memory by whole vectors.

    whole = select(aligned(p0, 16) and aligned(p1, 16), n0 & -4, 0)
    k0 = cuda.grid(1) * 4
    while k0 < whole:
        v1, v2, v3, v4 = load4_f4(p0, k0, 0)
        ...
        store4_f4(p1, k0, v5, v6, v7, v8, 1)
        k0 += cuda.gridsize(1) * 4
    k0 = whole + cuda.grid(1)
    while k0 < n0:                      # what is left, and all where memory is not aligned
        ...
"""

from __future__ import annotations

from ...ir.node import Node
from ...ir.ops.source import iota
from ...ir.strides import View
from ..program import Grid
from ..templates.loop_body import PRELUDE
from ..templates.loops import Axis, Scope
from ..text import storage_code
from .grid import grid_of, strided
from .teams import ALONE, Teams

LANES = 4
VECTOR = 16  # bytes that are read at a time, at most
MOST_LINES = 40  # of the kernel for single points; above, neighbours would need many registers
LEAST = 1 << 12  # points that are worth it


def suits(teams: Teams) -> bool:
    """Whether a group is a map over one run of memory."""
    if teams.team is not ALONE or teams.space.reduced or len(teams.kept_extents) != 1:
        return False
    if teams.kept_extents[0] < LEAST or any(a.op.check is not None for a in teams.group.anchors):
        return False
    return len(teams.build()) <= MOST_LINES


class Wide(Teams):
    """The map of a group that `suits`."""

    def build(self) -> list[str]:
        self.head: list[str] = []  # what reads vectors
        self.pointers: dict[str, int] = {}  # to vectors, and how they are aligned
        (n,) = (self.args.integer(extent, "points") for extent in self.kept_extents)
        names = ["k0", *(f"(k0 + {lane})" for lane in range(1, LANES))]
        self.lanes = [Scope((Axis(name, "", 0),)) for name in names]
        single = Scope((Axis("k0", "", 0),))
        stores = [line for anchor in self.wanted for line in self._wide_store(anchor)]
        points = [self.store(a, self.anchor_value(a, single), single) for a in self.wanted]
        vectors = [*self.head, *(line for lane in self.lanes for line in lane.lines), *stores]
        aligned = " and ".join(f"aligned({p}, {size})" for p, size in self.pointers.items())
        return [
            *self.args.lines,
            *self.prelude.lines,
            f"whole = select({aligned or True}, {n} & {-LANES}, 0)",
            *strided("k0", f"cuda.grid(1) * {LANES}", "whole", f"cuda.gridsize(1) * {LANES}",
                     vectors),
            *strided("k0", "whole + cuda.grid(1)", n, "cuda.gridsize(1)",
                     [*single.lines, *points]),
        ]

    def grid(self) -> Grid:
        return grid_of(-(-self.kept_extents[0] // LANES))

    def scope_for(self, depth: tuple[int, int], here: Scope) -> Scope:
        return self.prelude if depth[0] == PRELUDE else here

    def _side_by_side(self, view: View) -> bool:
        """Whether neighbours are a vector: an offset may be any in an equal group."""
        return self._collapsed[view.strides] == (1,) and view.offset == 0

    def _pointer(self, buffer: Node, dtype_of: Node) -> str:
        pointer = self.args.pointer(buffer, dtype_of.dtype)
        size = min(VECTOR, LANES * dtype_of.dtype.itemsize)
        self.pointers[pointer] = max(self.pointers.get(pointer, 1), size)
        return pointer

    def read(self, leaf: Node, view: View, scope: Scope) -> str:
        key = (leaf, view.strides, view.offset)
        plain = scope not in self.lanes or leaf.op is iota or not self._side_by_side(view)
        if plain or key in scope.known:
            return super().read(leaf, view, scope)
        pointer, code = self._pointer(self.place.get(leaf, leaf), leaf), storage_code(leaf.dtype)
        names = [self.fresh() for _ in self.lanes]
        for lane, name in zip(self.lanes, names, strict=True):
            lane.known[key] = name
        self.head.append(f"{', '.join(names)} = load4_{code}({pointer}, k0, {pointer[1:]})")
        return scope.known[key]

    def _wide_store(self, anchor: Node) -> list[str]:
        values = [self.anchor_value(anchor, lane) for lane in self.lanes]
        buffer, view = self.target(anchor)
        if not self._side_by_side(view):
            pairs = zip(values, self.lanes, strict=True)
            return [self.store(anchor, value, lane) for value, lane in pairs]
        pointer, code = self._pointer(buffer, anchor), storage_code(anchor.dtype)
        return [f"store4_{code}({pointer}, k0, {', '.join(values)}, {pointer[1:]})"]
