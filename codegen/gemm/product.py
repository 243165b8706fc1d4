"""The matrix product as a launch: which tile it gets, and where its operands lie.

`contraction` is the one function that decides which kernel a product gets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from ...ir.node import Node
from ..program import Kernel
from ..schedule.fuse import WORTH_A_THREAD
from ..schedule.lower import Lowered
from ..schedule.products import matrix_layout
from ..text import Arguments, Piece, storage_code
from . import strips
from .epilogue import describe
from .kernel import NUMBERS, llvm_of, revision
from .tile import DEEP, Tile, block_of, part_of, reads_directly, tile_for, turned, worth_a_copy

FEW = 3  # panels, so that threads had better share the rows


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


def _matrix(low: Lowered, x: Node, place: Mapping[Node, Node]) -> Matrix:
    leaf, view = low.resolve(x)
    layout = matrix_layout(view)
    assert layout is not None, "lowering copies operands that are no matrices"
    turned, step, batch = layout
    row, col = (1, step) if turned else (step, 1)
    return Matrix(place.get(leaf, leaf), view.offset, row, col, batch)


def copied(a: Matrix, m: int, k: int, batch: int, tile: Tile, at: int) -> tuple[Matrix, Piece]:
    """The transposed m x k matrices of `a` copied to element `at` of scratch memory, row by row,
    and what does it.
    """
    step, count = strips.stride_of(tile, k), -(-k // (strips.VECTORS * tile.lanes))
    numbers = {
        "oa": a.offset, "at": at, "m": m, "k": k, "a_col": a.col, "a_batch": a.batch,
        "step": step, "strips": count,
    }
    args = Arguments()
    args.values += [a.leaf, "scratch", *(numbers[name] for name in strips.NUMBERS)]
    source = f"copy row by row in {tile.code}, vectors of {tile.lanes}, revision {revision()}"
    kernel = Kernel("strips", source, partial(strips.llvm_of, tile))
    matrices = batch if a.batch else 1
    copy = Matrix("scratch", at, step, 1, m * step if a.batch else 0)
    return copy, Piece(kernel, args, matrices * count, m * strips.VECTORS * tile.lanes)


def has_few_panels(tile: Tile, m: int, n: int, k: int) -> bool:
    """Whether there is work for threads, but few panels, all of them whole, and many rows."""
    few = n % tile.columns == 0 and n // tile.columns <= FEW and m > tile.rows
    return few and m * n * k // 8 >= WORTH_A_THREAD // 2


def contraction(
    low: Lowered, anchors: list[Node], place: Mapping[Node, Node], stored: set[Node],
    row_by_row: bool,
) -> Iterator[Piece]:
    """The launches for a dot whose operands are matrices in memory, and for the anchors that are
    computed from it before it is stored: the product, and before it a copy of its operands where
    that pays. The outer loop is over the rows if `row_by_row`, unless the product is turned.
    """
    product = anchors[0]
    a, b = (_matrix(low, x, place) for x in product.inputs)
    (m, n), k = product.shape[-2:], product.inputs[0].shape[-1]
    turn = turned(product)
    epilogue, places = describe(low, anchors, stored, place, turn)
    if turn:
        a, b, m, n = b.turned(), a.turned(), n, m
    tile = tile_for(storage_code(product.dtype), n)
    panels, batch = -(-n // tile.columns), math.prod(product.shape[:-2])
    part = part_of(k)
    # for strips of B, then a copy of A, then sums down the columns, then sums that are not done
    room = batch * panels * part * tile.columns
    if a.col != 1 and worth_a_copy(panels, k):
        a, copying = copied(a, m, k, batch, tile, room)
        yield copying
        room += (batch if a.batch else 1) * m * a.row
    few = batch == 1 and has_few_panels(tile, m, n, k) and not (epilogue.sums or row_by_row)
    if few and b.col != 1 and reads_directly(n, 1, tile, m, k):
        b, copying = copied(b, k, n, 1, tile, room)
        yield copying
        room += k * b.row
    direct = reads_directly(b.row, b.col, tile, m, k)
    # threads would pack the same panels in the same place
    step = 1 if row_by_row and not turn else tile.rows if few and direct else 0
    along = a.col == 1 and k >= DEEP and not direct
    totals = room
    room += 2 * panels * tile.columns * len(epilogue.sums)  # and beside them those of a block
    numbers = {
        "oa": a.offset, "ob": b.offset, "m": m, "n": n, "k": k, "a_row": a.row, "a_col": a.col,
        "b_row": b.row, "b_col": b.col, "a_batch": a.batch, "b_batch": b.batch,
        "panels": panels, "block": block_of(tile, m, part), "along": int(along),
        "direct": int(direct), "totals": totals, "part": part, "partial": room,
        "step": step,
    }
    args = Arguments()
    args.values += [a.leaf, b.leaf]
    if part < k:
        room += batch * panels * tile.columns * m
    args.scratch(room * tile.itemsize)
    args.values += [numbers[name] for name in NUMBERS]
    for x in places:
        if isinstance(x.node, Node):
            args.values += [place.get(x.node, x.node), x.offset, x.batch, x.row, x.col]
        else:
            args.values.append(x.node)
    source = (
        f"matrix product in {tile.code}, tile {tile.rows} x {tile.columns}, "
        f"vectors of {tile.lanes}{', in parts' * (part < k)}, epilogue {epilogue}, "
        f"revision {revision()}"
    )
    kernel = Kernel("gemm", source, partial(llvm_of, tile, epilogue, part < k))
    extent, length = (-(-m // step), step * panels) if step else (batch * panels, m)
    yield Piece(kernel, args, extent, length * tile.columns * k // 8)
