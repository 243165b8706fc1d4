"""Reverse-mode differentiation of graphs, and the one place where rules are applied and
broadcasting is undone.

Takes a Graph, gives a Graph. The rules stand with the primitives; this module knows none of them by
name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .graph import Graph, postorder
from .node import Node, at, constant
from .op import OpDef, Rule
from .ops.elementwise import add, cast
from .ops.movement import expand, reshape
from .ops.reduce import sum as sum_


def rule_of(op: OpDef, k: int) -> Rule | None:
    """The rule that gives the cotangent of input k, or None where the primitive has no gradient for
    it.
    """
    if op.vjp is None:
        return None
    return op.vjp(k) if callable(op.vjp) else op.vjp[k]


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Bring g to the shape of a value that was broadcast: summed where it was repeated, repeated
    where g is constant.
    """
    if g.shape == shape:
        return g
    lead = max(len(g.shape) - len(shape), 0)
    ahead = len(shape) - len(g.shape)
    dims = tuple(d for d, n in enumerate(g.shape) if d < lead or (shape[d + ahead] == 1 != n))
    if dims:
        kept = tuple(1 if d in dims else n for d, n in enumerate(g.shape))[lead:]
        g = reshape(sum_(g, dims=dims), shape=kept)
    return g if g.shape == shape else expand(g, shape=shape)


def cotangent(
    op: OpDef, k: int, g: Any, y: Any, inputs: tuple[Any, ...], params: dict[str, Any]
) -> Any:
    """What g, the cotangent of y = op(*inputs, **params), means for input k: same shape and dtype
    as it, or None.
    """
    rule = rule_of(op, k)
    gx = None if rule is None else rule(g, y, *inputs, **params)
    if gx is None:
        return None
    x = inputs[k]
    gx = unbroadcast(gx, x.shape)
    return gx if gx.dtype is x.dtype else cast(gx, dtype=x.dtype)


def gradients(outputs: Iterable[tuple[Node, Node]], wrt: Iterable[Node]) -> tuple[Node | None, ...]:
    """The cotangents of the Nodes `wrt`, given (output, its cotangent) pairs; None where nothing
    flows.
    """
    wrt = tuple(wrt)
    pairs = list(outputs)
    order = postorder((y for y, _ in pairs), stop=lambda n: False)
    reaches = {w for w in wrt if w.dtype.is_floating_point}
    for node in order:
        if node.dtype.is_floating_point and any(x in reaches for x in node.inputs):
            reaches.add(node)
    total: dict[Node, Node] = {}

    def accumulate(x: Node, g: Node) -> None:
        total[x] = add(total[x], g) if x in total else g

    for y, g in pairs:
        if y in reaches:
            accumulate(y, g)
    for y in reversed(order):
        if y in total:
            for k, x in enumerate(y.inputs):
                if x not in reaches:
                    continue
                with at(y.site):  # a gradient stands for the line that it is the gradient of
                    gx = cotangent(y.op, k, total[y], y, y.inputs, y.params)
                    if gx is not None:
                        accumulate(x, gx)
    return tuple(total.get(w) for w in wrt)


def joint(graph: Graph, wrt: Iterable[Node]) -> Graph:
    """Extend a graph whose first output is a scalar by that output's gradients with respect to the
    Nodes `wrt`.

    A Node that the output does not depend on has a gradient of zeros.
    """
    wrt, loss = tuple(wrt), graph.outputs[0]
    if loss.shape != ():
        raise RuntimeError(
            "grad can be implicitly created only for scalar outputs, and this one has shape "
            f"{list(loss.shape)}"
        )
    found = gradients([(loss, constant(1.0, loss.dtype))], wrt)
    full = tuple(
        constant(0.0, w.dtype, w.shape) if g is None else g for g, w in zip(found, wrt, strict=True)
    )
    return Graph(graph.inputs, (*graph.outputs, *full), graph.checks)
