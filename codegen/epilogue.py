"""What may be done to each number of a matrix product before it is stored: a bias added, a relu,
the mask of a gradient.

`finish_products` merges the products of a Fusion with the elementwise anchors that read them,
`describe` says what their kernels do then; templates/gemm.py writes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..ir.node import Node
from ..ir.op import Kind
from .fuse import Fusion, expression, operands
from .lower import Lowered
from .space import seen, space_of
from .templates.emitter import WORDS

CONSTANTS = (0.0, 1.0, -1.0, 0.5, 2.0)  # constants that are part of a kernel; others keep it apart
MOST_LEAVES = 4  # buffers that the epilogue reads

Operand = tuple[str, int | float]  # ('sum', 0), ('leaf', i), ('step', i) or ('number', value)


@dataclass(frozen=True)
class Epilogue:
    """`steps` are (operation, operands), of which the last gives what is stored; `kinds` say how
    each leaf lies along a row of the result: its numbers side by side ('unit'), one for all
    ('uniform'), or neither ('strided').
    """

    kinds: tuple[str, ...] = ()
    steps: tuple[tuple[str, tuple[Operand, ...]], ...] = ()

    def __str__(self) -> str:
        def word(x: Operand) -> str:
            return str(x[1]) if x[0] == "number" else f"{x[0]}{x[1]}"

        steps = "; ".join(f"{op}({', '.join(map(word, xs))})" for op, xs in self.steps)
        return f"{'/'.join(self.kinds)}: {steps}" if self.steps else "none"


@dataclass(frozen=True)
class Leaf:
    """A buffer that the epilogue reads, at offset + b * batch + i * row + j * col for row i and
    column j of matrix b.
    """

    node: Node
    offset: int
    batch: int
    row: int
    col: int


def finish_products(low: Lowered, fusion: Fusion, written: set[Node]) -> None:
    """Give each product the one elementwise anchor that reads it, where its kernel can compute that
    before anything is stored. What is `written` into an input's memory stays a loop, which can
    write there directly.
    """
    for group in [g for g in fusion.groups if g.template == "dot"]:
        (product,) = group.anchors
        readers = [a for a, read in fusion.reads.items() if product in read]
        if len(readers) != 1 or product in low.outputs or readers[0] in written:
            continue
        home = fusion.home[readers[0]]
        if not home.opaque and computable(low, product, readers[0]):  # not another product's yet
            fusion.merge(group, home, group.space)
            fusion.notes.append(f"{readers[0].op.name} is computed by the product it reads")


def computable(low: Lowered, product: Node, anchor: Node) -> bool:
    """Whether the product's kernel has words for all that `anchor` does with it."""
    if anchor.op.kind is not Kind.ELEMENTWISE or anchor.size != product.size:
        return False
    matrices = stack_of(product)
    steps = [*expression(low, anchor.inputs), anchor]
    inlined = [s for s in steps if s.op.kind is Kind.ELEMENTWISE]
    if any(s.op.name not in WORDS for s in inlined) or anchor.dtype is not product.dtype:
        return False
    leaves = set()
    for x, leaf in operands(low, anchor):
        if leaf.op.name == "full":
            if leaf.dtype is not product.dtype or leaf.params["value"] not in CONSTANTS:
                return False
        elif (
            leaf.dtype is not product.dtype
            or leaf.op.kind is Kind.SOURCE
            and leaf.op.name != "input"
        ):
            return False
        else:
            view = seen(low, x, anchor, space_of(anchor))[1].reshape(matrices)
            if view is None or leaf is product and not view.is_identity:
                return False
            leaves.add((leaf, view.offset, view.strides))
    return len(leaves) - 1 <= MOST_LEAVES


def stack_of(product: Node) -> tuple[int, int, int]:
    """The shape of a product with all axes of its batch as one."""
    *batch, m, n = product.shape
    return math.prod(batch), m, n


def describe(
    low: Lowered, product: Node, anchor: Node, turned: bool
) -> tuple[Epilogue, list[Leaf]]:
    """The epilogue that computes `anchor` from the sums of `product`; of the transposed product if
    `turned`.
    """
    space = space_of(anchor)
    leaves: list[Leaf] = []
    steps: list[tuple[str, tuple[Operand, ...]]] = []
    known: dict[Node, Operand] = {}

    def operand(x: Node) -> Operand:
        if x in known:
            return known[x]
        leaf, view = seen(low, x, anchor, space)
        if leaf is product:
            return "sum", 0
        if leaf.op.name == "full":
            return "number", float(leaf.params["value"])
        stack = view.reshape(stack_of(product))
        assert stack is not None, "computable asks for that"
        batch, row, col = stack.strides
        found = Leaf(leaf, view.offset, batch, *((col, row) if turned else (row, col)))
        if found not in leaves:
            leaves.append(found)
        return "leaf", leaves.index(found)

    for node in [*expression(low, anchor.inputs), anchor]:
        if node.op.kind is Kind.ELEMENTWISE:
            steps.append((node.op.name, tuple(operand(x) for x in node.inputs)))
            known[node] = "step", len(steps) - 1
    kinds = tuple({0: "uniform", 1: "unit"}.get(leaf.col, "strided") for leaf in leaves)
    return Epilogue(kinds, tuple(steps)), leaves
