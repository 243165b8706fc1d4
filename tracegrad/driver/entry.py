"""From a recorded call to an Entry: the program for one signature, and how it is fed and answered
at each call.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..codegen.build import build
from ..codegen.program import Program
from ..ir.dtype import DType
from ..ir.graph import Graph
from ..ir.node import Node
from ..ir.ops.movement import permute
from ..ir.simplify import simplify
from ..ir.verify import verify
from ..runtime.cpu.executable import Executable
from ..tracer.autograd.graph import FREED, GradFn, edge
from ..tracer.capture.guards import GuardSet
from ..tracer.capture.locations import Location
from ..tracer.capture.read_log import ReadLog
from ..tracer.capture.scalar import Scalar
from ..tracer.capture.side_effects import Effect
from ..tracer.capture.signature import aval, leaves, rebuild, repetition
from ..tracer.capture.trace import Input, Stream, Trace
from ..tracer.change_counter import captured_tensors, differentiated_tensors
from ..tracer.mode import get_default_dtype, mode
from ..tracer.tensor.gradient_layout import array_axis_order
from ..tracer.tensor.memory_order import axis_order, strides_of
from ..tracer.tensor.tensor import Tensor
from .backward_nodes import is_freed
from .backward_programs import Derivative, layout, records_below
from .hook_effects import TensorKept
from .outputs import Aliased, Given, Gradient, Returned, aliased, listened, refuse_hidden
from .overlaps import refuse_overlap
from .rerun import Rerun
from .scene import Scene

_ENTERED = ("argument", "tensor", "place")


@dataclass
class Timing:
    trace: float = 0.0
    lower: float = 0.0
    load: float = 0.0


@dataclass(eq=False)
class Entry:
    """One traced program of a compiled function."""

    graph: Graph
    program: Program
    executable: Executable
    inputs: list[Input]
    avals: list[tuple]  # of the inputs, as they were traced
    answer: tuple  # what is returned, what the effects set, what is printed: structures, with what
    # outputs.py has for tensors
    graded: list[tuple[Input, int | None]]  # (whose .grad, output; None: to none)
    written: list[Input]  # changed in place
    gaining_history: dict[int, Input]  # those that have a history from then on, by output
    streams: list[Stream]  # random numbers that it uses
    values: list[tuple[int, Any, str]]  # (output, what it must be, the line that asked)
    presence: list[tuple[Input, bool]]  # whose .grad must be there, or not
    flags: list[tuple[Input, bool]]  # requires_grad set by the function
    twice: list[tuple[Any, Any]]  # what must be the same: inputs, places, gradients, a tensor
    asked: list[tuple[Input, str, Any]]  # what Python looked at, of a tensor, and what it was
    numbers: list[Any]  # among the arguments: what they must be, or the Scalars that read them
    scalars: list[tuple[Location, Any]]  # read at each call: numbers outside, or Unread
    decisions: list[tuple[Scalar, Any]]  # what Python decided by those
    effects: list[Location]  # what is set after the call
    guard_set: GuardSet
    derivative: Derivative | None
    freed: dict[int, Freed]  # outputs that backward cannot go through
    timing: Timing
    grad_mode: bool
    default_dtype: DType
    repetition: tuple[int, ...]  # of the arguments: which are one and the same
    replay: Callable[..., Any] = lambda *args: None
    key: Any = None  # of the calls it is for
    # where a look at the arguments is enough: the tensors' positions (None: all are tensors), those
    # of numbers with their types, and the others, which must be the same objects
    tensors: tuple[int, ...] | None = None
    plain: tuple[tuple[int, type], ...] = ()
    others: tuple[tuple[int, Any], ...] = ()
    pools: list[Any] = field(default_factory=list)  # buffers.py's, of the replay
    # the change counter when everything that reports to it was looked at
    seen: list[int] = field(default_factory=lambda: [-1])

    def forget(self) -> None:
        """Let go of the tensors that the trace was made with, save captured ones."""
        d = self.derivative
        named = [i for i, _ in (*self.presence, *self.graded, *self.flags)]
        named += [i for i, _, _ in self.asked]
        named += [i for freed in self.freed.values() for i in freed.sources]
        for i in (*self.inputs, *named, *((*d.wanted, *d.kept_inputs) if d else ())):
            i.forget()

    def _programs(self) -> Iterator[tuple[Executable, list[Any]]]:
        yield self.executable, self.pools
        for backward in list(self.derivative.backwards.values()) if self.derivative else ():
            yield backward.executable, backward.pools

    def memory(self) -> int:
        """The bytes that it keeps between calls: intermediate results, and buffers to use again."""
        return sum(e.memory() + sum(p.memory() for p in pools) for e, pools in self._programs())

    def release_memory(self) -> None:
        """Let go of this memory, unless a call runs just now; the next call takes new one."""
        for executable, pools in self._programs():
            if executable.lock.acquire(blocking=False):
                try:
                    if not executable.busy[0]:
                        self.seen[0] = -1  # the replay looks at everything, also for its arena
                        executable.cool()
                        for pool in pools:
                            pool.clear()
                finally:
                    executable.lock.release()


def _inside(then: Any) -> Any:
    """What a guard asks for."""
    return then if isinstance(then, tuple) else (then,)


class Freed(NamedTuple):
    """An output that backward cannot go through: its graph was freed inside the compiled function,
    or what it needs was changed there. It came from `sources`.
    """

    title: str
    why: str
    sources: list[Input]


class Observations(NamedTuple):
    """What was seen of a call besides its operations; see Entry for the first three."""

    numbers: list[Any]
    scalars: list[tuple[Location, Any]]
    decisions: list[tuple[Scalar, Any]]
    effects: list[Effect]
    printed: list[tuple]


class Recorder:
    """Sorts what a trace produced into outputs of one program."""

    def __init__(
        self, trace: Trace, answer: Any, arguments: list[Tensor], call: tuple, watch: Observations,
        fast_math: bool,
    ):
        self.trace, self.arguments, self.watch = trace, arguments, watch
        self.checks = tuple(trace.checks)
        self.fast_math = fast_math
        self.outputs: list[Node] = []
        self.differentiable: list[tuple[int, Tensor]] = []
        self.freed: dict[int, Freed] = {}
        self.placed: dict[int, Any] = {}
        self.leaves: set[GradFn | None] = set()  # of the answer, which the function made
        self.graded: list[tuple[Input, int | None]] = []
        for i in trace.regraded():
            g = i.twin._grad
            self.graded.append((i, None if g is None else self.output(self.gradient(i, g))))
        self.written = trace.mutated()
        refuse_overlap(self.written, trace.inputs)
        self.scene = Scene(
            trace, watch.scalars, [e.location for e in watch.effects], bool(watch.printed)
        )
        self.writes: dict[int, Node] = {}
        self.gaining_history: dict[int, Input] = {}
        for w in self.written:
            index = self.output(self.node(w.twin))
            self.writes[index] = w.node
            if w.kind != "grad" and w.twin._grad_fn is not None and w.twin._grad_fn is not w.start:
                self.gaining_history[index] = w
                self.depends(index, w.twin)
        self.gradients = {id(i.twin._grad): i for i in trace.regraded()}
        refuse_hidden(answer, "a compiled function returns")
        for location, _, after in watch.effects:
            refuse_hidden(after, f"a compiled function sets {location.label} to")
        answer = (answer, tuple(e.after for e in watch.effects), tuple(watch.printed))
        shown = {id(t): t for t in leaves(answer) if isinstance(t, Tensor)}.values()
        roots = (aliased(t)[0] for t in shown)
        self.sharing = Counter(map(id, roots))  # how many tensors of the answer share memory
        self.answer = rebuild(answer, self.leaf)
        self.values = [(self.output(g.node), g.value, str(g.site)) for g in trace.guards]
        if not self.leaves.isdisjoint(records_below(*(y._grad_fn for _, y in self.differentiable))):
            raise RuntimeError(
                "a compiled function returns a leaf that it made, by requires_grad_(), and what it "
                "computed from it: backward would not find the leaf. Make it outside"
            )
        self.rerun = Rerun(call, self.answer[0], self.scene, self.why_not())
        self.derivative = None
        if self.differentiable:
            self.derivative = self.derived()
        if self.derivative is not None and not self.derivative.hooked:
            self.scene.only([*(y._node for _, y in self.differentiable), *self.derivative.nodes(),
                             *(g.node for g in trace.guards), *self.checks])

    def derived(self) -> Derivative | None:
        """The derivative of the answers that have one: what one of them needs may have been changed
        in place, which matters to those who go there.
        """
        ways = [self.differentiable]
        if len(self.differentiable) > 1:
            ways += [[y] for y in self.differentiable]
        for ys in ways:
            try:
                found = Derivative(
                    self.trace, ys, len(self.outputs), self.rerun, self.fast_math
                )
            except TensorKept as error:
                raise RuntimeError(str(error)) from None
            except RuntimeError as error:
                if len(ys) == 1:
                    ((k, y),) = ys
                    self.freed[k] = self.no_way_back(y, str(error))
            else:
                if len(ys) == len(self.differentiable):
                    return found
        self.differentiable = [(k, y) for k, y in self.differentiable if k not in self.freed]
        return self.derived() if self.differentiable else None

    def why_not(self) -> str:
        """In words, why the function cannot be run again for its derivative."""
        return "changes a tensor in place that has a history" if self.gaining_history else ""

    def node(self, t: Tensor) -> Node:
        if t._node is None:
            t = self.trace.twin(t)
        assert t._node is not None
        return t._node

    def gradient(self, leaf: Input, g: Tensor) -> Node:
        """What is left in the `.grad` of a leaf, its axes in the order in which the leaf lies."""
        axes = array_axis_order(leaf.tensor._array)
        return self.node(g) if axes is None else permute(self.node(g), axes=axes)

    def output(self, node: Node) -> int:
        self.outputs.append(node)
        return len(self.outputs) - 1

    def leaf(self, t: Tensor) -> Any:
        """What stands for a tensor in the answer; for one tensor, one thing."""
        if self.trace.grad_of(t) is not None:
            t = self.trace.twin(t)
        if t._node is None:
            if any(t is found for _, found in self.trace.placed):  # another one at each call
                self.trace.twin(t)
            entered = self.trace.entered(t)
            return t if entered is None else Given(entered)
        if t._view is not None:
            t._view.refresh(t)
        if id(t) not in self.placed:
            self.placed[id(t)] = self.where(t)
        return self.placed[id(t)]

    def where(self, t: Tensor) -> Any:
        given = self.trace.input_of(t)
        if given is not None:
            return Gradient(given.key, found=True) if given.kind == "grad" else Given(given)
        if id(t) in self.gradients:
            return Gradient(self.gradients[id(t)], found=False)
        root, steps = aliased(t)
        known = self.trace.input_of(root) is not None or self.sharing[id(root)] > 1
        # what was cut off from its root and has a history since then got that by itself
        own = t._grad_fn is not None and not all(recorded for _, recorded in steps)
        if steps and known and not own and not listened(t._grad_fn):
            return Aliased(self.leaf(root), steps, t)
        axes = axis_order(tuple(t.shape), strides_of(t))
        node = self.node(t)
        index = self.output(node if axes is None else permute(node, axes=axes))
        begins = t._requires_grad and t._grad_fn is None
        if begins:
            self.leaves.add(edge(t))
        elif t._requires_grad:
            self.depends(index, t)
        return Returned(index, None if t._grad is None else self.leaf(t._grad), begins, axes)

    def depends(self, index: int, t: Tensor) -> None:
        """An output has a history: one that is used up, or one that backward will go through."""
        if not is_freed(t._grad_fn) and t.retains_grad:
            raise RuntimeError(
                "retain_grad() within a compiled function, of a tensor of its answer that backward "
                "is called on later: call retain_grad() on the result, outside"
            )
        if is_freed(t._grad_fn):
            self.freed[index] = self.no_way_back(t, FREED)
        else:
            self.differentiable.append((index, t))

    def no_way_back(self, y: Tensor, why: str) -> Freed:
        below = records_below(y._grad_fn)
        return Freed(y._grad_fn.title, why, [
            i for i in self.trace.inputs
            if i.tensor is not None and (i.start or edge(i.twin)) in below
        ])

    def entry(self, log: ReadLog, began: float, traced_at: float) -> Entry:
        trace, guard_set = self.trace, GuardSet(log)
        if self.derivative is not None:
            self.derivative.guard_set = guard_set
        outputs = [*self.outputs, *(self.derivative.nodes() if self.derivative else ())]
        seeds = tuple(s._node for s in self.derivative.seeds) if self.derivative else ()
        raw = Graph((*(i.node for i in trace.inputs), *seeds), tuple(outputs), self.checks)
        verify(raw)
        fast, derivative = self.fast_math, self.derivative
        graph = derivative.forward(raw, trace) if derivative else simplify(raw, fast=fast)
        if derivative is not None:
            self.scene.watched_by_backward(derivative.kept_inputs)
        used = set(graph.order()) | set(self.writes.values())
        # a tensor that is not read any more may still have decided something by its shape
        guarded = {id(x) for _, then in log.guards() for x in _inside(then)}
        twice = [*trace.twice(guarded),
                 *((Gradient(o, found=True), i) for o, i in trace.twice_grads())]
        used.update(i.node for pair in twice for i in pair if isinstance(i, Input))
        inputs = [i for i in trace.inputs if i.node in used or i.kind in _ENTERED]
        graph = Graph(tuple(i.node for i in inputs), graph.outputs, graph.checks)
        layouts = {i.node: layout(i.tensor._array) for i in inputs if i.tensor is not None}
        program = build(graph, self.writes, layouts, guarded=bool(self.values), fast=fast)
        built_at = time.perf_counter()
        executable = Executable(program)
        timing = Timing(traced_at - began, built_at - traced_at, time.perf_counter() - built_at)
        captured_tensors.update(id(i.tensor) for i in inputs if i.kind == "tensor")
        if derivative is not None:
            differentiated_tensors.update(id(i.tensor) for i in derivative.wanted)
        captured_tensors.update(
            id(g.location.holder) for g in guard_set.on_report if g.location.kind == "like"
        )
        flags = [
            (i, i.twin._requires_grad)
            for i in trace.inputs
            if i.tensor is not None and i.twin._requires_grad != i.tensor._requires_grad
        ]
        return Entry(
            graph, program, executable, inputs,
            [aval(i.tensor) if i.tensor is not None else () for i in inputs],
            self.answer, self.graded, self.written, self.gaining_history,
            list(trace.streams.values()), self.values,
            [(i, i.tensor._grad is not None) for i in trace.used_grads()],
            flags, twice, trace.asked,
            *self.watch[:3], [e.location for e in self.watch.effects], guard_set,
            self.derivative, self.freed, timing,
            mode.grad,
            get_default_dtype(),
            repetition(self.arguments),
        )
