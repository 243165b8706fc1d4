"""Simplification of loops and branches: fewer operands, carries and results.

Takes a Graph, and the function that simplifies a body. Unread results vanish, with the carries that
only they needed; a carry that stays what it was is a constant; numbers and what is handed over
twice move into the body. Loops without an iteration, or with one, are none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .graph import Graph, bodies_of, postorder, siblings_key
from .node import Node, at, constant, intern, is_constant
from .op import Kind
from .ops.loop import branch, loop
from .ops.movement import reshape

Simplify = Callable[[Graph], Graph]


def simple_loops(graph: Graph, simplify: Simplify) -> Graph:
    """The graph with its loops simplified; itself if there is nothing to do."""
    order = graph.order()
    if not any(node.op.kind is Kind.LOOP for node in order):
        return graph
    read = {x for node in order for x in node.inputs}.union(graph.outputs)
    wanted: dict[tuple[Any, ...], list[int]] = {}
    for node in order:
        if node.op.kind is Kind.LOOP and node in read:
            wanted.setdefault(siblings_key(node), []).append(node.params["result"])
    memo: dict[Node, Node] = {}
    loops: dict[tuple[Any, ...], dict[int, Node]] = {}
    for node in order:
        inputs = tuple(memo[x] for x in node.inputs)
        if node.op.kind is not Kind.LOOP:
            memo[node] = node if inputs == node.inputs else intern(node.op, inputs, node.params)
            continue
        key = siblings_key(node)
        if key not in loops:
            with at(node.site):
                results = wanted.get(key, [node.params["result"]])
                loops[key] = _Simpler(node, inputs, sorted(results), simplify).results()
        results_of = loops[key]  # a check whose result nobody reads is that of a sibling
        memo[node] = results_of.get(node.params["result"], next(iter(results_of.values())))
    new = graph.map(memo.__getitem__)
    same = new.outputs == graph.outputs and new.checks == graph.checks
    return graph if same else new


class _Simpler:
    """The siblings of one loop, or of one branch, of which the results `wanted` are read."""

    def __init__(self, node: Node, operands: tuple[Node, ...], wanted: list[int],
                 simplify: Simplify):
        self.op, self.params, self.wanted, self.simplify = node.op, node.params, wanted, simplify
        self.bodies = [self.simple(body) for body in bodies_of(node)]
        self.pred = operands[:1] if self.op is branch else ()
        self.operands = operands[len(self.pred) :]
        self.carried = self.params.get("carried", 0)
        self.sliced = self.params.get("sliced", 0)
        self.body = self.bodies[-1]
        self.fails = any(body.checks for body in self.bodies)

    def simple(self, body: Graph) -> Graph:
        new = self.simplify(body)
        return body if new.roots == body.roots and new.checks == body.checks else new

    def results(self) -> dict[int, Node]:
        """The wanted results; a chosen branch or a single iteration stands in the graph itself."""
        if self.op is branch and is_constant(self.pred[0]) and not self.fails:
            chosen = self.bodies[0 if self.pred[0].params["value"] else 1]
            return self.inlined(chosen, self.operands)
        if self.op is loop and self.params["length"] == 0:
            return {k: self.initial(k) for k in self.wanted}
        if self.op is loop and self.params["length"] == 1 and not self.fails:
            stop = self.carried + self.sliced
            operands = [reshape(x, shape=x.shape[1:]) if self.carried <= k < stop else x
                        for k, x in enumerate(self.operands)]
            return {k: y if k < self.carried else reshape(y, shape=(1, *y.shape))
                    for k, y in self.inlined(self.body, operands).items()}
        return self.pruned()

    def initial(self, k: int) -> Node:
        """A result of no iteration."""
        if k < self.carried:
            return self.operands[k]
        y = self.body.outputs[k]
        return constant(0, y.dtype, (0, *y.shape))

    def inlined(self, body: Graph, operands: Any) -> dict[int, Node]:
        new = body.substitute(dict(zip(body.inputs, operands, strict=True)))
        return {k: new.outputs[k] for k in self.wanted}

    def pruned(self) -> dict[int, Node]:
        kept, fixed, read = self.needs()
        carries = [k for k in range(self.carried) if k in kept]
        roles: dict[str, list[int]] = {"carry": carries, "sliced part": [], "constant": []}
        values: list[dict[Node, Node]] = [{} for _ in self.bodies]
        first: dict[tuple[str, Node], int] = {}
        for j, x in enumerate(self.operands):
            if j in kept and j < self.carried or j not in read:
                continue
            role = "sliced part" if self.carried <= j < self.carried + self.sliced else "constant"
            twin = first.setdefault((role, x), j)
            if twin == j and not is_constant(x):
                roles[role].append(j)
            for body, new in zip(self.bodies, values, strict=True):
                like = body.inputs[j]
                if is_constant(x):
                    new[like] = constant(x.params["value"], x.dtype, like.shape)
                elif twin != j:
                    new[like] = body.inputs[twin]
        outputs = [*carries, *(k for k in range(self.carried, len(self.body.outputs)) if k in kept)]
        places = [j for role in roles.values() for j in role]
        params = dict(self.params)
        for name, body, new in zip(self.op.bodies, self.bodies, values, strict=True):
            chosen = [0] if name == "cond" else outputs
            params[name] = self.rebuilt(params[name], body, new, places, chosen)
        if self.op is not branch:
            params["carried"] = len(carries)
        if self.op is loop:
            params["sliced"] = len(roles["sliced part"])
        operands = (*self.pred, *(self.operands[j] for j in places))
        return {
            k: self.operands[k] if k in fixed
            else intern(self.op, operands, {**params, "result": outputs.index(k)})
            for k in self.wanted
        }

    def rebuilt(self, original: Graph, body: Graph, values: dict[Node, Node], places: list[int],
                outputs: list[int]) -> Graph:
        """A body of these inputs and outputs; the original if it is the same."""
        new = Graph(body.inputs, tuple(body.outputs[k] for k in outputs), body.checks)
        new = self.simplify(new.substitute(values)) if values else new
        new = Graph(tuple(body.inputs[j] for j in places), new.outputs, new.checks)
        same = (new.inputs, new.roots, new.checks) == (
            original.inputs, original.roots, original.checks)
        return original if same else new

    def needs(self) -> tuple[set[int], set[int], set[int]]:
        """The outputs that are needed; the carries among the wanted that stay what they were; the
        operands that are read.
        """
        unchanged = {k for k in range(self.carried)
                     if self.body.outputs[k] is self.body.inputs[k] and not self.fails}
        kept = set(self.wanted) - unchanged
        while True:
            read = self.read(kept)
            more = {k for k in read if k < self.carried} - unchanged - kept
            if not more:
                break
            kept |= more
        return kept, unchanged.intersection(self.wanted), read

    def read(self, outputs: set[int]) -> set[int]:
        """The numbers of the operands that these outputs depend on."""
        read: set[int] = set()
        for name, body in zip(self.op.bodies, self.bodies, strict=True):
            chosen = body.outputs if name == "cond" else [body.outputs[k] for k in outputs]
            reached = set(postorder([*chosen, *body.checks]))
            read |= {j for j, x in enumerate(body.inputs) if x in reached}
        return read
