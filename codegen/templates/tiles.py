"""Tiles: a map that reads some operand across its rows, as a transposed copy does.

Such an operand lies along an axis that is not the innermost: in the loop along the innermost one,
every number is in another line of the cache, and most lines compete for the same few places. So the
loops go from tile to tile, and what lies across is first copied into a tile of its own, line by
line; then the innermost loop reads that, one number beside the other.

    for part in range(start, stop):
        for k0_begin in range(part * n0, minimum(part * n0 + n0, n1), 64):
            k0_end = minimum(k0_begin + 64, n1)
            for k1_begin in range(0, n2, 64):
                k1_end = minimum(k1_begin + 64, n2)
                for k1s in range(k1_begin, k1_end - 7, 8):  # squares; then what is left over
                    for k0s in range(k0_begin, k0_end - 7, 8):
                        turn_f4(p1, part * n3 + (k0s - k0_begin) * 64 + k1s - k1_begin, 64, p0, ...)
                ...
                for k0 in range(k0_begin, k0_end):
                    for k1 in range(k1_begin, k1_end):
                        ...
"""

from __future__ import annotations

import math
from collections import Counter

from ...ir.node import Node, is_constant
from ...ir.ops.source import iota
from ...ir.strides import View
from ..schedule.groups import Group
from ..schedule.loop_space import seen
from ..schedule.schedule import Schedule
from ..text import load, store, turn
from .loops import Axis, Scope, nested, part_of, rows_of_a_part
from .row import Row

TILE = 64  # numbers along both axes
SIDE = 8  # numbers along both axes of a square that is turned in registers
LEAST = 16  # numbers along either axis; shorter ones are read as they are
WORTH = 1 << 12  # numbers between one along the axis and the next: fewer stay in the cache
WIDEST = 8  # bytes of a number in a tile, at most


class Tiles(Row):
    """Of a group for which `across` is an axis."""

    def __init__(self, s: Schedule, group: Group, stored: set[Node], fast: bool):
        super().__init__(s, group, stored, fast)
        last = len(self.kept_extents) - 1
        lies: Counter[int] = Counter()
        views: dict[tuple[Node, View], int] = {}  # of what lies across: the axis it lies along
        for anchor in group.anchors if not self.space.reduced else ():
            for x, leaf in self.operands[anchor]:
                if not is_constant(leaf) and leaf.op is not iota and leaf not in self.members:
                    _, view = seen(self.low, x, anchor, self.space)
                    along = self._lies_along(self._collapsed[view.strides])
                    if along is not None:
                        lies[along] += 1
                        views[leaf, view] = along
        self.across = lies.most_common(1)[0][0] if lies else None
        self.tiles = [key for key, along in views.items() if along == self.across]
        self.columns = last

    def _lies_along(self, strides: tuple[int, ...]) -> int | None:
        """The axis other than the innermost, if that is where the next number in memory is."""
        if not strides or abs(strides[-1]) < LEAST or self.kept_extents[-1] < LEAST:
            return None
        sizes = self.kept_extents
        return next((d for d, step in enumerate(strides[:-1])
                     if step == 1 and sizes[d] >= LEAST and math.prod(sizes[d:]) >= WORTH), None)

    def build(self) -> list[str]:
        assert self.across is not None
        others = [self.axis(d, f"k{d}") for d in range(self.columns) if d != self.across]
        rows, columns = (self.axis(d, f"k{d}") for d in (self.across, self.columns))
        first = others[0] if others else rows
        each = rows_of_a_part(self.kept_extents[first.index])
        if not others:
            each = -(-each // TILE) * TILE
        self.extent = -(-self.kept_extents[first.index] // each)
        part, own = part_of(first, self.args.integer(each, "rows"), first.bounds[1])
        if others:
            others[0] = own
        else:
            rows = own
        row, column = (Axis(axis.name, f"range({axis.name}_begin, {axis.name}_end)", axis.index)
                       for axis in (rows, columns))
        self.inside = (*others, row, column)
        self.segments, self.points = [Scope(self.inside)], []
        tail = self._stores([])
        body = [*self._copied(others, row, column),
                *nested((row, column), [*self.segments[0].lines, *tail])]
        for axis in (columns, rows):
            name, (begin, end) = axis.name, axis.bounds
            loop = Axis(f"{name}_begin", f"range({begin}, {end}, {TILE})", axis.index)
            body = nested((loop,), [f"{name}_end = minimum({name}_begin + {TILE}, {end})", *body])
        return [*self.args.lines, *self.prelude.lines, *nested((part, *others), body),
                *self.reports]

    def _copied(self, others: list[Axis], row: Axis, column: Axis) -> list[str]:
        """The loops that fill the tiles."""
        lines: list[str] = []
        for leaf, view in self.tiles:
            for across, along, squares in self._spans(row, column):
                scope = Scope((*others, across, along))
                source = self.args.pointer(self.place.get(leaf, leaf), leaf.dtype)
                begin = self.position(view, scope)
                pointer, at = self._tile(leaf, view, along, across)
                if squares:
                    step = self.stride(self._collapsed[view.strides][across.index], across)
                    text = turn(leaf.dtype, pointer, at, str(TILE), source, begin, step)
                else:
                    text = store(pointer, leaf.dtype, at, load(source, leaf.dtype, begin))
                lines += nested((across, along), [text])
        return lines

    def _spans(self, row: Axis, column: Axis) -> list[tuple[Axis, Axis, bool]]:
        """The loops over a tile as it lies in memory: over squares of it, and over what they leave.
        """
        (first, last), (left, right) = row.bounds, column.bounds

        def axis(of: Axis, span: str) -> Axis:
            return Axis(f"{of.name}s", f"range({span})", of.index)

        whole = f"{last} - (({last} - {first}) & {SIDE - 1})"
        rest = f"(({right} - {left}) & {SIDE - 1})"
        return [
            (axis(column, f"{left}, {right} - {SIDE - 1}, {SIDE}"),
             axis(row, f"{first}, {last} - {SIDE - 1}, {SIDE}"), True),
            (axis(column, f"{left}, {right} - {rest}"), axis(row, f"{whole}, {last}"), False),
            (axis(column, f"{right} - {rest}, {right}"), axis(row, f"{first}, {last}"), False),
        ]

    def _tile(self, leaf: Node, view: View, row: Axis, column: Axis) -> tuple[str, str]:
        """The pointer to the tile of what lies across, and the position in it."""
        size, k = TILE * TILE, self.tiles.index((leaf, view))
        pointer = self.args.scratch(
            self.extent * len(self.tiles) * size * WIDEST, leaf.dtype)
        words = size * WIDEST // leaf.dtype.itemsize
        first = f"part * {self.args.integer(len(self.tiles) * words, 'tiles')}"
        if k:
            first = f"{first} + {self.args.integer(k * words, 'tile')}"
        begins = (f"{axis.name.removesuffix('s')}_begin" for axis in (row, column))
        i, j = (f"({axis.name} - {begin})"
                for axis, begin in zip((row, column), begins, strict=True))
        return pointer, f"{first} + {i} * {TILE} + {j}"

    def read(self, leaf: Node, view: View, scope: Scope) -> str:
        if (leaf, view) not in self.tiles:
            return super().read(leaf, view, scope)
        pointer, at = self._tile(leaf, view, *self.inside[-2:])
        key = ("tile", leaf, view.strides, view.offset)
        return self.define(scope, key, load(pointer, leaf.dtype, at))
