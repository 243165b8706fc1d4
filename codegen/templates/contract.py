"""The matrix product as a launch: which tile it gets, and where its operands lie.

`contraction` is the one function that decides which kernel a product gets; fused prologues and
epilogues have their place here and in gemm.py.
"""

from __future__ import annotations

import math
from functools import partial

from ...ir.node import Node
from ..lower import Lowered, matrix_layout
from ..program import Kernel
from ..text import Arguments, storage_code
from .gemm import NUMBERS, block_of, llvm_of, revision, tile_for


def contraction(
    low: Lowered, anchor: Node, place: dict[Node, Node]
) -> tuple[Kernel, Arguments, int, int]:
    """(kernel, arguments, extent, cost of one step of the outer loop) for a dot whose operands are
    matrices in memory.
    """
    (a, va), (b, vb) = (low.resolve(x) for x in anchor.inputs)
    m, n = anchor.shape[-2:]
    k = va.shape[-1]
    layouts = matrix_layout(va), matrix_layout(vb)
    assert layouts[0] and layouts[1], "lowering copies operands that are no matrices"
    (a_turned, a_step, a_batch), (b_turned, b_step, b_batch) = layouts  # type: ignore[misc]
    tile = tile_for(storage_code(anchor.dtype), n)
    panels = -(-n // tile.columns)
    batch = math.prod(anchor.shape[:-2])
    block = block_of(tile, m, k)
    numbers = {
        "oa": va.offset, "ob": vb.offset, "m": m, "n": n, "k": k,
        "a_row": 1 if a_turned else a_step, "a_col": a_step if a_turned else 1,
        "b_row": 1 if b_turned else b_step, "b_col": b_step if b_turned else 1,
        "a_batch": a_batch, "b_batch": b_batch, "c_batch": m * n, "panels": panels,
        "block": block, "blocks": -(-m // block),
    }  # fmt: skip
    args = Arguments()
    args.values += [place.get(x, x) for x in (a, b, anchor)]
    args.scratch(batch * panels * k * tile.columns * anchor.dtype.itemsize)
    args.values += [numbers[name] for name in NUMBERS]
    source = (
        f"matrix product in {tile.code}, tile {tile.rows} x {tile.columns}, "
        f"vectors of {tile.lanes}, revision {revision()}"
    )
    kernel = Kernel("gemm", source, partial(llvm_of, tile))
    return kernel, args, batch * panels, m * tile.columns * k // 8
