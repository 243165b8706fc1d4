"""What a matrix product does with its numbers before they leave the registers: a bias, a relu, the
mask of a gradient, the update of a weight; and sums down its columns, with what follows from them.

`finish_products` merges the products of a Fusion with the anchors that read them, `describe` says
what their kernels do then; templates/finish.py writes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush

from ...ir.dtype import DType, float64
from ...ir.node import Node, is_constant
from ...ir.op import Kind, OpDef
from ...ir.ops.elementwise import cast, mul
from ...ir.ops.reduce import sum as sum_
from ...ir.ops.source import iota
from ...ir.strides import View
from ..schedule.fuse import Fusion, expression, operands
from ..schedule.groups import Group
from ..schedule.loop_space import Space, seen, space_of
from ..schedule.lower import Lowered
from ..text import exact_factor
from .emitter import WORDS
from .tile import turned

CONSTANTS = (0.0, 1.0, -1.0, 0.5, 2.0)  # constants that are part of a kernel; others are arguments
MOST_LEAVES = 6  # buffers that an epilogue reads

Operand = tuple[str, int | float]  # ('sum', i), ('leaf', i), ('step', i) or ('constant', value)


@dataclass(frozen=True)
class Stage:
    """What is computed from numbers that the kernel has: `steps` are (operation, operands),
    `outputs` the operands that are stored.

    `kinds` say how each leaf lies along a row: its numbers side by side ('unit'), one for all
    ('uniform'), neither ('strided'); one float64 for everything ('double'), or a 'number' among the
    arguments.
    """

    kinds: tuple[str, ...] = ()
    steps: tuple[tuple[OpDef, tuple[Operand, ...]], ...] = ()
    outputs: tuple[Operand, ...] = (("sum", 0),)

    def __str__(self) -> str:
        steps = "; ".join(f"{op}({', '.join(map(word, xs))})" for op, xs in self.steps)
        stored = ", ".join(map(word, self.outputs))
        return f"{'/'.join(self.kinds)}: {steps} -> {stored}" if self.steps else f"-> {stored}"


def word(x: Operand) -> str:
    return str(x[1]) if x[0] == "constant" else f"{x[0]}{x[1]}"


@dataclass(frozen=True)
class Epilogue:
    """`points` is done with each number of the product; `sums` are operands of it that are summed
    down the columns, and `columns` what is done with those.
    """

    points: Stage = Stage()
    sums: tuple[Operand, ...] = ()
    columns: Stage = Stage(outputs=())

    def __str__(self) -> str:
        if not self.sums:
            return str(self.points)
        return f"{self.points}, sums of {', '.join(map(word, self.sums))}, {self.columns}"


@dataclass(frozen=True)
class Place:
    """A buffer, of which element (row i, column j) of matrix b stands at offset + b * batch + i *
    row + j * col; or a number, which is everywhere.
    """

    node: Node | float
    offset: int = 0
    batch: int = 0
    row: int = 0
    col: int = 0
    double: bool = False

    @property
    def kind(self) -> str:
        if not isinstance(self.node, Node):
            return "number"
        return "double" if self.double else {0: "uniform", 1: "unit"}.get(self.col, "strided")

    def turned(self) -> Place:
        return replace(self, row=self.col, col=self.row)


def stack_of(product: Node) -> tuple[int, int, int]:
    """The shape of a product with all axes of its batch as one."""
    *batch, m, n = product.shape
    return math.prod(batch), m, n


# ---- which anchors a product takes
def finish_products(
    low: Lowered, fusion: Fusion, turns: Callable[[Node], bool] = turned,
    words: Container[OpDef] = WORDS,
) -> None:
    """Let each product compute the anchors that its kernel has `words` for. `turns` says which are
    computed transposed.
    """
    for group in [g for g in fusion.groups if g.product]:
        _Taking(low, fusion, group, turns, words).run()


@dataclass
class _Taking:
    """One product, taking one anchor after the other."""

    low: Lowered
    fusion: Fusion
    group: Group
    turns: Callable[[Node], bool]
    words: Container[OpDef]
    sums: set[Node] = field(default_factory=set)

    def run(self) -> None:
        fusion, product = self.fusion, self.group.anchors[0]
        self.stack = stack_of(product)
        stored = {product} & set(self.low.outputs)
        waiting = [fusion.rank[a] for a in self.readers(product)]  # sorted, so a heap
        last = -1
        while waiting:
            rank = heappop(waiting)
            if rank == last:
                continue
            anchor, last = fusion.anchors[rank], rank
            mine, home = fusion.facts[anchor].reads & set(self.group.anchors), fusion.home[anchor]
            if home.opaque or len(home.anchors) > 1:
                continue
            # of what must be stored anyway, any reader may be taken; of the rest, the only one
            if not all(x in stored or len(self.readers(x)) == 1 for x in mine):
                continue
            if not self.takes(anchor, mine) or fusion.precedence.between(self.group, home):
                continue
            fusion.merge(self.group, home, self.group.space)
            fusion.notes.append(f"{anchor.op.name} is computed by the product it reads")
            for a in self.readers(anchor):
                heappush(waiting, fusion.rank[a])
            if anchor.op is sum_:
                self.sums.add(anchor)
                self.group.space = Space(space_of(product).extents, (0,))
            if anchor in self.low.outputs or any(
                fusion.home[r].opaque for r in self.readers(anchor)
            ):
                stored.add(anchor)

    def readers(self, x: Node) -> list[Node]:
        return self.fusion.readers.get(x, [])

    def takes(self, anchor: Node, mine: set[Node]) -> bool:
        product = self.group.anchors[0]
        if anchor.op is sum_:
            flat = len(product.shape) == 2 and 1 not in product.shape
            down = anchor.inputs[0].shape == product.shape and anchor.params["dims"] == (0,)
            return flat and down and not self.turns(product) and self.computes(anchor, self.stack)
        if anchor.op.kind is not Kind.ELEMENTWISE:
            return False
        if mine <= self.sums:
            return anchor.size == self.stack[2] and self.computes(anchor, (1, 1, self.stack[2]))
        if mine & self.sums:
            return False
        return anchor.size == product.size and self.computes(anchor, self.stack)

    def computes(self, anchor: Node, stack: tuple[int, int, int]) -> bool:
        """Whether there are words for all of the anchor's expression, and its leaves lie as
        matrices of the stack do.
        """
        dtype, facts = self.group.anchors[0].dtype, self.fusion.facts[anchor]
        if len(facts.reads.difference(self.group.anchors)) > MOST_LEAVES:
            return False
        steps = [n for n in (*facts.inlined, anchor) if n.op.kind is Kind.ELEMENTWISE]
        if anchor.dtype is not dtype or not all(
            s.op in self.words or is_scalar(self.low, s, dtype) for s in steps
        ):
            return False
        scalars = {s.inputs[0] for s in steps if is_scalar(self.low, s, dtype)}
        found: set[tuple[Node, int, tuple[int, ...]]] = set()
        for x, leaf in facts.operands:
            if x in scalars:
                found.add((leaf, 0, ()))
                continue
            if leaf.dtype is not dtype or leaf.op is iota:
                return False
            if is_constant(leaf):
                continue
            view = seen(self.low, x, anchor, space_of(anchor))[1].reshape(stack)
            if view is None or leaf in self.group.anchors and not view.is_identity:
                return False
            if leaf not in self.group.anchors:
                found.add((leaf, view.offset, view.strides))
        return len(found) <= MOST_LEAVES


def steps_of(low: Lowered, anchor: Node) -> list[Node]:
    """The elementwise operations that lead to an anchor's value, or to what it sums."""
    nodes = [*expression(low, anchor.inputs), anchor]
    return [n for n in nodes if n.op.kind is Kind.ELEMENTWISE]


