"""What the values of a loop's body depend on: constants, slices, carries; and which of them are
better computed before the loop.
"""

from __future__ import annotations

from collections.abc import Iterable

from .graph import Graph, postorder
from .node import Node, intern
from .op import DIVIDE, Kind, Lowering
from .ops.elementwise import may_fail

CONSTANT, SLICE, CARRY = range(3)  # what a value depends on, at most


def _costs(node: Node) -> bool:
    """Whether reading a value from memory is cheaper than to compute it again."""
    if may_fail(node.op, node.params) or node.op.kind is Kind.SOURCE:
        return False
    if node.op.lowering is Lowering.EXPRESSION:
        return node.op.cost >= DIVIDE and not node.op.draws
    return node.op.lowering is not Lowering.VIEW


class Body:
    """A body, and what its values depend on. Of what depends on constants alone, `outside` has the
    values outside of the loop.
    """

    def __init__(self, body: Graph, levels: dict[Node, int], constants: dict[Node, Node]):
        self.body, self.levels, self.outside = body, levels, constants
        self.levels |= dict.fromkeys(constants, CONSTANT)
        for n in body.order():
            self.level(n)

    def level(self, node: Node) -> int:
        if node not in self.levels:
            for n in postorder([node], stop=self.levels.__contains__):
                if n not in self.levels:
                    self.levels[n] = max((self.levels[x] for x in n.inputs), default=CONSTANT)
        return self.levels[node]

    def out(self, node: Node) -> Node:
        """A value of constants, outside of the loop."""
        for n in postorder([node], stop=self.outside.__contains__):
            if n not in self.outside:
                inputs = tuple(self.outside[x] for x in n.inputs)
                self.outside[n] = intern(n.op, inputs, n.params) if inputs else n
        return self.outside[node]

    def ahead(self, node: Node) -> Node | None:
        """What the value is before the loop, if it is to be computed there."""
        return self.out(node) if self.level(node) == CONSTANT and _costs(node) else None

    def before(self, roots: Iterable[Node]) -> dict[Node, Node]:
        """Values under the roots that are computed before the loop, and what they are there."""
        early: dict[Node, Node] = {}
        seen: set[Node] = set()
        waiting = list(roots)
        while waiting:
            node = waiting.pop()
            if node in seen or node.op.kind is Kind.SOURCE:
                continue
            seen.add(node)
            if (value := self.ahead(node)) is not None:
                early[node] = value
            else:
                waiting.extend(node.inputs)
        return early
