"""What makes the launches of each primitive that is lowered to launches of its own.

Factorisations run on the host, by the kernels of the CPU: launches without a grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ...ir.node import Node
from ...ir.op import OpDef
from ...ir.ops import band as bands, index, movement, order, prefix as scans
from ..schedule.lower import Lowered
from ..templates.lapack import WRITERS, library
from ..templates.sorting import searchsorted
from ..text import Piece
from .grid import by_threads
from .order import argsort
from .points import concat, fold, index_put, pad
from .prefix import prefix
from .scans import band


def _searched(low: Lowered, anchor: Node, place: Mapping[Node, Node]) -> Iterator[Piece]:
    return map(by_threads, searchsorted(low, anchor, place))


LAUNCHES: dict[OpDef, Callable[[Lowered, Node, Mapping[Node, Node]], Iterator[Piece]]] = {
    movement.concat: concat,
    movement.pad: pad,
    movement.fold: fold,
    order.argsort: argsort,
    order.top: argsort,
    order.searchsorted: _searched,
    **dict.fromkeys((index.index_put, index.index_reduce), index_put),
    **dict.fromkeys((bands.band, bands.log_band), band),
    **dict.fromkeys((scans.cummax, scans.cummin, scans.cumprod, scans.cumsum, scans.recur), prefix),
    **dict.fromkeys(WRITERS, library),
}
