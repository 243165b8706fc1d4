"""A graph as text: A-normal form, which reads as a Python function.

One line per Node, with its type and the line of the user's program that it stands for. Names are
stable: the same graph always prints the same.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from typing import Any

from .dtype import DType
from .graph import Graph, bodies_of
from .node import Node
from .ops.source import full, input as input_

_INFIX = re.compile(r"\{0\} [^\w\s(]+ \{1\}|-\{0\}")  # the expressions that are Python as they are
_WIDEST = 60  # lines longer than this do not push the comments of all others to the right


def number(node: Node) -> str:
    """A constant's value in the fewest digits that its type needs."""
    value = node.params["value"]
    if node.dtype.kind != "float" or node.dtype.is_half:
        return repr(value)
    return str(node.dtype.compute.type(value))


def type_of(node: Node) -> str:
    return f"{node.dtype.name}{list(node.shape)}"


def names(graph: Graph) -> dict[Node, str]:
    """A name for each Node: inputs keep theirs as far as Python allows; scalars are their value."""
    named: dict[Node, str] = {}
    taken: set[str] = set()

    def fresh(wanted: str) -> str:
        name = wanted if wanted.isidentifier() else re.sub(r"\W+", "_", wanted).strip("_") or "x"
        if not name.isidentifier() or keyword.iskeyword(name) or re.fullmatch(r"v\d+", name):
            name = f"{name}_" if name.isidentifier() else f"x{name}"
        stem, k = name, 1
        while name in taken:
            k += 1
            name = f"{stem}_{k}"
        taken.add(name)
        return name

    for node in graph.inputs:
        named[node] = fresh(node.params.get("name") or "x")
    count = 0
    for node in graph.order():
        if node.op is full and not node.shape:
            named[node] = number(node)
        elif node not in named:
            named[node] = f"v{count}"
            count += 1
    return named


def _param(name: str, value: Any) -> str:
    if name == "slices":
        cuts = ", ".join(f"{a}:{b}" + (f":{step}" if step != 1 else "") for a, b, step in value)
        return f"[{cuts}]"
    return f"{name}={value.name if isinstance(value, DType) else repr(value)}"


def call(node: Node, name: dict[Node, str], bodies: dict[Graph, str]) -> str:
    """The right-hand side of the Node's line."""
    args = [name[x] for x in node.inputs]
    if node.op.expr is not None and not node.params and _INFIX.fullmatch(node.op.expr):
        return node.op.expr.format(*args)
    params = node.params
    if node.op is full:
        args, params = [number(node)], {"shape": node.shape}
    elif node.op is input_:
        args, params = [repr(params["name"])], {}
    args += [f"{k}={bodies[params[k]]}" for k in node.op.bodies]
    params = {k: v for k, v in params.items() if k not in node.op.bodies}
    return f"{node.op.name}({', '.join([*args, *(_param(k, v) for k, v in params.items())])})"


def _aligned(rows: Iterable[tuple[str, str]]) -> list[str]:
    rows = list(rows)
    widths = [len(left) for left, _ in rows]
    column = max((w for w in widths if w <= _WIDEST), default=0)
    return [f"{left:{column}}  # {right}".rstrip() for left, right in rows]


def show(graph: Graph, name: str = "program") -> str:
    """The whole graph, inputs as arguments and outputs returned; ahead of it, what loops run."""
    bodies: dict[Graph, str] = {}
    return "\n\n".join([*_bodies(graph, bodies), _function(graph, name, bodies)])


def _bodies(graph: Graph, named: dict[Graph, str]) -> list[str]:
    """The functions of all bodies in the graph, which get names; inner ones come first."""
    texts = []
    for y in graph.order():
        for role, body in zip(y.op.bodies, bodies_of(y), strict=True):
            if body not in named:
                texts += _bodies(body, named)
                named[body] = f"{role}{len(named)}"
                texts.append(_function(body, named[body], named))
    return texts


def _function(graph: Graph, name: str, bodies: dict[Graph, str]) -> str:
    called = names(graph)
    arguments = ", ".join(f"{called[x]}: {type_of(x)}" for x in graph.inputs)
    rows = [
        (f"    {called[y]} = {call(y, called, bodies)}", f"{type_of(y):20} {y.site or ''}")
        for y in graph.order()
        if y not in graph.inputs and not (y.op is full and not y.shape)
    ]
    returned = ", ".join(called[y] for y in graph.outputs)
    return "\n".join([f"def {name}({arguments}):", *_aligned(rows), f"    return {returned}"])


Graph.__str__ = show  # type: ignore[method-assign,assignment]  # print(step.graph())
