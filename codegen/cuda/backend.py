"""CUDA as a backend: loops shared by the threads of a grid, in text over the vocabulary that
Numba's kernels for GPUs have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ...ir.dtype import DType
from ...ir.graph import Graph
from ...ir.node import Node
from ...ir.op import Kind
from ...ir.strides import View
from ..gemm.epilogue import finish_products
from ..schedule.fuse import Fusion
from ..schedule.groups import Group
from ..schedule.lower import Lowered
from ..schedule.schedule import Schedule
from ..text import Piece
from . import stages
from .extern import LAUNCHES
from .points import copied, filled
from .product import contraction, in_registers


class CUDA:
    name = "cuda"

    def fuse_products(self, low: Lowered, fusion: Fusion) -> None:
        finish_products(low, fusion, lambda product: False, in_registers())
        for anchor in fusion.anchors:
            if anchor.op.kind is Kind.LINALG:
                fusion.notes.append(f"{anchor.op.name} runs on the host, by the CPU's kernel")

    def pieces(self, s: Schedule, group: Group, stored: set[Node], fast: bool) -> Iterator[Piece]:
        every = self._pieces(s, group, stored, fast)
        if s.checked and any(a in s.place for a in group.anchors):
            every = map(after_checks, every)
        yield from every

    def _pieces(self, s: Schedule, group: Group, stored: set[Node], fast: bool) -> Iterator[Piece]:
        anchor = group.anchors[0]
        if group.product:
            yield from contraction(s.low, group.anchors, s.place, stored)
        elif group.opaque:
            yield from LAUNCHES[anchor.op](s.low, anchor, s.place)
        else:
            yield from stages.pieces(s, group, stored, fast)

    def copy(self, count: int, dtype: DType) -> Piece:
        return copied("source", "target", dtype, View.of((count,)), View.of((count,)))

    def zeros(self, count: int, dtype: DType) -> Piece:
        return filled(count, dtype, "target")

    def by_columns(self, body: Graph) -> Mapping[Node, bool]:
        return {}

    def rows_apart(self, s: Schedule, body: Graph, carried: int) -> None:
        return None


def after_checks(piece: Piece) -> Piece:
    """A launch that writes to memory of the user: the launches of a graph all run, so it looks
    itself whether a check has failed.
    """
    kernel, args = piece.kernel, piece.args
    failed = f"load_i8(pointer_i8(args, {len(args.values)}), 0, 0)"
    args.values.append("status")
    source = f"    if {failed} != 0:\n        return\n{kernel.source}"
    return piece._replace(kernel=replace(kernel, source=source))
