"""The matrix product as a launch: which tile it gets, and where its operands lie.

`contraction` is the one function that decides which kernel a product gets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from ...ir.node import Node
from ..epilogue import describe
from ..lower import Lowered, matrix_layout
from ..program import Kernel
from ..text import Arguments, storage_code
from .gemm import NUMBERS, llvm_of, revision
from .strips import NUMBERS as TURNING
from .strips import VECTORS, stride_of
from .strips import llvm_of as llvm_of_turning
from .tile import DEEP, block_of, reads_directly, tile_for, turned, worth_turning


@dataclass(frozen=True)
class Matrix:
    """A stack of matrices in memory."""

    leaf: Node | str  # or the scratch memory
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
) -> Iterator[tuple[Kernel, Arguments, int, int]]:
    """(kernel, arguments, extent, cost of one step of the outer loop) of the launches for a dot
    whose operands are matrices in memory, and for the anchors that are computed from it before it
    is stored: the product, and before it the turning of its left operand where that pays.
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
    room = batch * panels * k * tile.columns  # for strips of B, then for a turned A, then for sums
    of_tile = f"{tile.code}, tile {tile.rows} x {tile.columns}, vectors of {tile.lanes}"
    if a.col != 1 and worth_turning(panels, k):
        step, strips = stride_of(tile, k), -(-k // (VECTORS * tile.lanes))
        matrices = batch if a.batch else 1
        values = {
            "oa": a.offset, "at": room, "m": m, "k": k, "a_col": a.col, "a_batch": a.batch,
            "step": step, "strips": strips,
        }  # fmt: skip
        turning = Arguments()
        turning.values += [place.get(a.leaf, a.leaf), "scratch", *(values[x] for x in TURNING)]
        kernel = Kernel("turn", f"turn in {of_tile}, {revision()}", partial(llvm_of_turning, tile))
        yield kernel, turning, matrices * strips, m * VECTORS * tile.lanes
        a = Matrix("scratch", room, step, 1, m * step if a.batch else 0)
        room += matrices * m * step
    direct = reads_directly(b.row, b.col, tile, m, k)
    along = a.col == 1 and k >= DEEP and not direct
    numbers = {
        "oa": a.offset, "ob": b.offset, "m": m, "n": n, "k": k, "a_row": a.row, "a_col": a.col,
        "b_row": b.row, "b_col": b.col, "a_batch": a.batch, "b_batch": b.batch,
        "panels": panels, "block": block_of(tile, m, k), "along": int(along), "direct": int(direct),
        "totals": room,
    }  # fmt: skip
    args = Arguments()
    args.values += [place.get(x.leaf, x.leaf) for x in (a, b)]
    room += panels * tile.columns * len(epilogue.sums)
    args.scratch(room * tile.itemsize)
    args.values += [numbers[name] for name in NUMBERS]
    for x in places:
        if isinstance(x.node, Node):
            args.values += [place.get(x.node, x.node), x.offset, x.batch, x.row, x.col]
        else:
            args.values.append(x.node)
    source = f"matrix product in {of_tile}, epilogue {epilogue}, revision {revision()}"
    kernel = Kernel("gemm", source, partial(llvm_of, tile, epilogue))
    yield kernel, args, batch * panels, m * tile.columns * k // 8
