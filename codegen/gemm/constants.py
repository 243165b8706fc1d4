"""Constants of a loop that products of its body would pack in each iteration: how they should lie,
so that a copy before the loop spares it.
"""

from __future__ import annotations

from ...ir.dtype import DType
from ...ir.graph import Graph
from ...ir.node import Node
from ...ir.ops.contract import dot
from ...ir.ops.movement import permute
from ...ir.strides import View
from ..text import Piece, storage_code
from .product import Matrix, copied
from .tile import reads_directly, tile_for, turned, worth_a_copy


def by_columns(body: Graph) -> dict[Node, bool]:
    """The matrices among the inputs that products read, and whether these want them column by
    column.
    """
    wanted: dict[Node, bool] = {}
    inputs = set(body.inputs)
    for node in body.order():
        if node.op is not dot or node.dtype.is_half:
            continue
        turn = turned(node)
        m, n = node.shape[-2:][:: -1 if turn else 1]
        k = node.inputs[0].shape[-1]
        tile = tile_for(storage_code(node.dtype), n)
        many = worth_a_copy(-(-n // tile.columns), k)
        once = m > 1 and reads_directly(n, 1, tile, m, k)  # or else it packs anyway
        for side, x in enumerate(node.inputs):
            left, columns = (side == 0) != turn, turn
            while x.op is permute and len(x.shape) == 2:
                columns ^= x.params["axes"] == (1, 0)
                x = x.inputs[0]
            if x in inputs and len(x.shape) == 2 and (many if left else once):
                wanted.setdefault(x, columns)
    return wanted


def lying(view: View, dtype: DType, columns: bool) -> tuple[View, int, Piece] | None:
    """How a copy of the matrix lies, row by row or column by column, its size in numbers, and the
    launch from `source` to `scratch` that makes it; None if the matrix lies so, or is none.
    """
    first, second = view.strides[:: -1 if columns else 1]
    m, k = view.shape[:: -1 if columns else 1]
    if first != 1 or second < max(m, 2):
        return None
    tile = tile_for(storage_code(dtype), k)
    copy, piece = copied(Matrix("source", view.offset, 1, second, 0), m, k, 1, tile, 0)
    strides = (copy.row, 1)[:: -1 if columns else 1]
    return View(view.shape, strides), m * copy.row, piece
