"""Loops in a trace: a body, how often it runs, and the loop's autograd node.

A Body is a recorded function with its inputs and outputs. `run_loop` applies it as one operation at
any level: in a trace, in another body, inside `vmap`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...ir.graph import Graph
from ...ir.node import Node
from ..autograd.backward import filled
from ..autograd.graph import GradFn, OutputGradients, OutputNode, edge
from ..autograd.node_classes import FREED
from ..autograd.recording import OpBackward, Saved
from ..mode import mode, resolve
from ..tensor.tensor import Tensor
from .body import BodyTrace, NoLoop, Source, same
from .derivative import Derivative, pulled_back
from .examples import differentiated_outside, one_by_one
from .iterations import Iterations, Operands, Tensors


@dataclass
class Body:
    """The inputs and outputs of a recorded function: carries and what is stacked. Backward computes
    all that lies within an iteration `again`, or keeps some of it.
    """

    trace: BodyTrace
    carries: Tensors
    slices: Tensors
    constants: Tensors
    new: Tensors
    ys: Tensors
    again: bool = False

    @property
    def inputs(self) -> Tensors:
        return [*self.carries, *self.slices, *self.constants]

    def graph(self, outputs: Sequence[Node]) -> Graph:
        """Of its inputs, and these outputs."""
        return self.trace.closed(nodes(self.inputs), outputs)


def nodes(staged: Sequence[Tensor]) -> list[Node]:
    return [t._node.node for t in staged]


def run_loop(body: Body, operands: Operands, how: Iterations) -> Tensors:
    """The last carries, then what is stacked, with their history."""
    operands = Operands(*([resolve(x) for x in part] for part in operands))
    activity = Activity(body, operands, how)
    outside = _with_history_outside(body, operands, how) if differentiated_outside() else None
    if not mode.grad or not any(activity.outputs):
        plain = how.bind(body.graph(nodes([*body.new, *body.ys])), operands)  # and its `how.count`
        return outside or plain
    if mode.edges_only:
        return _edges_only(body, operands, activity, how)
    derivative = Derivative(body, activity)
    constants = operands.constants + [c.tensor for c in derivative.more_captures]
    with_more = Operands(operands.carries, operands.slices, [resolve(x) for x in constants])
    results = how.bind(derivative.forward, with_more)
    count = len(activity.outputs)
    node = LoopBackward(body, with_more, activity, derivative, results[count:], how)
    results = outside or results[:count]
    for k, active in enumerate(activity.outputs):
        if active:
            y = results[k]
            node.types[k] = (tuple(y.shape), y._dtype)
            y._grad_fn, y._requires_grad = OutputNode(node, k), True
    return results


def _with_history_outside(body: Body, operands: Operands, how: Iterations) -> Tensors | None:
    """The results inside of a `vmap`, with the history of their values outside."""
    counts = [len(part) for part in operands]

    def one(flat: Tensors) -> Tensors:
        rest = iter(flat)
        parts = Operands(*([next(rest) for _ in range(n)] for n in counts))
        return run_loop(body, parts, how.with_tensors(list(rest)))

    return one_by_one(one, [*(x for part in operands for x in part), *how.tensors()])


class EdgesBackward(GradFn):
    """The node of a loop whose values are not kept: it runs again for backward."""

    __slots__ = ()

    def apply(self, g: Tensor) -> tuple:
        raise RuntimeError(FREED)


def _edges_only(body: Body, operands: Operands, activity: Activity, how: Iterations) -> Tensors:
    results = how.bind(body.graph(nodes([*body.new, *body.ys])), operands)
    flat = [x for part in operands for x in part]
    node = EdgesBackward("LoopBackward", tuple(
        edge(x) if wanted and x._requires_grad else None
        for x, wanted in zip(flat, activity.edges, strict=True)
    ))
    for y, active in zip(results, activity.outputs, strict=True):
        if active:
            y._grad_fn, y._requires_grad = node, True
    return results


class ModifiedBackward(GradFn):
    """The node of a loop that writes parameters: iterations no longer have what they used."""

    __slots__ = ()

    def apply(self, g: Tensor) -> tuple:
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace "
            "operation: the function of the loop writes a tensor that requires grad"
        )


def run_modified(
    body: Body, operands: Operands, how: Iterations, written: Tensors
) -> Tensors:
    """A loop that writes tensors that require grad: its results have no derivative."""
    operands = Operands(*([resolve(x) for x in part] for part in operands))
    if differentiated_outside():
        raise NoLoop("the function writes tensors that require grad, inside of a vmap")
    activity = Activity(body, operands, how, written)
    results = how.bind(body.graph(nodes([*body.new, *body.ys])), operands)
    for y, active in zip(results, activity.outputs, strict=True):
        if mode.grad and active:
            y._grad_fn, y._requires_grad = ModifiedBackward("LoopBackward", ()), True
    return results


class Activity:
    """Which inputs of a body have a gradient, which of them give it to an operand (`edges`), and
    which outputs have one.
    """

    def __init__(self, body: Body, operands: Operands, how: Iterations,
                 written: Sequence[Tensor] = ()):
        wanted = [x._requires_grad and x._dtype.is_floating_point
                  for part in operands for x in part]
        self.sources = [edge(t) if t._requires_grad else None for t in body.inputs]
        reached = sources_reached([*body.inputs, *written], [*body.new, *body.ys])
        count = len(body.carries)
        if how.may_be_none:  # then a carry is what it was at first
            for k in range(count):
                reached[k].add(k)
        self.inputs = [*wanted, *(True for _ in written)]
        while True:
            self.outputs = [any(self.inputs[j] for j in r) for r in reached]
            more = [k for k in range(count) if self.outputs[k] and not self.inputs[k]]
            if not more:
                break
            for k in more:
                self.inputs[k] = True
        flows = {j for r, active in zip(reached, self.outputs, strict=True) if active for j in r}
        self.edges = [active and k in flows for k, active in enumerate(self.inputs)]
        self.inputs = [e or (k < count and self.outputs[k]) for k, e in enumerate(self.edges)]
        for k, t in enumerate(body.inputs):
            source = t._grad_fn
            if isinstance(source, Source) and source.line and (self.inputs[k] or k >= count):
                raise NoLoop(
                    f"{body.trace.name}: backward() in the function (line {source.line}) "
                    "reaches what another iteration, or the program around the loop, computed: "
                    "detach it, or call backward() outside of the loop"
                )


def sources_reached(inputs: Sequence[Tensor | None], outputs: Tensors) -> list[set[int]]:
    """For each output of a recorded function, the inputs to which a gradient flows."""
    graded = [(edge(t), k) for k, t in enumerate(inputs) if t is not None and t._requires_grad]
    places = {fn: k for fn, k in graded if fn is not None}
    return [_reached(edge(t) if t._requires_grad else None, places) for t in outputs]


def _reached(fn: GradFn | None, places: dict[GradFn, int]) -> set[int]:
    """The inputs to which a gradient flows."""
    stack, seen, reached = [fn], set(), set()
    while stack:
        fn = stack.pop()
        if fn is None or fn in seen:
            continue
        seen.add(fn)
        if fn in places:
            reached.add(places[fn])
        stack.extend(fn.edges)
    return reached


def may_change(twins: Sequence[Tensor | None], outputs: Tensors) -> list[bool]:
    """Which operands may be written later: the nodes of a recorded function do not keep them."""
    kept = payloads_kept(outputs)
    return [t is None or kept is not None and t._node not in kept for t in twins]


def payloads_kept(outputs: Sequence[Tensor]) -> set[Any] | None:
    """The payloads that the autograd nodes of a recorded function keep; None if that is unknown."""
    stack, seen, kept = [t._grad_fn for t in outputs], set(), set()
    while stack:
        fn = stack.pop()
        if fn is None or fn in seen:
            continue
        seen.add(fn)
        stack.extend(fn.edges)
        if isinstance(fn, OpBackward):
            kept |= {x.node for x in fn.inputs if isinstance(x, Saved)}
        elif fn.has_saved_values():
            return None
    return kept


class LoopBackward(GradFn):
    """The autograd node of a loop. Its backward is a loop in the other direction."""

    __slots__ = ("activity", "body", "derivative", "how", "need", "operands", "saved", "types")

    def __init__(self, body: Body, operands: Operands, activity: Activity, derivative: Derivative,
                 residuals: Tensors, how: Iterations):
        # carries and slices are copies: what is written into their operands later does not matter
        copies = [same(x) for part in operands[:2] for x in part]
        flat = [*copies, *operands.constants]
        wanted = [*activity.edges, *(False for _ in derivative.more_captures)]
        edges = [edge(x) if x._requires_grad else None for part in operands for x in part]
        super().__init__("LoopBackward", tuple(
            fn if w else None for fn, w in zip(edges, wanted, strict=True)
        ))
        self.body, self.activity, self.derivative = body, activity, derivative
        self.how = how
        self.need: Any = None  # a Need, if its iterations or inner ones have rows
        self.saved: Any = ([(Saved(x), fn) for x, fn in zip(flat, edges, strict=True)],
                           [Saved(x) for x in residuals])
        free = may_change(self.constants(), [*body.new, *body.ys])
        for (value, _), yes in zip(self.saved[0][len(copies):], free, strict=True):
            if yes:
                value.copy_value()
        self.operands = [len(part) for part in operands]
        self.types: dict[int, tuple[Any, Any]] = {}

    def run_prehooks(self, g: Any) -> Any:
        return g if isinstance(g, OutputGradients) else super().run_prehooks(g)

    def apply(self, g: Any) -> tuple[Tensor | None, ...]:
        if self.saved is None:
            raise RuntimeError(FREED)
        if self.need is not None:
            self.need.used = True
        parts = g.by_output if isinstance(g, OutputGradients) else {0: g}
        gradients = {k: parts[k] if k in parts else filled(shape, dtype, 0.0)
                     for k, (shape, dtype) in self.types.items()}
        history = bool(mode.grad)
        flat = [s.unpack(fn if history else None, fn) for s, fn in self.saved[0]]
        split = iter(flat)
        operands = Operands(*([next(split) for _ in range(n)] for n in self.operands))
        if history:
            grads = self.recorded(operands, gradients)
        else:
            residuals = [s.unpack(None, None) for s in self.saved[1]]
            grads = self.derivative.gradients(self.how.backwards(), operands, residuals, gradients)
        return tuple(g if fn is not None else None
                     for g, fn in zip(grads, self.edges, strict=True))

    def recorded(self, operands: Operands, gradients: dict[int, Tensor]) -> list[Tensor | None]:
        """The gradients, with their own history: the states again, then a loop that uses them."""
        body, count = self.body, len(self.body.carries)
        states = Body(body.trace, body.carries, body.slices, self.constants(), body.new,
                      body.carries)
        stacked = run_loop(states, operands, self.how.again())[count:]
        back = pulled_back(body, self.activity, create=True)
        constants = [*operands.constants]
        fixed = self.constants()
        for c in body.trace.captures_besides([*fixed, *body.inputs]):
            fixed.append(c.twin)
            constants.append(resolve(c.tensor))
        zeros = [filled(t.shape, t._dtype, 0.0) for t in back.sums]
        first = [gradients[k] if k in gradients else filled(t.shape, t._dtype, 0.0)
                 for k, t in zip(back.carried, back.carries, strict=True)]
        step = Body(body.trace, [*back.carries, *back.sums],
                    [*body.carries, *body.slices, *back.ys.values()], fixed,
                    [*back.new, *back.new_sums], list(back.of_slices.values()))
        results = run_loop(step, Operands(
            [*first, *zeros], [*stacked, *operands.slices, *(gradients[k] for k in back.ys)],
            constants), self.how.backwards())
        grads: list[Tensor | None] = [None] * len(self.edges)
        places = [*back.carried, *back.summed, *back.of_slices]
        for k, g in zip(places, results, strict=True):
            grads[k] = g
        return grads

    def constants(self) -> Tensors:
        return [*self.body.constants, *(c.twin for c in self.derivative.more_captures)]

    def has_saved_values(self) -> bool:
        return self.saved is not None

    def release(self) -> None:
        self.saved = None
