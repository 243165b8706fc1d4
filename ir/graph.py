"""A Graph is inputs, outputs and checks over Nodes, and the walks over it that every pass needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .cached import cached_property
from .node import Node, at, frozen, intern
from .ops.elementwise import may_fail


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


def siblings_key(node: Node) -> tuple[Any, ...]:
    """Equal for the results of one loop, or of one branch."""
    params = {k: v for k, v in node.params.items() if k != "result"}
    return node.op, node.inputs, frozen(params)


def bodies_of(node: Node) -> tuple[Graph, ...]:
    """The graphs that the Node runs."""
    return tuple(node.params[name] for name in node.op.bodies)


@dataclass(frozen=True, eq=False)
class Graph:
    """`checks` may end the program with an error, and do so whether or not an output needs them."""

    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    checks: tuple[Node, ...] = ()

    @property
    def roots(self) -> tuple[Node, ...]:
        """What is to be computed."""
        return self.outputs + self.checks

    def order(self) -> list[Node]:
        """Every Node that the roots need, inputs before users; no dead code."""
        return list(self._order)

    @cached_property
    def _order(self) -> tuple[Node, ...]:
        return tuple(postorder(self.roots))

    def map(self, replace: Callable[[Node], Node]) -> Graph:
        """The same inputs, each root replaced; a check that has become no check is none."""
        checks = dict.fromkeys(replace(c) for c in self.checks)
        return Graph(
            self.inputs, tuple(replace(y) for y in self.outputs),
            tuple(c for c in checks if may_fail(c.op, c.params)),
        )

    def substitute(self, values: dict[Node, Node]) -> Graph:
        """The graph with the Nodes in `values` replaced wherever they occur."""
        memo = dict(values)
        for node in postorder(self.roots, stop=values.__contains__):
            if node not in memo:
                new = tuple(memo[x] for x in node.inputs)
                with at(node.site):
                    memo[node] = node if new == node.inputs else intern(node.op, new, node.params)
        return self.map(memo.__getitem__)