def is_scalar(low: Lowered, step: Node, dtype: DType) -> bool:
    """Whether a step makes one float64 a number of the product's type: a learning rate, say."""
    if step.op is not cast or step.dtype is not dtype or step.size != 1:
        return False
    leaf = low.resolve(step.inputs[0])[0]
    return low.is_stored(leaf) and leaf.dtype is float64


# ---- what its kernel does
def describe(
    low: Lowered, anchors: list[Node], stored: set[Node], place: Mapping[Node, Node], turn: bool
) -> tuple[Epilogue, list[Place]]:
    """The epilogue of the product anchors[0], and the places that it reads and writes: leaves and
    outputs of the points, then those of the columns. Of the transposed product if `turn`; what is
    in `place` is written there.
    """
    product = anchors[0]
    points = _Writing(low, stack_of(product), turn, {product: ("sum", 0)})
    columns = _Writing(low, (1, 1, product.shape[-1]), False, {})
    sums: list[Operand] = []
    for anchor in anchors:
        if anchor.op is sum_:
            columns.known[anchor] = "sum", len(sums)
            sums.append(points.computed(anchor))
        late = anchor.op is sum_ or any(x in columns.known for _, x in operands(low, anchor))
        stage = columns if late else points
        if anchor.op.kind is Kind.ELEMENTWISE:
            stage.computed(anchor)
        if anchor in stored:
            stage.store(anchor, place.get(anchor, anchor))
    places = [*points.leaves, *points.outputs, *columns.leaves, *columns.outputs]
    return Epilogue(points.stage(), tuple(sums), columns.stage()), places


