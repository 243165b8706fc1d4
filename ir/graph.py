"""A Graph is inputs and outputs over Nodes, and the walks over it that every pass needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .node import Node, at, intern


def postorder(
    outputs: Iterable[Node], stop: Callable[[Node], bool] = lambda _: False
) -> list[Node]:
    """Every Node that the outputs need, inputs before users; does not look behind a Node for which
    `stop` holds.
    """
    order: list[Node] = []
    seen: set[Node] = set()
    for root in outputs:
        stack = [(root, False)]
        while stack:
            node, ready = stack.pop()
            if ready:
                order.append(node)
            elif node not in seen:
                seen.add(node)
                stack.append((node, True))
                if not stop(node):
                    stack.extend((x, False) for x in reversed(node.inputs) if x not in seen)
    return order


def users(order: Iterable[Node]) -> dict[Node, list[Node]]:
    """Who reads each Node, once per operand."""
    out: dict[Node, list[Node]] = {}
    for node in order:
        out.setdefault(node, [])
        for x in node.inputs:
            out.setdefault(x, []).append(node)
    return out


@dataclass(frozen=True, eq=False)
class Graph:
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]

    def order(self) -> list[Node]:
        """Every Node that the outputs need, inputs before users; no dead code."""
        return postorder(self.outputs)

    def map(self, replace: Callable[[Node], Node]) -> Graph:
        """The same inputs, each output replaced."""
        return Graph(self.inputs, tuple(replace(y) for y in self.outputs))

    def substitute(self, values: dict[Node, Node]) -> Graph:
        """The outputs with the Nodes in `values` replaced wherever they occur."""
        memo = dict(values)
        for node in postorder(self.outputs, stop=values.__contains__):
            if node not in memo:
                new = tuple(memo[x] for x in node.inputs)
                with at(node.site):
                    memo[node] = node if new == node.inputs else intern(node.op, new, node.params)
        return Graph(self.inputs, tuple(memo[y] for y in self.outputs))
