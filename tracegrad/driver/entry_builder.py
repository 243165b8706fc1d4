"""EntryBuilder: from a finished trace to an Entry. Sorts what the trace produced into the outputs
of one program, and builds that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from types import FunctionType
from typing import Any, NamedTuple

from ..ir.graph import Graph
from ..ir.node import Aval, Node
from ..ir.ops.movement import permute
from ..ir.progress import phase
from ..tracer.autograd.graph import GradFn, edge
from ..tracer.autograd.node_classes import FREED
from ..tracer.capture.guards import GuardSet
from ..tracer.capture.inputs import Input
from ..tracer.capture.locations import Location
from ..tracer.capture.read_log import ReadLog
from ..tracer.capture.scalar import Scalar
from ..tracer.capture.side_effects import Effect
from ..tracer.capture.signature import aval, leaves, rebuild, repetition
from ..tracer.capture.trace import Trace
from ..tracer.change_counter import captured_tensors, differentiated_tensors
from ..tracer.mode import get_default_dtype, mode
from ..tracer.tensor.gradient_layout import array_axis_order
from ..tracer.tensor.memory_order import axis_order, strides_of
from ..tracer.tensor.tensor import Tensor
from ..tracer.tensor.views import Path
from .backward_nodes import is_freed
from .backward_programs import Derivative, reachable_nodes
from .entry import Entry, Freed
from .hook_effects import TensorKept
from .lowering import Recorded, lowered, without_backward
from .outputs import (
    Aliased,
    Gradient,
    PassedThrough,
    Returned,
    aliased,
    has_listeners,
    refuse_hidden,
)
from .overlaps import refuse_overlap
from .places import layout
from .rerun import Rerun
from .snapshot import SnapshotPlan
from .stages import Split, Ways

_ARRAYS = ("argument", "tensor")
_ENTERED = (*_ARRAYS, "location")


class Observations(NamedTuple):
    """What a trace noted besides operations. Entry explains the first three."""

    numbers: list[Any]
    scalars: list[tuple[Location, Any]]
    decisions: list[tuple[Scalar, Any]]
    effects: list[Effect]
    printed: list[tuple]


def own_autograd(t: Tensor, root: Tensor, steps: Sequence[tuple[Path, bool]]) -> str:
    """What autograd does at a view that it does not at `root`, which it is a view of, in words."""
    if has_listeners(t._grad_fn):
        return "has a hook"
    if t._grad_fn is not None and not all(recorded for _, recorded in steps):
        return (
            "got a history of its own by an in-place operation after detach(), or by a detach_() "
            "of its base"
        )
    if t._grad_fn is not None and not root._requires_grad:
        return "requires grad, which the other no longer does"
    return ""


class EntryBuilder:
    """The outputs, effects and derivative of a trace in which the function has just returned."""

    def __init__(
        self, trace: Trace, result: Any, arguments: list[Tensor], call: tuple,
        observations: Observations, ways: Ways, fast_math: bool,
        tune: bool,
    ):
        self.trace, self.arguments, self.observations = trace, arguments, observations
        self.checks = tuple(trace.checks)
        self.fast_math, self.tune = fast_math, tune
        self.outputs: list[Node] = []
        self.differentiable: list[tuple[int, Tensor]] = []
        self.freed: dict[int, Freed] = {}
        self.output_for: dict[int, Any] = {}  # by the id of a tensor in the result
        self.leaves: set[GradFn | None] = set()  # leaves in the result that the function made
        self.graded: list[tuple[Input, int | None]] = []
        for i in trace.inputs_with_new_grad():
            g = i.twin._grad
            self.graded.append((i, None if g is None else self.output(self.gradient(i, g))))
        self.written = trace.mutated()
        refuse_overlap(self.written, trace.inputs)
        trace.refuse_leaving(self.written)
        self.snapshot_plan = SnapshotPlan(
            trace, observations.scalars, [e.location for e in observations.effects],
            bool(observations.printed),
        )
        self.writes: dict[int, Node] = {}
        self.gaining_history: dict[int, Input] = {}
        for w in self.written:
            index = self.output(self.node(w.twin))
            self.writes[index] = w.node
            if w.kind != "grad" and w.twin._grad_fn is not None and w.twin._grad_fn is not w.start:
                self.gaining_history[index] = w
                self.depends(index, w.twin)
        self.gradients = {id(i.twin._grad): i for i in trace.inputs_with_new_grad()}
        outside = trace.observer.met
        refuse_hidden(result, "a compiled function returns", arguments, outside)
        for location, _, after in observations.effects:
            subject = f"a compiled function sets {location.label} to"
            refuse_hidden(after, subject, arguments, outside)
        for function, args, kwargs in observations.printed:
            called = function if isinstance(function, FunctionType) else None
            subject = "a compiled function appends, prints or calls back with"
            refuse_hidden((called, args, kwargs), subject, arguments, outside)
        effects = tuple(e.after for e in observations.effects)
        result = (result, effects, tuple(observations.printed))
        tensors = {id(t): t for t in leaves(result) if isinstance(t, Tensor)}.values()
        roots = (aliased(t)[0] for t in tensors)
        self.sharing = Counter(map(id, roots))  # how many tensors of the result share memory
        self.result = rebuild(result, self.in_result)
        self.split = Split(trace, ways, fast_math)
        self.looked = self.split.looked(self.split.cuts, self.output)
        self.risky = list(trace.scalar_log.risky)
        late = (x._stage == self.split.cuts for x in self.risky)
        self.guarded = bool(self.looked.questions) or any(late)
        below = reachable_nodes(*(y._grad_fn for _, y in self.differentiable))
        if not self.leaves.isdisjoint(below):
            raise RuntimeError(
                "a compiled function returns a leaf that it made, by requires_grad_(), and what it "
                "computed from it: backward would not find the leaf. Make it outside"
            )
        self.rerun = Rerun(call, self.result[0], self.snapshot_plan, self.rerun_obstacle())
        self.derivative = None
        if self.differentiable:
            self.derivative = self.derived()
        if self.derivative is not None and not self.derivative.hooked:
            self.snapshot_plan.keep_only([
                *(y._node for _, y in self.differentiable), *self.derivative.nodes(),
                *trace.values.nodes(), *self.checks,
            ])

    def derived(self) -> Derivative | None:
        """The derivative of the outputs that have one. If a value that an output needs was changed
        in place, that output alone is marked as freed.
        """
        attempts = [self.differentiable]
        if len(self.differentiable) > 1:
            attempts += [[y] for y in self.differentiable]
        for ys in attempts:
            try:
                derivative = Derivative(
                    self.trace, ys, len(self.outputs), self.rerun, self.fast_math
                )
            except TensorKept as error:
                raise RuntimeError(str(error)) from None
            except RuntimeError as error:
                if len(ys) == 1:
                    ((k, y),) = ys
                    self.freed[k] = self.freed_output(y, str(error))
            else:
                if len(ys) == len(self.differentiable):
                    return derivative
        self.differentiable = [(k, y) for k, y in self.differentiable if k not in self.freed]
        return self.derived() if self.differentiable else None

    def rerun_obstacle(self) -> str:
        """In words, why the function cannot be run again for its derivative; empty if it can."""
        return "changes a tensor in place that has a history" if self.gaining_history else ""

    def node(self, t: Tensor) -> Node:
        if t._node is None:
            t = self.trace.twin(t)
        assert t._node is not None
        return t._node

    def gradient(self, leaf: Input, g: Tensor) -> Node:
        """The new `.grad` of a leaf, with its axes in the memory order of the leaf."""
        axes = array_axis_order(leaf.tensor._array)
        return self.node(g) if axes is None else permute(self.node(g), axes=axes)

    def output(self, node: Node) -> int:
        self.outputs.append(node)
        return len(self.outputs) - 1

    def in_result(self, t: Tensor) -> Any:
        """What stands for a tensor in the result: one object for each tensor."""
        if self.trace.grad_of(t) is not None:
            t = self.trace.twin(t)
        if t._node is None:
            if any(t is other for _, other in self.trace.tensors_at):  # read at each call
                self.trace.twin(t)
            entered = self.trace.entered(t)
            return t if entered is None else PassedThrough(entered)
        if t._view is not None:
            t._view.refresh(t)
        if id(t) not in self.output_for:
            self.output_for[id(t)] = self.make_output(t)
        return self.output_for[id(t)]

    def make_output(self, t: Tensor) -> Any:
        source = self.trace.input_of(t)
        if source is not None:
            if source.kind == "grad":
                return Gradient(source.key, before_call=True)
            return PassedThrough(source)
        if id(t) in self.gradients:
            return Gradient(self.gradients[id(t)], before_call=False)
        root, steps = aliased(t)
        shared = self.trace.input_of(root) is not None or self.sharing[id(root)] > 1
        if steps and shared:
            if cause := own_autograd(t, root, steps):
                raise RuntimeError(
                    "a compiled function returns a tensor that shares memory with an argument or "
                    f"another result, of shape {list(t.shape)}, and {cause}: return a clone() of it"
                )
            return Aliased(self.in_result(root), steps, t)
        axes = axis_order(tuple(t.shape), strides_of(t))
        node = self.node(t)
        index = self.output(node if axes is None else permute(node, axes=axes))
        is_grad_leaf = t._requires_grad and t._grad_fn is None
        if is_grad_leaf:
            self.leaves.add(edge(t))
        elif t._requires_grad:
            self.depends(index, t)
        grad = None if t._grad is None else self.in_result(t._grad)
        return Returned(index, grad, is_grad_leaf, axes, self.trace.is_apart(t))

    def depends(self, index: int, t: Tensor) -> None:
        """Note an output with a history: one that was freed, or one for backward to go through."""
        if not is_freed(t._grad_fn) and t.retains_grad:
            raise RuntimeError(
                "retain_grad() within a compiled function, of a tensor of its result that backward "
                "is called on later: call retain_grad() on the result, outside"
            )
        if is_freed(t._grad_fn):
            self.freed[index] = self.freed_output(t, FREED)
        else:
            self.differentiable.append((index, t))

    def freed_output(self, y: Tensor, why: str) -> Freed:
        below = reachable_nodes(y._grad_fn)
        return Freed(y._grad_fn.title, why, [
            i for i in self.trace.inputs
            if i.tensor is not None and (i.start or edge(i.twin)) in below
        ])

    def build(self, log: ReadLog, began: float, traced_at: float) -> Entry:
        """Simplify, lower and load the program. All that the Entry needs of the trace is collected
        before that.
        """
        trace, derivative = self.trace, self.derivative
        guard_set = GuardSet(log)
        if derivative is not None:
            derivative.guard_set = guard_set
        identities = self.identities(guard_set)
        flags = [
            (i, i.twin._requires_grad)
            for i in trace.inputs
            if i.tensor is not None and i.twin._requires_grad != i.tensor._requires_grad
        ]
        grad_presence = [(i, i.tensor._grad is not None) for i in trace.inputs_with_read_grad()]
        default_dtype, repeated = get_default_dtype(), repetition(self.arguments)
        phase("lowering")
        recorded = self.recorded(identities)
        stages = self.split.stages()
        low = lowered(recorded)
        low.timing.trace = traced_at - began
        inputs = [trace.inputs[k] for k in low.inputs]
        avals = [() if i.tensor is None else aval(i.tensor) for i in inputs]
        if derivative is not None:
            derivative.bind(low, trace.inputs)
            self.snapshot_plan.watched_by_backward(derivative.kept_inputs)
        self.report_changes(inputs, guard_set)
        seen = self.observations
        return Entry(
            low=low, outputs=[*(Aval(y.shape, y.dtype) for y in self.outputs), *low.saved],
            inputs=inputs, avals=avals, result=self.result, graded=self.graded,
            written=self.written, gaining_history=self.gaining_history,
            streams=list(trace.streams.values()), stages=stages, looked=self.looked,
            way=trace.values.way, lines=[str(q.site) for q in trace.values.questions],
            first_look=trace.values.first_since(), constants=trace.values.constant,
            cuts=trace.values.cuts,
            guarded=self.guarded, risky=self.risky,
            grad_presence=grad_presence, flags=flags, identities=identities,
            attribute_guards=trace.attribute_guards,
            numbers=seen.numbers, scalars=seen.scalars, decisions=seen.decisions,
            effects=[e.location for e in seen.effects], guard_set=guard_set,
            derivative=derivative, freed=self.freed, grad_mode=mode.grad, autocast=mode.autocast,
            default_dtype=default_dtype, repetition=repeated,
        )

    def identities(self, guard_set: GuardSet) -> list[tuple[Any, Any]]:
        """Pairs that must be one object at each call."""
        guards = (*guard_set.every_call, *guard_set.on_report)
        guarded = {
            id(x) for g in guards for x in (g.then if isinstance(g.then, tuple) else (g.then,))
        }
        grads = ((Gradient(o, before_call=True), i) for o, i in self.trace.identical_grads())
        return [*self.trace.identities(guarded), *grads]

    def recorded(self, identities: list[tuple[Any, Any]]) -> Recorded:
        """What is to be lowered."""
        d, inputs = self.derivative, self.trace.inputs
        backward = d.nodes() if d is not None else ()
        rest = self.split.rest(Graph((), (*self.outputs, *backward), self.checks))
        nodes = tuple(i.node for i in inputs)
        # a tensor that no node reads may still have decided something by its shape
        always = {i.node for i in inputs if i.kind in _ENTERED}.union(self.writes.values())
        always.update(i.node for pair in identities for i in pair if isinstance(i, Input))
        place = self.split.place
        layouts = {i.node: layout(i.tensor._array, place) for i in inputs if i.tensor is not None}
        settled = len(self.outputs), nodes, frozenset(always), self.writes, layouts
        options = self.guarded, self.fast_math, place
        if d is None:
            graph = Graph(nodes, rest.outputs, rest.checks)
            cut = partial(without_backward, fast=self.fast_math)
            return Recorded(graph, *settled, *options, cut, tune=self.tune)
        seeds = tuple(s._node for s in d.seeds)
        graph = Graph((*nodes, *seeds), rest.outputs, rest.checks)
        read = [i.node for i in self.snapshot_plan.read if i.kind in _ARRAYS]
        needed = [k for k, x in enumerate(nodes) if d.rerun_reason and x in read]
        cut_key = f"{d.cut_key()} {needed}"
        cut = partial(d.cut, read=read, rewritten=self.writes.values())
        return Recorded(graph, *settled, *options, cut, cut_key, d.whole, self.tune)

    def report_changes(self, inputs: list[Input], guard_set: GuardSet) -> None:
        """From now on, changes of captured tensors are reported to change_counter.py."""
        captured = [i.tensor for i in inputs if i.kind == "tensor"]
        captured += [g.location.holder for g in guard_set.on_report if g.location.kind == "like"]
        for t in captured:
            captured_tensors.note(t)
        if self.derivative is not None:
            for i in self.derivative.wanted:
                differentiated_tensors.note(i.tensor)
