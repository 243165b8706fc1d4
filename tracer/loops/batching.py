"""Loops and branches inside `vmap`: the bodies are batched, not the calls.

A body is applied once to all examples. A carry that differs between the examples at the end of an
iteration differs at its beginning. Where the condition differs, the loop runs while it holds for
any example, and those that have finished keep what they have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ...ir.dtype import int64
from ...ir.graph import Graph
from ...ir.node import Node
from ...ir.op import OpDef
from ...ir.ops.elementwise import cast, gt, where
from ...ir.ops.loop import branch, loop, loop_while
from ...ir.ops.movement import permute, reshape
from ...ir.ops.reduce import sum as sum_
from ..autograd.batching_rules import apply_batched, full_batch, rule
from ..mode import FixedGradMode
from ..tensor.dispatch import bind
from ..tensor.tensor import Tensor
from .body import BodyTrace

Mapped = tuple[bool, ...]
_bodies: WeakKeyDictionary[Graph, dict[tuple, Any]] = WeakKeyDictionary()


class Batch(NamedTuple):
    """The outputs of a body for all examples, as it is recorded."""

    trace: BodyTrace
    inputs: list[Tensor]
    outputs: list[Tensor]
    mapped: Mapped  # of the outputs

    def closed(self, outputs: Sequence[Tensor]) -> Graph:
        return self.trace.closed(
            [t._node.node for t in self.inputs], [t._node.node for t in outputs])


def _inputs(trace: BodyTrace, graph: Graph, mapped: Mapped, size: int) -> list[Tensor]:
    return [trace.input((size, *x.shape) if m else x.shape, x.dtype)
            for x, m in zip(graph.inputs, mapped, strict=True)]


def _outputs(graph: Graph, xs: list[Tensor], mapped: Mapped, size: int) -> list[tuple]:
    """The roots of a graph, each for all examples if it differs; within a recording."""
    values: dict[Node, tuple[Tensor, bool]] = dict(
        zip(graph.inputs, zip(xs, mapped, strict=True), strict=True))
    for node in graph.order():
        if node in values:
            continue
        operands = [values[x] for x in node.inputs]
        tensors, which = [t for t, _ in operands], [m for _, m in operands]
        if any(which):
            y = apply_batched(node.op, size, tensors, which, node.params)
        else:
            y = bind(node.op, tuple(tensors), node.params)
        values[node] = y, any(which)
    return [values[y] for y in graph.outputs]


def _carry_mapped(graph: Graph, mapped: Mapped, carried: int, size: int) -> Mapped:
    """Which inputs differ, in any iteration."""
    while True:
        trace = BodyTrace("vmap")
        with trace.recording():
            ys = _outputs(graph, _inputs(trace, graph, mapped, size), mapped, size)
        new = tuple(m or (k < carried and ys[k][1]) for k, m in enumerate(mapped))
        if new == mapped:
            return mapped
        mapped = new


def _batched(graphs: tuple[Graph, ...], mapped: Mapped, carried: int, size: int) -> tuple:
    """The bodies for all examples, which inputs differ, and which outputs: of a loop, of condition
    and loop, or of two branches. Siblings get the same ones.
    """
    batched = _bodies.setdefault(graphs[-1], {})
    key = (graphs[:-1], mapped, carried, size)
    if key not in batched:
        with FixedGradMode(False):
            batched[key] = _make(graphs, mapped, carried, size)
    return batched[key]


def _make(graphs: tuple[Graph, ...], mapped: Mapped, carried: int, size: int) -> tuple:
    mapped = _carry_mapped(graphs[-1], mapped, carried, size) if carried else mapped
    if carried and len(graphs) == 2:
        trace = BodyTrace("vmap")
        with trace.recording():
            ((_, differs),) = _outputs(
                graphs[0], _inputs(trace, graphs[0], mapped, size), mapped, size)
        if differs:
            return _while_any(graphs, mapped, carried, size)
    batches = []
    for graph in graphs:
        trace = BodyTrace("vmap")
        with trace.recording():
            inputs = _inputs(trace, graph, mapped, size)
            ys = _outputs(graph, inputs, mapped, size)
        batches.append((trace, inputs, ys))
    last = [m for _, m in batches[-1][2]]
    if not carried and len(graphs) == 2:  # branches give the same
        last = [m or n for m, (_, n) in zip(last, batches[0][2], strict=True)]
    whole = tuple(m or (k < carried and mapped[k]) for k, m in enumerate(last))
    bodies = []
    for graph, (trace, inputs, ys) in zip(graphs, batches, strict=True):
        with trace.recording():
            wanted = whole if len(ys) == len(whole) and graph.outputs else (False,) * len(ys)
            if carried and len(graphs) == 2 and graph is graphs[0]:
                wanted = (False,)
            outputs = [full_batch(y, m, size) if w else y
                       for (y, m), w in zip(ys, wanted, strict=True)]
        bodies.append(Batch(trace, inputs, outputs, whole).closed(outputs))
    return tuple(bodies), mapped, whole


def _while_any(graphs: tuple[Graph, ...], mapped: Mapped, carried: int, size: int) -> tuple:
    """A loop whose condition differs between the examples."""
    cond, body = graphs
    mapped = tuple(m or k < carried for k, m in enumerate(mapped))
    bodies = []
    for graph in graphs:
        trace = BodyTrace("vmap")
        with trace.recording():
            inputs = _inputs(trace, graph, mapped, size)
            (holds, differs), = _outputs(cond, inputs, mapped, size)
            holds = full_batch(holds, differs, size)
            if graph is cond:
                outputs = [gt(sum_(cast(holds, dtype=int64), dims=(0,)), 0)]
            else:
                outputs = []
                for k, (y, m) in enumerate(_outputs(body, inputs, mapped, size)):
                    y = full_batch(y, m, size)
                    mask = reshape(holds, shape=(size, *(1,) * (y.ndim - 1)))
                    outputs.append(where(mask, y, inputs[k] if k < carried else 0))
        bodies.append(Batch(trace, inputs, outputs, ()).closed(outputs))
    return tuple(bodies), mapped, (True,) * len(body.outputs)


def swapped(x: Tensor) -> Tensor:
    """Examples and iterations, the first two axes, exchanged."""
    return permute(x, axes=(1, 0, *range(2, x.ndim)))


def _operands(xs: list[Tensor], mapped: list[bool], wanted: Mapped, size: int) -> list[Tensor]:
    return [full_batch(x, m, size) if w else x
            for x, m, w in zip(xs, mapped, wanted, strict=True)]


@rule(loop)
def _loop(op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict) -> Tensor:
    carried, sliced, k = params["carried"], params["sliced"], params["result"]
    (body,), wanted, whole = _batched((params["body"],), tuple(mapped), carried, size)
    operands = [
        swapped(x) if w and carried <= j < carried + sliced else x
        for j, (x, w) in enumerate(zip(_operands(xs, mapped, wanted, size), wanted, strict=True))
    ]
    y = bind(op, tuple(operands), {**params, "body": body})
    if whole[k]:
        return y if k < carried else swapped(y)
    return full_batch(y, False, size)


@rule(loop_while)
def _loop_while(op: OpDef, size: int, xs: list[Tensor], mapped: list[bool],
                params: dict) -> Tensor:
    carried, k = params["carried"], params["result"]
    bodies = (params["cond"], params["body"])
    (cond, body), wanted, whole = _batched(bodies, tuple(mapped), carried, size)
    y = bind(op, tuple(_operands(xs, mapped, wanted, size)),
             {**params, "cond": cond, "body": body})
    if whole[k]:
        return y if k < carried else swapped(y)
    return full_batch(y, False, size)


@rule(branch)
def _branch(op: OpDef, size: int, xs: list[Tensor], mapped: list[bool], params: dict) -> Tensor:
    (pred, *operands), (differs, *which) = xs, mapped
    sides = (params["then"], params["other"])
    k = params["result"]
    if differs:  # both are computed
        then, other = (
            _outputs(g, operands, tuple(which), size)[k] for g in sides)
        some, more = (full_batch(y, m, size) for y, m in (then, other))
        return where(reshape(pred, shape=(size, *(1,) * (some.ndim - 1))), some, more)
    (then_, other_), wanted, whole = _batched(sides, tuple(which), 0, size)
    y = bind(op, (pred, *_operands(operands, which, wanted, size)),
             {**params, "then": then_, "other": other_})
    return y if whole[k] else full_batch(y, False, size)
