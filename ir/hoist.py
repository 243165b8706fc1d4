"""Work that loops need not do one iteration at a time.

What depends on constants of a loop is computed before it. A product of slices, such as `x_t @ W`,
is one product over all iterations before the loop; a product that only gives rows of a result is
one after it. A carry that is only added to is no carry: the gradient of a weight, a sum of products
`a_t' b_t`, is one product of all `a_t` and `b_t`, which are stacked.

Takes a Graph and gives a Graph. Sums may be taken in another order; everything else is as it was.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

from .body_levels import CARRY, CONSTANT, SLICE, Body
from .graph import Graph, postorder, siblings_key, users
from .node import Node, at, input_node, intern
from .op import Kind, Lowering
from .ops.contract import dot, transpose
from .ops.elementwise import add, may_fail
from .ops.loop import loop, loop_while
from .ops.movement import expand, flip, permute, reshape, slice as slice_
from .ops.reduce import sum as sum_

ROOM = 1 << 25  # bytes of stacks that a loop may get, or as many as it has
# Products of so many rows are fast one by one, and need no stacks (a neural ODE of 60 steps and 64
# examples: 405 us, with stacks 450).
DEEP = 64


class Hoisted(NamedTuple):
    """The results of a loop by number, and one that stands for its checks, if there is one."""

    results: dict[int, Node]
    loop: Node | None


def hoist(graph: Graph) -> Graph:
    """The graph with less work in its loops; itself if there is nothing to do."""
    order = graph.order()
    wanted: dict[Hashable, list[int]] = {}
    for node in order:
        if node.op in (loop, loop_while):
            wanted.setdefault(siblings_key(node), []).append(node.params["result"])
    if not wanted:
        return graph
    memo: dict[Node, Node] = {}
    done: dict[Hashable, Hoisted | None] = {}
    for node in order:
        inputs = tuple(memo[x] for x in node.inputs)
        memo[node] = node if inputs == node.inputs else intern(node.op, inputs, node.params)
        key = siblings_key(node) if node.op in (loop, loop_while) else None
        if key is None:
            continue
        if key not in done:
            with at(node.site):
                hoister = _Hoister(node, inputs) if node.op is loop else _While(node, inputs)
                done[key] = hoister.hoisted(wanted[key])
        if (hoisted := done[key]) is not None:
            memo[node] = hoisted.results[node.params["result"]]
    checks = dict.fromkeys(_check(c, memo, done) for c in graph.checks)
    new = Graph(graph.inputs, tuple(memo[y] for y in graph.outputs), tuple(checks))
    return graph if (new.outputs, new.checks) == (graph.outputs, graph.checks) else new


def _check(check: Node, memo: dict[Node, Node], done: dict[Hashable, Hoisted | None]) -> Node:
    hoisted = done.get(siblings_key(check)) if check.op.bodies else None
    return memo[check] if hoisted is None or hoisted.loop is None else hoisted.loop


class _While:
    """A loop of an unknown number of iterations, of which only constants are taken out."""

    def __init__(self, node: Node, operands: tuple[Node, ...]):
        self.params, self.operands = node.params, operands

    def hoisted(self, wanted: list[int]) -> Hoisted | None:
        graphs: list[Graph] = [self.params["cond"], self.params["body"]]
        carried: int = self.params["carried"]
        early = []
        for graph in graphs:
            carries, constants = graph.inputs[:carried], graph.inputs[carried:]
            outside = dict(zip(constants, self.operands[carried:], strict=True))
            early.append(Body(graph, dict.fromkeys(carries, CARRY), outside).before(graph.roots))
        before = early[0] | early[1]
        if not before:
            return None
        operands = (*self.operands, *before.values())
        names, new = ("cond", "body"), []
        for graph, own in zip(graphs, early, strict=True):
            inputs = {n: input_node(n.shape, n.dtype) for n in before}
            changed = graph.substitute({n: inputs[n] for n in own})
            new.append(Graph((*graph.inputs, *inputs.values()), changed.outputs, changed.checks))
        params = {**self.params, **dict(zip(names, new, strict=True))}
        results = {k: intern(loop_while, operands, {**params, "result": k}) for k in wanted}
        return Hoisted(results, results[wanted[0]])


class _Hoister(Body):
    """A loop of known length, whose operands are given; names of its parts are those of the
    primitive.
    """

    def __init__(self, node: Node, operands: tuple[Node, ...]):
        p = self.params = node.params
        self.carried: int = p["carried"]
        self.sliced: int = p["sliced"]
        self.length: int = p["length"]
        self.operands = operands
        body: Graph = p["body"]
        inputs, stop = body.inputs, self.carried + self.sliced
        self.slices = dict(zip(inputs[self.carried : stop], operands[self.carried : stop],
                               strict=True))
        levels = dict.fromkeys(inputs[: self.carried], CARRY) | dict.fromkeys(self.slices, SLICE)
        super().__init__(body, levels, dict(zip(inputs[stop:], operands[stop:], strict=True)))
        self.users = users(body.order())
        self.lifted: dict[Node, Node | None] = {}
        self.stacks: dict[Node, Node] = {}  # values of iterations, and what stands for their stack
        rows = body.outputs[self.carried :]
        self.paid = {*self.slices, *rows}  # values whose stacks there are anyway
        self.room = max(ROOM, sum(map(self.nbytes, self.paid)))

    def nbytes(self, row: Node) -> int:
        """The bytes of a stack."""
        return self.length * row.size * row.dtype.itemsize

    def affordable(self, *values: Node) -> bool:
        """Whether there is room for the stacks of these values, and of the products that they are
        made of. A loop may be there to save memory.
        """
        need: dict[Node, int] = {}
        for value in values:
            while value.op.lowering is Lowering.VIEW and value not in self.stacks:
                value = value.inputs[0]
            if value in self.stacks:
                continue
            for n in postorder([value], stop=lambda n: not self.inside(n)):
                stacked = self.level(n) != CONSTANT and (n is value or n.op is dot)
                if stacked and n not in self.paid:
                    need[n] = self.nbytes(n)
        if sum(need.values()) > self.room:
            return False
        self.room -= sum(need.values())
        self.paid |= need.keys()
        return True

    # ---- before the loop
    def lift(self, node: Node) -> Node | None:
        """A value of slices and constants for all iterations at once, along a new first axis; None
        where that is not known.
        """
        for n in postorder([node], stop=lambda n: n in self.lifted or not self.inside(n)):
            if n not in self.lifted:
                self.lifted[n] = self._lift(n)
        return self.lifted[node]

    def inside(self, node: Node) -> bool:
        return self.level(node) == SLICE and node not in self.slices

    def _lift(self, node: Node) -> Node | None:
        if self.level(node) == CONSTANT:
            y = self.out(node)
            row = reshape(y, shape=(1, *y.shape))
            return expand(row, shape=(self.length, *y.shape))
        if node in self.slices:
            return self.slices[node]
        if self.level(node) == CARRY or may_fail(node.op, node.params) or node.op.draws:
            return None
        if node.op.kind is Kind.ELEMENTWISE:
            return self._lift_elementwise(node)
        rows = [x for x in (self.lifted[v] for v in node.inputs) if x is not None]
        if len(rows) < len(node.inputs):
            return None
        if node.op is dot:
            return self._product(rows[0], *node.inputs) if self._flat(node) else dot(*rows)
        return self.moved(node, rows[0])

    def _lift_elementwise(self, node: Node) -> Node | None:
        operands = []
        for x in node.inputs:
            if self.level(x) == CONSTANT:
                operands.append(self.out(x))
                continue
            rows = self.lifted[x]
            if rows is None:
                return None
            wide = (self.length, *(1,) * (node.ndim - x.ndim), *x.shape)
            operands.append(rows if rows.shape == wide else reshape(rows, shape=wide))
        return intern(node.op, tuple(operands), node.params)

    def moved(self, node: Node, rows: Node) -> Node | None:
        """A movement or a sum, of all iterations at once."""
        p, n = node.params, self.length
        if node.op is reshape:
            return reshape(rows, shape=(n, *node.shape))
        if node.op is permute:
            return permute(rows, axes=(0, *(a + 1 for a in p["axes"])))
        if node.op is expand:
            wide = (n, *(1,) * (node.ndim - rows.ndim + 1), *rows.shape[1:])
            return expand(reshape(rows, shape=wide), shape=(n, *node.shape))
        if node.op is slice_:
            return slice_(rows, slices=((0, n, 1), *p["slices"]))
        if node.op is flip:
            return flip(rows, axes=tuple(a + 1 for a in p["axes"]))
        if node.op is sum_:
            return sum_(rows, dims=tuple(d + 1 for d in p["dims"]))
        return None

    def _flat(self, product: Node) -> bool:
        """Whether it is a matrix times one that all iterations share."""
        return product.ndim == 2 and self.level(product.inputs[1]) == CONSTANT

    def _product(self, rows: Node, a: Node, b: Node) -> Node:
        """All `a` times `b`, a constant, as one product."""
        (m, k), n = a.shape, b.shape[1]
        flat = dot(reshape(rows, shape=(self.length * m, k)), self.out(b))
        return reshape(flat, shape=(self.length, m, n))

    def ahead(self, node: Node) -> Node | None:
        if self.level(node) == SLICE and node.op is dot:
            return self.lift(node) if self.affordable(node) else None
        return super().ahead(node)

    # ---- after the loop
    def stack(self, node: Node) -> Node:
        """The values of all iterations, along a new first axis."""
        if node not in self.stacks:
            if self.level(node) != CARRY and (rows := self.lift(node)) is not None:
                return rows
            self.keep(node)
        return self.stacks[node]

    def keep(self, node: Node) -> None:
        """Let the loop stack a value."""
        self.stacks.setdefault(node, input_node((self.length, *node.shape), node.dtype))

    def is_stacked(self, node: Node) -> bool:
        return node in self.stacks or (
            self.level(node) == SLICE and self.lift(node) is not None)

    def readers(self, node: Node) -> int:
        """How often a value of the body is used, as a result or a check too."""
        return len(self.users[node]) + self.body.roots.count(node)

    def rows(self, node: Node) -> Node | None:
        """What is stacked, as products of other stacks; None if there is no product to take out
        that nothing else reads.
        """
        if self.readers(node) > 1:
            return None
        if node.op is dot and self._flat(node) and self.affordable(node.inputs[0]):
            return self._product(self.stack(node.inputs[0]), *node.inputs)
        if node.op.lowering is Lowering.VIEW:
            rows = self.rows(node.inputs[0])
            return None if rows is None else self.moved(node, rows)
        return None

    def total(self, node: Node) -> Node | None:
        """The sum of a value over all iterations, from what is stacked; None where it is better to
        add it up.
        """
        if self.is_stacked(node):
            return sum_(self.stack(node), dims=(0,)) if self.affordable(node) else None
        if self.readers(node) > 1:
            return None
        if node.op is dot and node.ndim == 2:
            a, b = node.inputs
            turned = a.inputs[0] if a.op is permute else transpose(a)
            (m, k), n = a.shape, b.shape[1]
            if k >= DEEP or not self.affordable(turned, b):
                return None
            left = reshape(self.stack(turned), shape=(self.length * k, m))
            return dot(transpose(left), reshape(self.stack(b), shape=(self.length * k, n)))
        if node.op in (permute, reshape):
            below = self.total(node.inputs[0])
            return None if below is None else intern(node.op, (below,), node.params)
        if node.op is sum_ and self.is_stacked(x := node.inputs[0]) and self.affordable(x):
            dims = (0, *(d + 1 for d in node.params["dims"]))
            return sum_(self.stack(node.inputs[0]), dims=dims)
        return None

    def terms(self, k: int) -> list[Node] | None:
        """What is added to carry k in each iteration; None if it is used for anything else."""
        carry, y = self.body.inputs[k], self.body.outputs[k]
        if y.dtype.kind != "float" or y.dtype.is_half:
            return None
        terms: list[Node] = []
        waiting = [y]
        while waiting:
            node = waiting.pop()
            if node.op is add and self.readers(node) == 1 and node.shape == y.shape:
                waiting.extend(node.inputs)
            else:
                terms.append(node)
        others = [t for t in terms if t is not carry]
        if len(others) != len(terms) - 1 or self.readers(carry) != 1:
            return None
        return others if all(t.shape == y.shape for t in others) else None

    # ---- together
    def hoisted(self, wanted: list[int]) -> Hoisted | None:
        """The wanted results; None if all is well as it is."""
        outputs = self.body.outputs
        results: dict[int, Node] = {}
        for k in range(self.carried, len(outputs)):
            y = outputs[k]
            if y in self.body.checks:  # it stays in the loop anyway
                self.keep(y)
                continue
            lifts = self.level(y) != CARRY and self.affordable(y)
            rows = self.lift(y) if lifts else self.rows(y)
            if rows is None:
                self.keep(y)
            else:
                results[k] = rows
        totals = self.totals()
        results |= totals
        carries = [k for k in range(self.carried) if k not in totals]
        if self.body.checks and not (carries or self.stacks):
            self.keep(self.body.checks[0])  # the loop stays for it
        roots = [*(outputs[k] for k in carries), *self.stacks, *self.body.checks]
        before = self.before(roots)
        if not results and not before:
            return None
        return self.rebuilt(wanted, results, carries, before)

    def totals(self) -> dict[int, Node]:
        """The carries that are only added to, as sums over what is stacked: products first, for
        others are only worth it if they find their stacks made.
        """
        terms = {k: own for k in range(self.carried) if (own := self.terms(k))}
        results: dict[int, Node] = {}
        for products in (True, False):
            for k, added in terms.items():
                if k in results or products != any(self.is_product(t) for t in added):
                    continue
                before = dict(self.stacks)
                sums = [self.total(t) for t in added]
                if None in sums:
                    self.stacks = before
                    continue
                total = self.operands[k]
                for one in sums:
                    total = intern(add, (total, one), {})  # type: ignore[arg-type]
                results[k] = total
        return results

    def is_product(self, node: Node) -> bool:
        while node.op in (permute, reshape):
            node = node.inputs[0]
        return node.op is dot

    def rebuilt(
        self, wanted: list[int], results: dict[int, Node], carries: list[int],
        before: dict[Node, Node],
    ) -> Hoisted:
        """The loop that is left, and all results."""
        values = {n: input_node(n.shape, n.dtype) for n in before}
        new = {level: [n for n in before if self.level(n) == level] for level in (SLICE, CONSTANT)}
        inputs, stop = self.body.inputs, self.carried + self.sliced
        sliced = [*inputs[self.carried : stop], *(values[n] for n in new[SLICE])]
        news = [self.body.outputs[k] for k in carries]
        graph = Graph((), (*news, *self.stacks), self.body.checks).substitute(values)
        body = Graph(
            (*(inputs[k] for k in carries), *sliced, *inputs[stop:],
             *(values[n] for n in new[CONSTANT])),
            graph.outputs, graph.checks,
        )
        operands = (
            *(self.operands[k] for k in carries), *self.operands[self.carried : stop],
            *(before[n] for n in new[SLICE]), *self.operands[stop:],
            *(before[n] for n in new[CONSTANT]),
        )
        params: dict[str, Any] = {**self.params, "body": body, "carried": len(carries),
                                  "sliced": len(sliced)}
        siblings = [intern(loop, operands, {**params, "result": r})
                    for r in range(len(body.outputs))]
        stacks = dict(zip(self.stacks.values(), siblings[len(carries) :], strict=True))
        final = dict(zip(carries, siblings, strict=False))
        for k in wanted:
            if k in final:
                continue
            rows = results.get(k)
            if rows is None:
                rows = self.stacks[self.body.outputs[k]]
            final[k] = Graph((), (rows,)).substitute(stacks).outputs[0]
        return Hoisted(final, siblings[0] if siblings else None)
