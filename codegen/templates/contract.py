"""The matrix product as a launch: which tile it gets, and where its operands lie.

`contraction` is the one function that decides which kernel a product gets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

from ...ir.node import Node
from ..epilogue import describe
from ..lower import Lowered, matrix_layout
from ..program import Kernel
from ..text import Arguments, storage_code
from .gemm import NUMBERS, llvm_of, revision
from .tile import block_of, packs_rows, reads_directly, tile_for, turned


@dataclass(frozen=True)
class Matrix:
    """A stack of matrices in memory."""

    leaf: Node
    offset: int
    row: int
    col: int
    batch: int

    def turned(self) -> Matrix:
        return replace(self, row=self.col, col=self.row)


def _matrix(low: Lowered, x: Node) -> Matrix:
    leaf, view = low.resolve(x)
    layout = matrix_layout(view)
    assert layout is not None, "lowering copies operands that are no matrices"
    turned, step, batch = layout
    return Matrix(leaf, view.offset, 1 if turned else step, step if turned else 1, batch)


def contraction(
    low: Lowered, anchors: list[Node], place: dict[Node, Node], stored: set[Node]
) -> tuple[Kernel, Arguments, int, int]:
    """(kernel, arguments, extent, cost of one step of the outer loop) for a dot whose operands are
    matrices in memory, and for the anchors that are computed from it before it is stored.
    """
    product = anchors[0]
    a, b = (_matrix(low, x) for x in product.inputs)
    m, n = product.shape[-2:]
    k = product.inputs[0].shape[-1]
    turn = turned(product)
    epilogue, places = describe(low, anchors, stored, place, turn)
    if turn:
        a, b, m, n = b.turned(), a.turned(), n, m
    tile = tile_for(storage_code(product.dtype), n)
    panels = -(-n // tile.columns)
    batch = math.prod(product.shape[:-2])
    packs = packs_rows(a.row, batch, panels, k)
    totals = (1 + packs) * batch * panels * k * tile.columns
    numbers = {
        "oa": a.offset, "ob": b.offset, "m": m, "n": n, "k": k,
        "a_row": a.row, "a_col": a.col, "b_row": b.row, "b_col": b.col, "a_batch": a.batch,
        "b_batch": b.batch, "panels": panels, "block": block_of(tile, m, k), "packs": int(packs),
        "direct": int(reads_directly(b.row, b.col, tile, m, k)), "totals": totals,
    }  # fmt: skip
    args = Arguments()
    args.values += [place.get(x.leaf, x.leaf) for x in (a, b)]
    room = totals + panels * tile.columns * len(epilogue.sums)
    args.scratch(room * tile.itemsize)
    args.values += [numbers[name] for name in NUMBERS]
    for x in places:
        if isinstance(x.node, Node):
            args.values += [place.get(x.node, x.node), x.offset, x.batch, x.row, x.col]
        else:
            args.values.append(x.node)
    source = (
        f"matrix product in {tile.code}, tile {tile.rows} x {tile.columns}, "
        f"vectors of {tile.lanes}, epilogue {epilogue}, revision {revision()}"
    )
    kernel = Kernel("gemm", source, partial(llvm_of, tile, epilogue))
    return kernel, args, batch * panels, m * tile.columns * k // 8