@dataclass
class _Writing:
    """A Stage, and the places that it needs."""

    low: Lowered
    stack: tuple[int, int, int]
    turn: bool
    known: dict[Node, Operand]
    leaves: list[Place] = field(default_factory=list)
    steps: list[tuple[OpDef, tuple[Operand, ...]]] = field(default_factory=list)
    stored: list[Operand] = field(default_factory=list)
    outputs: list[Place] = field(default_factory=list)

    def stage(self) -> Stage:
        kinds = tuple(x.kind for x in self.leaves)
        return Stage(kinds, tuple(self.steps), tuple(self.stored))

    def computed(self, anchor: Node) -> Operand:
        """The value of an elementwise anchor, or what a sum adds up."""
        for node in steps_of(self.low, anchor):
            if node in self.known:
                continue
            if node.op is cast:
                scalar, view = self.low.resolve(node.inputs[0])
                self.known[node] = self.leaf(Place(scalar, view.offset, double=True))
            else:
                self.steps.append(self.step(node, anchor))
                self.known[node] = "step", len(self.steps) - 1
        return self.operand(anchor.inputs[0] if anchor.op is sum_ else anchor, anchor)

    def step(self, node: Node, anchor: Node) -> tuple[OpDef, tuple[Operand, ...]]:
        factor = exact_factor(node)
        if factor is not None:
            return mul, (self.operand(node.inputs[0], anchor), self.number(factor))
        return node.op, tuple(self.operand(x, anchor) for x in node.inputs)

    def number(self, value: float) -> Operand:
        return ("constant", value) if value in CONSTANTS else self.leaf(Place(value))

    def operand(self, x: Node, anchor: Node) -> Operand:
        if x in self.known:
            return self.known[x]
        leaf, view = seen(self.low, x, anchor, space_of(anchor))
        if leaf in self.known:
            return self.known[leaf]
        if is_constant(leaf):
            return self.number(float(leaf.params["value"]))
        return self.leaf(self.lying(leaf, view))

    def lying(self, buffer: Node, view: View) -> Place:
        stack = view.reshape(self.stack)
        assert stack is not None, "_Taking.computes and place_writes ask for that"
        batch, row, col = stack.strides
        place = Place(buffer, stack.offset, batch, row, col)
        return place.turned() if self.turn else place

    def leaf(self, place: Place) -> Operand:
        if place not in self.leaves:
            self.leaves.append(place)
        return "leaf", self.leaves.index(place)

    def store(self, anchor: Node, buffer: Node) -> None:
        view = self.low.layouts[buffer] if buffer is not anchor else View.of(self.stack)
        self.stored.append(self.known[anchor])
        self.outputs.append(self.lying(buffer, view))
