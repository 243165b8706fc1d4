"""The matrix product: a call of BLAS per matrix of the batch, from the same tape as every other kernel.

A generated micro-kernel with fused prologue and epilogue has its place here: `contraction` is the one function that
decides which kernel a product gets.
"""

from __future__ import annotations

import math

from ...ir.node import Node
from ..lower import Lowered, matrix_layout
from ..program import Kernel
from ..text import Arguments, storage_code

_BLAS = {"f4": "sgemm", "f8": "dgemm"}


def contraction(low: Lowered, anchor: Node, place: dict[Node, Node]) -> tuple[Kernel, Arguments, int, int]:
    """(kernel, arguments, extent, cost of one step of the outer loop) for a dot whose operands are matrices in memory."""
    (a, va), (b, vb) = (low.resolve(x) for x in anchor.inputs)
    layouts = matrix_layout(va), matrix_layout(vb)
    assert layouts[0] and layouts[1], "lowering copies operands that are no matrices"
    (ta, lda, sa), (tb, ldb, sb) = layouts  # type: ignore[misc]
    m, n = anchor.shape[-2:]
    k = va.shape[-1]
    code = storage_code(anchor.dtype)
    args = Arguments()
    pa, pb, pc = (args.pointer(place.get(x, x), anchor.dtype) for x in (a, b, anchor))
    oa, ob = (args.integer(v.offset, f"offset {w}") for v, w in ((va, "a"), (vb, "b")))
    call = args.symbol(_BLAS[code])
    words = [args.integer(v, name) for name, v in
             (("ta", int(ta)), ("tb", int(tb)), ("m", m), ("n", n), ("k", k), ("lda", lda), ("ldb", ldb))]  # fmt: skip
    steps = [args.integer(v, name) for name, v in (("sa", sa), ("sb", sb), ("sc", m * n))]
    lines = [
        *args.lines,
        "for i in range(start, stop):",
        f"    gemm_{code}({call}, {pa}, {oa} + i * {steps[0]}, {pb}, {ob} + i * {steps[1]}, {pc}, i * {steps[2]}, "
        + ", ".join(words) + ")",
    ]  # fmt: skip
    source = "".join(f"    {line}\n" for line in lines)
    return Kernel("gemm", source), args, math.prod(anchor.shape[:-2]), 2 * m * n * k
