"""A graph as a sequence of symbols: its values in the order in which the user's program made them.

Movement that strides can express is no value of its own here, but a part of how an operand is read:
an operand is a value and the movement to be made of it. What depends on no input is a constant.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import attrgetter, or_
from typing import Any, NamedTuple

import numpy as np

from ..graph import Graph
from ..node import Node, frozen
from ..op import Lowering
from ..ops.movement import expand, pad, reshape
from ..ops.source import input as input_

Movement = tuple[Node, ...]  # nodes of the graph, innermost first


class Operand(NamedTuple):
    """A value seen through a movement, by its number; 0 is none."""

    base: Node
    movement: int


def _alike(node: Node) -> Any:
    """The parameters that iterations share: not how much is padded before and after."""
    if node.op is pad:
        return tuple(gap for _, _, gap in node.params["pads"])
    return frozen(node.params) if node.params else ()


def _dependence(order: list[Node], inputs: Iterable[Node]) -> dict[Node, tuple[int, int]]:
    """On how many of the inputs a node depends, and a number for the set of them."""
    bits = {x: 1 << k for k, x in enumerate(inputs)}
    if not bits:
        return {}
    masks: dict[Node, int] = {}
    for node in order:
        masks[node] = reduce(or_, map(masks.__getitem__, node.inputs), bits.get(node, 0))
    return {node: (mask.bit_count(), mask) for node, mask in masks.items()}


class Sequence:
    """`nodes` are the values; `place` has the place of each. Arrays have an entry for each operand
    of each value, from `first[place]`: `bases` is the place of the value that it reads, or a
    negative number for an input or constant, `movements` what it makes of that. `readers` counts
    the operands that read each value, and outputs.
    """

    def __init__(self, graph: Graph, order: list[Node], apart: Iterable[Node] = ()):
        """`order` has the nodes, inputs before users. What depends on some of the inputs `apart`
        comes after what does not, and its symbols are others.
        """
        self._numbers: dict[Any, int] = {(): 0}
        self.operands: dict[Node, Operand] = {}  # what a node is, as an operand
        self.constants: set[Node] = set()
        self.nodes: list[Node] = []
        self.place: dict[Node, int] = {}
        symbols: list[int] = []
        first, bases, movements = [0], list[int](), list[int]()
        depends = _dependence(order, apart)
        ranked = sorted(order, key=attrgetter("serial"))
        if depends:
            ranked.sort(key=depends.__getitem__)
        for node in ranked:
            if self._is_read(node):
                continue
            self.place[node] = len(self.nodes)
            self.nodes.append(node)
            signature = [node.op, _alike(node), node.shape, node.dtype, depends.get(node)]
            for x in node.inputs:
                base, movement = self.operands[x]
                bases.append(self._code(base))
                movements.append(movement)
                signature += (x.shape, x.dtype)
            first.append(len(bases))
            symbols.append(self._number(tuple(signature)))
            self.operands[node] = Operand(node, 0)
        self.symbols = np.array(symbols, np.int64)
        self.first = np.array(first, np.int64)
        self.bases = np.array(bases, np.int64)
        self.movements = np.array(movements, np.int64)
        results = [self.place.get(self.operands[y].base, -1) for y in graph.roots]
        read = np.concatenate([self.bases, np.array(results, np.int64)])
        self.readers = np.bincount(read[read >= 0], minlength=len(symbols))

    def _is_read(self, node: Node) -> bool:
        """Whether a node is no value of the sequence but an operand: then what it is is noted."""
        if node.op is input_:
            self.operands[node] = Operand(node, 0)
        elif self.constants.issuperset(node.inputs):
            self.constants.add(node)
            self.operands[node] = Operand(node, 0)
        elif node.op.lowering is Lowering.VIEW:
            x = node.inputs[0]
            base, movement = self.operands[x]
            if node.shape != x.shape or node.op not in (reshape, expand):  # which else move nothing
                movement = self._number((movement, node.op, frozen(node.params)))
            self.operands[node] = Operand(base, movement)
        else:
            return False
        return True

    def _number(self, key: Any) -> int:
        return self._numbers.setdefault(key, len(self._numbers))

    def _code(self, base: Node) -> int:
        place = self.place.get(base)
        return -1 - self._number(base) if place is None else place

    def movement(self, node: Node) -> Movement:
        """From what an operand reads to what it is."""
        base, chain = self.operands[node].base, list[Node]()
        while node is not base:
            x = node.inputs[0]
            if self.operands[x].movement != self.operands[node].movement:
                chain.append(node)
            node = x
        return tuple(reversed(chain))
