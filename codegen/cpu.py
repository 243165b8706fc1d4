"""The CPU as a backend: loop templates, whose text becomes LLVM code, and products, made in it."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir.node import Node
from .gemm.constants import by_columns
from .gemm.epilogue import finish_products
from .gemm.product import contraction
from .program import Kernel
from .rows_apart import rows_apart
from .schedule.fuse import Fusion, shares_rows, work
from .schedule.groups import Group
from .schedule.lower import Lowered
from .schedule.schedule import Schedule
from .templates.buffer_parts import contiguous_copy, contiguous_fill
from .templates.column import Column
from .templates.extern import PIECES
from .templates.row import Row
from .templates.tiles import Tiles
from .text import Piece


def body_of(s: Schedule, group: Group, stored: set[Node], fast: bool) -> Column | Row:
    """What writes the loops of a group."""
    if group.template == "column":
        return Column(s, group, stored, fast)
    tiles = Tiles(s, group, stored, fast)
    goes_across = tiles.across is not None and not s.row_by_row
    return tiles if goes_across else Row(s, group, stored, fast)


class CPU:
    name = "cpu"
    copy = staticmethod(contiguous_copy)
    zeros = staticmethod(contiguous_fill)
    by_columns = staticmethod(by_columns)
    rows_apart = staticmethod(rows_apart)

    def fuse_products(self, low: Lowered, fusion: Fusion) -> None:
        if low.choices.finish:
            finish_products(low, fusion)
        fusion.beside = low.choices.columns

    def pieces(self, s: Schedule, group: Group, stored: set[Node], fast: bool) -> Iterator[Piece]:
        if group.product:
            yield from contraction(s.low, group.anchors, s.place, stored, s.row_by_row)
        elif group.opaque:
            anchor = group.anchors[0]
            yield from PIECES[anchor.op](s.low, anchor, s.place)
        else:
            body = body_of(s, group, stored, fast)
            source = "".join(f"    {line}\n" for line in body.build())
            extent = body.extent
            alone = group.space.sums and not shares_rows(group)
            each = 0 if alone else work(group.anchors, group.space) // max(extent, 1)
            yield Piece(Kernel(group.template, source, fast=fast), body.args, extent, each)
            if isinstance(body, Row):
                yield from body.later()
