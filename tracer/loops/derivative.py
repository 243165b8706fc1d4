"""The derivative of a body: which values of an iteration its backward reads, and the body of the
loop in the other direction.

What is cheap is computed again; the rest is stacked by the forward loop. A gradient of a constant
that is a sum of products over the iterations is one product, after the loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from ...ir.graph import Graph, postorder
from ...ir.node import Node, input_node
from ...ir.op import Kind
from ...ir.ops.contract import dot
from ...ir.ops.elementwise import add
from ...ir.ops.movement import permute, reshape
from ..autograd.backward import backpropagate, filled
from ..autograd.graph import edge
from ..mode import FixedGradMode
from ..tensor.tensor import Tensor
from .iterations import Iterations, Operands


@dataclass
class PulledBack:
    """One iteration of backward, in the trace of the body. Numbers are those of inputs (`carried`,
    `summed`, `of_slices`) and of outputs (`ys`).
    """

    carried: list[int]
    carries: list[Tensor]  # gradients of the carries after the iteration
    new: list[Tensor]  # and before it
    ys: dict[int, Tensor]  # gradients of what is stacked
    of_slices: dict[int, Tensor]
    summed: list[int]
    sums: list[Tensor]  # gradients of constants, so far
    new_sums: list[Tensor]
    terms: list[Tensor]  # what this iteration adds


def pulled_back(body: Any, activity: Any, create: bool) -> PulledBack:
    count, sliced = len(body.carries), len(body.slices)
    outputs = [*body.new, *body.ys]
    trace = body.trace
    with trace.recording():
        carried = [k for k in range(count) if activity.inputs[k]]
        carries = {k: trace.input(body.new[k].shape, body.new[k]._dtype, True) for k in carried}
        ys = {k: trace.input(outputs[k].shape, outputs[k]._dtype, True)
              for k in range(count, len(outputs)) if activity.outputs[k]}
        roots = [(edge(outputs[k]), g) for k, g in (*carries.items(), *ys.items())
                 if activity.outputs[k]]
        wanted = [k for k, active in enumerate(activity.inputs) if active]
        grads = backpropagate(
            [(fn, g) for fn, g in roots if fn is not None], [activity.sources[k] for k in wanted],
            True, create, stop=True,
        )
        full = {k: filled(body.inputs[k].shape, body.inputs[k]._dtype, 0.0) if g is None else g
                for k, g in zip(wanted, grads, strict=True)}
        summed = [k for k in wanted if k >= count + sliced]
        sums = [trace.input(full[k].shape, full[k]._dtype, True) for k in summed]
        terms = [full[k] for k in summed]
        with nullcontext() if create else FixedGradMode(False):
            new_sums = [s + full[k] for s, k in zip(sums, summed, strict=True)]
    return PulledBack(
        carried, list(carries.values()), [full[k] for k in carried], ys,
        {k: full[k] for k in wanted if count <= k < count + sliced}, summed, sums, new_sums, terms,
    )


class Derivative:
    """How to get the gradients of one loop: the forward graph with residuals, and backward."""

    def __init__(self, body: Any, activity: Any):
        self.body = body
        count = len(body.trace.checks)
        back = self.back = pulled_back(body, activity, create=False)
        self.more_captures = body.trace.captures_besides(body.inputs)
        self.checks = tuple(list(body.trace.checks)[count:])
        fixed = [*body.constants, *(c.twin for c in self.more_captures)]
        self.fixed = [t._node.node for t in fixed]
        self.slice_nodes = [t._node.node for t in body.slices]
        self.g_nodes = {t._node.node for t in (*back.carries, *back.ys.values())}
        self.totals = [_Total(t._node.node) for t in back.terms]
        self.sum_slots = [k for k, total in enumerate(self.totals) if not total.products]
        self.stacks = list(dict.fromkeys(
            x for total in self.totals for x in total.stacked))
        ends = [t._node.node for t in (*back.new, *back.of_slices.values())]
        ends += [back.terms[k]._node.node for k in self.sum_slots]
        ends += self.stacks
        self.residuals = self._residuals([*ends, *self.checks])
        outputs = [t._node.node for t in (*body.new, *body.ys)]
        inputs = [t._node.node for t in (*body.carries, *body.slices)]
        self.forward = body.trace.closed((*inputs, *self.fixed), (*outputs, *self.residuals))
        self.backward = self._backward()

    def _residuals(self, ends: list[Node]) -> list[Node]:
        """The values of the forward iteration that backward reads, as few as is cheap."""
        order = postorder(ends)
        depends, moving = set(self.g_nodes), set(self.slice_nodes)
        moving |= {t._node.node for t in self.body.carries}
        carries = {t._node.node for t in self.body.carries}
        for node in order:
            if not depends.isdisjoint(node.inputs):
                depends.add(node)
            if not moving.isdisjoint(node.inputs):
                moving.add(node)
        residuals: dict[Node, None] = {}
        stack, seen = list(reversed(ends)), set()
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            again = self.body.again or node in depends or node not in moving or (
                node.op.recomputed and node.op.kind is not Kind.SOURCE
                and not self._is_part(node, moving))
            if node in carries:
                residuals[node] = None
            elif again:
                stack.extend(node.inputs)
            elif node.op.kind is not Kind.SOURCE:
                residuals[node] = None
        return list(residuals)

    @staticmethod
    def _is_part(node: Node, moving: set[Node]) -> bool:
        """Whether it is a part of a value that would be kept whole for it."""
        whole = node.inputs[0]
        return (node.op.only_moves and node.size < whole.size and whole in moving
                and whole.op.kind is not Kind.SOURCE and not whole.op.recomputed)

    def _backward(self) -> Graph:
        """Inputs: gradients of carries, sums; residuals, slices, gradients of outputs; constants.
        Outputs: new gradients of carries, sums; gradients of slices, further stacks.
        """
        back = self.back
        values = {x: input_node(x.shape, x.dtype, "residual") for x in self.residuals}
        sums = [back.sums[k]._node.node for k in self.sum_slots]
        inputs = [
            *(t._node.node for t in back.carries), *sums, *values.values(), *self.slice_nodes,
            *(t._node.node for t in back.ys.values()), *self.fixed,
        ]
        outputs = [
            *(t._node.node for t in back.new),
            *(back.new_sums[k]._node.node for k in self.sum_slots),
            *(t._node.node for t in back.of_slices.values()), *self.stacks,
        ]
        return Graph(tuple(inputs), tuple(outputs), self.checks).substitute(values)

    def gradients(self, how: Iterations, operands: Operands, residuals: list[Tensor],
                  gradients: dict[int, Tensor]) -> list[Any]:
        back = self.back
        first = [gradients[k] if k in gradients else filled(t.shape, t._dtype, 0.0)
                 for k, t in zip(back.carried, back.carries, strict=True)]
        zeros = [filled(back.sums[k].shape, back.sums[k]._dtype, 0.0) for k in self.sum_slots]
        rows = [*residuals, *operands.slices, *(gradients[k] for k in back.ys)]
        parts = Operands([*first, *zeros], rows, operands.constants)
        results = iter(how.bind(self.backward, parts))
        grads: list[Any] = [None] * sum(map(len, operands))
        for k in back.carried:
            grads[k] = next(results)
        for k in self.sum_slots:
            grads[back.summed[k]] = next(results)
        for k in back.of_slices:
            grads[k] = next(results)
        stacks = dict(zip(self.stacks, results, strict=True))
        stacks |= zip(self.residuals, residuals, strict=True)
        stacks |= zip(self.slice_nodes, operands.slices, strict=True)
        with FixedGradMode(False):
            for k, total in zip(back.summed, self.totals, strict=True):
                if total.products:
                    grads[k] = total.value(stacks)
        return grads


class _Total:
    """The sum of a term over all iterations, as one product, if it is a sum of products."""

    def __init__(self, term: Node):
        self.term = term
        products = list(_products(term))
        self.products: list[Node] = [] if None in products else products  # type: ignore[assignment]
        self.stacked = [_untransposed(x)[0] for product in self.products for x in product.inputs]

    def value(self, stacks: dict[Node, Tensor]) -> Tensor:
        return self._of(self.term, stacks)

    def _of(self, node: Node, stacks: dict[Node, Tensor]) -> Tensor:
        parts = [self._of(x, stacks) for x in node.inputs] if node.op is not dot else []
        if parts:
            return node.op(*parts, **node.params)
        (a, turned_a), (b, turned_b) = (_untransposed(x) for x in node.inputs)
        left, right = stacks[a], stacks[b]
        if not turned_a:
            left = permute(left, axes=(0, 2, 1))
        if turned_b:
            right = permute(right, axes=(0, 2, 1))
        left, right = (reshape(x, shape=(math.prod(x.shape[:2]), x.shape[2]))
                       for x in (left, right))
        return dot(permute(left, axes=(1, 0)), right)


def _products(node: Node) -> Iterator[Node | None]:
    """The products that are added up to a node; None if it is not such a sum."""
    if node.op is dot and node.ndim == 2:
        yield node
    elif node.op is add and all(x.shape == node.shape for x in node.inputs):
        for x in node.inputs:
            yield from _products(x)
    elif node.op in (permute, reshape):
        yield from _products(node.inputs[0])
    else:
        yield None


def _untransposed(x: Node) -> tuple[Node, bool]:
    """A matrix, or the one whose transpose it is."""
    turned = x.op is permute and x.params["axes"] == (1, 0)
    return (x.inputs[0], True) if turned else (x, False)
