"""Which template makes the launches of each opaque primitive."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...ir.node import Node
from ..schedule.lower import Lowered
from .buffer_parts import Piece, concat, fold, index_put, pad
from .lapack import library
from .prefix import band, prefix
from .sorting import argsort, searchsorted

PIECES: dict[str, Callable[[Lowered, Node, dict[Node, Node]], Iterator[Piece]]] = {
    "concat": concat, "pad": pad, "fold": fold, "argsort": argsort, "searchsorted": searchsorted,
    **dict.fromkeys(("index_put", "index_reduce"), index_put),
    **dict.fromkeys(("band", "log_band"), band),
    **dict.fromkeys(("cummax", "cummin", "cumprod", "cumsum", "recur"), prefix),
    **dict.fromkeys(("cholesky", "eigh", "lu", "qr", "svd", "triangular_solve"), library),
}  # fmt: skip
