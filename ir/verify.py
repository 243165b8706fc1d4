"""The IR's law. What every pass may rely on, and what tests hold every pass to.

Takes a Graph, gives it back, or raises VerifyError with the Node that breaks the law. Most facts
follow from construction, which is the reason to check them: a Node can be reached that was not made
by `intern`, and an op's `infer` is only as careful as its author.
"""

from __future__ import annotations

from typing import Any

from .graph import Graph, bodies_of, postorder
from .node import Node, intern
from .op import Kind, Types, are_axes
from .ops.elementwise import may_fail
from .ops.source import input as input_
from .value import REGISTRY


class VerifyError(Exception):
    """A graph that breaks the IR's law: a fault of the pass that made it."""


def _extents(shape: Any) -> bool:
    return type(shape) is tuple and all(type(n) is int and n >= 0 for n in shape)


def _reduces_its_axes(y: Node) -> bool:
    dims = y.params.get("dims")
    return dims is None or are_axes(dims, y.inputs[0].ndim)


def _fault(node: Node, before: set[Node]) -> str | None:
    """What is wrong with the Node, in words; `before` holds the Nodes that stand ahead of it."""
    op, inputs, params = node.op, node.inputs, node.params
    if REGISTRY.get(op.name) is not op:
        return "its primitive is not registered"
    for x in inputs:
        if not isinstance(x, Node):
            return "an input is not a Node"
        if x not in before:
            return "it needs its own value (the graph has a cycle)"
    try:
        hash(tuple(params.values()))
    except TypeError as error:
        return f"a param cannot be hashed: {error}"
    try:
        made = intern(op, inputs, params)  # with the shape and dtype that `infer` gives
    except (TypeError, RuntimeError, LookupError, ValueError) as error:
        return f"infer refuses it: {error}"
    if not _extents(made.shape):
        return f"the shape {made.shape!r} is not a tuple of natural numbers"
    if made.shape != node.shape or made.dtype is not node.dtype:
        return f"infer says {made.dtype.name}{list(made.shape)}"
    if op.types is Types.LOGICAL and any(x.dtype.kind != "bool" for x in inputs):
        return "the operands are not bool"
    if op.types is Types.COMPARE and len({x.dtype for x in inputs}) != 1:
        return "the operands have different dtypes"
    if op.kind is Kind.REDUCE and not _reduces_its_axes(node):
        return "dims are not sorted axes of the input"
    if op.law is not None and not op.law.holds(*inputs, **params):
        return f"it breaks the law: {op.law.words}"
    if made is not node:
        return "it is not interned: another Node is the same value"
    return None


def _printed(node: Node) -> str:
    inputs = ", ".join(map(repr, node.inputs))
    params = ", ".join(f"{k}={v!r}" for k, v in node.params.items())
    where = f"  # {node.site}" if node.site else ""
    return f"{node!r} = {node.op.name}({', '.join(filter(None, (inputs, params)))}){where}"


def verify(graph: Graph) -> Graph:
    """The graph itself, if it keeps the law."""
    declared = set(graph.inputs)
    if len(declared) != len(graph.inputs):
        raise VerifyError("an input is declared twice")
    if odd := [x for x in graph.inputs if not isinstance(x, Node) or x.op is not input_]:
        raise VerifyError(f"declared as an input, but no input: {odd[0]!r}")
    if odd := [y for y in graph.roots if not isinstance(y, Node)]:
        raise VerifyError(f"an output is not a Node: {odd[0]!r}")
    before: set[Node] = set()
    for node in postorder(graph.roots, stop=lambda x: not isinstance(x, Node)):
        if not isinstance(node, Node):
            continue  # whoever has it for an input comes next
        fault = _fault(node, before)
        if fault is None and node.op is input_ and node not in declared:
            fault = "it is an input that the graph does not declare"
        if fault is not None:
            raise VerifyError(f"{fault}\n  {_printed(node)}")
        for body in bodies_of(node) if node.op.bodies else ():
            verify(body)
        before.add(node)
    if odd := [c for c in graph.checks if not may_fail(c.op, c.params)]:
        raise VerifyError(f"declared as a check, but it cannot fail: {odd[0]!r}")
    return graph
