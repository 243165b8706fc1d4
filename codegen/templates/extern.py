"""Which template makes the launches of each primitive that is lowered to launches of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ...ir.node import Node
from ...ir.op import OpDef
from ...ir.ops import band as bands, index, movement, order, prefix as scans
from ..schedule.lower import Lowered
from ..text import Piece
from .buffer_parts import concat, fold, index_put, pad
from .lapack import WRITERS, library
from .prefix import band, prefix
from .sorting import argsort, searchsorted, top

PIECES: dict[OpDef, Callable[[Lowered, Node, Mapping[Node, Node]], Iterator[Piece]]] = {
    movement.concat: concat,
    movement.pad: pad,
    movement.fold: fold,
    order.argsort: argsort,
    order.top: top,
    order.searchsorted: searchsorted,
    **dict.fromkeys((index.index_put, index.index_reduce), index_put),
    **dict.fromkeys((bands.band, bands.log_band), band),
    **dict.fromkeys((scans.cummax, scans.cummin, scans.cumprod, scans.cumsum, scans.recur), prefix),
    **dict.fromkeys(WRITERS, library),
}
