"""Elementwise values in the shape in which they are summed up.

A long sum is made of the sums of parts (long_sums.py), so its loop has one axis more than its
operand. What is computed elementwise in that shape, such as the gradient beside the loss, gets the
axis too: then both can be one loop, and nothing goes through memory between them. Takes and gives a
Graph.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.graph import Graph
from ...ir.node import Node, at, intern
from ...ir.op import Kind
from ...ir.ops.movement import reshape
from .long_sums import in_two

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Fold:
    """One axis of a shape, counted from the last one, as two."""

    axis: int  # negative
    parts: int
    part: int

    def shape(self, shape: Shape) -> Shape:
        """That of an operand that is broadcast to the shape."""
        if len(shape) < -self.axis:
            return shape
        k = len(shape) + self.axis
        two = (1, 1) if shape[k] == 1 else (self.parts, self.part)
        return (*shape[:k], *two, *shape[k + 1 :])

    def dims(self, dims: tuple[int, ...], rank: int) -> tuple[int, ...]:
        """The axes of a reduction over the one that became two, and maybe others."""
        k = rank + self.axis
        return tuple(sorted({*(d + (d > k) for d in dims), k + 1}))


def folds_of(order: list[Node]) -> dict[Shape, Fold]:
    """The shapes that are folded: all that is reduced of them is cut in the same way."""
    folds: dict[Shape, set[Fold | None]] = {}
    for node in order:
        if node.op.kind is Kind.REDUCE:
            folds.setdefault(node.inputs[0].shape, set()).add(_fold(node))
        elif node.op.kind is Kind.CONTRACT:  # whose tiles are finished in its own shape
            folds.setdefault(node.shape, set()).add(None)
    return {s: f for s, (f, *more) in folds.items() if f is not None and not more}


def _fold(reduction: Node) -> Fold | None:
    shape, halves = reduction.inputs[0].shape, in_two(reduction)
    if halves is None or len(halves.shape) == len(shape) or halves.whole < shape[halves.axis]:
        return None
    parts, part = halves.shape[halves.axis : halves.axis + 2]
    return Fold(halves.axis - len(shape), parts, part)


def folded(graph: Graph) -> Graph:
    """The graph with these shapes folded. Outputs are views that have the shapes of before."""
    order = graph.order()
    folds = folds_of(order)
    if not folds:
        return graph
    new: dict[Node, Node] = {}
    inside: dict[Node, Node] = {}  # values of these shapes, folded

    def operand(x: Node, fold: Fold) -> Node:
        if x in inside and x.shape == whole:
            return inside[x]
        shape = fold.shape(x.shape)
        return new[x] if shape == x.shape else intern(reshape, (new[x],), {"shape": shape})

    for node in order:
        with at(node.site):
            op, params = node.op, node.params
            whole = node.inputs[0].shape if op.kind is Kind.REDUCE else node.shape
            fold = folds.get(whole)
            if fold is None or op.check is not None or op.kind not in _LOOPS:
                inputs = tuple(new[x] for x in node.inputs)
                new[node] = node if inputs == node.inputs else intern(op, inputs, params)
                continue
            if op.kind is Kind.REDUCE:
                params = params | {"dims": fold.dims(params["dims"], len(whole))}
                new[node] = intern(op, (operand(node.inputs[0], fold),), params)
                continue
            inside[node] = intern(op, tuple(operand(x, fold) for x in node.inputs), params)
            new[node] = intern(reshape, (inside[node],), {"shape": node.shape})
    return Graph(graph.inputs, tuple(new[y] for y in graph.outputs),
                 tuple(new[c] for c in graph.checks))


_LOOPS = (Kind.ELEMENTWISE, Kind.REDUCE)
