"""Pictures of graphs: `make_dot(y)` draws the autograd graph, `make_dot(compiled)` a compiled
program.

A compiled program has a cluster for each kernel launch. Needs the Python package graphviz (the
extra `viz`); the `dot` binary is needed only to render a picture.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from .ir.graph import Graph, users
from .ir.node import Node, is_constant
from .ir.op import Kind
from .ir.ops.source import input as input_
from .tracer.tensor.tensor import Tensor

LEAF, OPERATION, RESULT = "lightblue", "lightgray", "darkolivegreen1"
_BOX = {
    "style": "filled", "shape": "box", "align": "left", "fontsize": "10", "ranksep": "0.1",
    "height": "0.2", "fontname": "monospace",
}


def _digraph() -> Any:
    try:
        from graphviz import Digraph
    except ImportError as error:
        raise ImportError(
            "make_dot needs the Python package graphviz: pip install 'tracegrad[viz]'"
        ) from error
    return Digraph(node_attr=_BOX, graph_attr={"size": "12,12"})


def make_dot(what: Any, params: Mapping[str, Tensor] | Iterable | None = None) -> Any:
    """A graphviz Digraph of how a tensor (or several) came about; a notebook shows it.

    Leaves that require grad are lightblue, with their name in `params` and their shape; operations
    are gray, results green; what needs no gradient has no box. For a function made by
    `tracegrad.compile`, once called: its program, where each cluster is one launch of a kernel.

    >>> make_dot(model(x).mean(), params=dict(model.named_parameters())).render("model")
    """
    if hasattr(what, "program") and hasattr(what, "graph"):
        return draw_program(what.graph(), what.program())
    outputs = (what,) if isinstance(what, Tensor) else tuple(what)
    for y in outputs:
        if not isinstance(y, Tensor):
            raise TypeError(
                f"make_dot draws tensors and compiled functions, not {type(y).__name__}"
            )
    return _Backward(dict(params or {})).draw(outputs)


class _Backward:
    """The drawing of an autograd graph."""

    def __init__(self, params: dict[str, Tensor]):
        for name, p in params.items():
            if not isinstance(p, Tensor):
                raise TypeError(f"params: {name!r} is a {type(p).__name__}, not a Tensor")
        self.names = {id(p): name for name, p in params.items()}
        self.dot = _digraph()
        self.boxes: dict[int, str] = {}  # id of a tensor or an operation -> its box
        self.kept_alive: list[Any] = []  # objects with a box must keep their id

    def box(self, thing: Any, label: str, color: str) -> tuple[str, bool]:
        """The box of a tensor or operation, and whether it is new."""
        box = self.boxes.get(id(thing))
        if box is not None:
            return box, False
        name = self.boxes[id(thing)] = f"n{len(self.boxes)}"
        self.kept_alive.append(thing)
        self.dot.node(name, label, fillcolor=color)
        return name, True

    def tensor(self, t: Tensor, color: str) -> tuple[str, bool]:
        shape = ", ".join(map(str, t.shape))
        return self.box(t, f"{self.names.get(id(t), '')}\n ({shape})", color)

    def operation(self, fn: Any) -> str:
        """Draw an operation and everything below it."""
        top, new = self.box(fn, fn.name(), OPERATION)
        stack = [fn] if new else []
        while stack:
            fn = stack.pop()
            here = self.boxes[id(fn)]
            leaf = getattr(fn, "variable", None)
            if leaf is not None:
                self.dot.edge(self.tensor(leaf, LEAF)[0], here)
            for below, _ in fn.next_functions:
                if below is not None:
                    name, new = self.box(below, below.name(), OPERATION)
                    self.dot.edge(name, here)
                    if new:
                        stack.append(below)
        return top

    def draw(self, outputs: Iterable[Tensor]) -> Any:
        for y in outputs:
            name, new = self.tensor(y, RESULT)
            if new and y.grad_fn is not None:
                self.dot.edge(self.operation(y.grad_fn), name)
        return self.dot


# ---- compiled programs
def _described(node: Node) -> str:
    """How the origin of a launch names an operation, without the user's line."""
    return f"{node.op.name:<12} {node.dtype.name}{list(node.shape)}"


def launch_of(graph: Graph, launches: Iterable[Any]) -> dict[Node, int]:
    """The number of the launch that computes each node.

    A launch names the values that it stores. An intermediate value belongs to the first launch that
    reads it.
    """
    waiting: dict[str, deque[int]] = {}
    for number, launch in enumerate(launches):
        for operation, _ in launch.origin:
            waiting.setdefault(operation, deque()).append(number)
    order = graph.order()
    numbers: dict[Node, int] = {}
    for node in order:
        if queue := waiting.get(_described(node)):
            numbers[node] = queue.popleft()
    readers = users(order)
    for node in reversed(order):
        if node not in numbers and node.op.kind is not Kind.SOURCE:
            at = [numbers[reader] for reader in readers[node] if reader in numbers]
            if at:
                numbers[node] = min(at)
    return numbers


def draw_program(graph: Graph, program: Any) -> Any:
    """The IR graph of a program: inputs lightblue, outputs green, a cluster for each launch."""
    dot = _digraph()
    launch_index = launch_of(graph, program.launches)
    names: dict[Node, str] = {}
    clusters: dict[int | None, list[tuple[str, str]]] = {}
    for node in graph.order():
        if is_constant(node):
            continue  # constants would clutter the picture
        name = names[node] = f"n{len(names)}"
        size = f"{node.dtype.name}{list(node.shape)}"
        if node.op is input_:
            dot.node(name, f"{node.params['name']}\n {size}", fillcolor=LEAF)
        else:
            members = clusters.setdefault(launch_index.get(node), [])
            members.append((name, f"{node.op.name}\n {size}"))
        for x in dict.fromkeys(node.inputs):
            if x in names:
                dot.edge(names[x], name)
    for number, members in clusters.items():
        for name, label in members if number is None else ():
            dot.node(name, label, fillcolor=OPERATION)
        if number is None:
            continue
        title = f"{number}: {program.launches[number].kernel.name}"
        with dot.subgraph(name=f"cluster_{number}", graph_attr={"label": title}) as cluster:
            for name, label in members:
                cluster.node(name, label, fillcolor=OPERATION)
    for i, y in enumerate(graph.outputs):
        dot.node(f"out{i}", f"output {i}\n ({', '.join(map(str, y.shape))})", fillcolor=RESULT)
        if y in names:
            dot.edge(names[y], f"out{i}")
    return dot
