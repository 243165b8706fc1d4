"""The loss-only style: a compiled forward, and the backward programs for its outputs.

Both are cut from one joint graph. What forward saves and what backward computes again is decided by
cost (ir/saved_values.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np

from ..ir.choices import Choices
from ..ir.graph import Graph, postorder
from ..ir.locks import lock
from ..ir.node import Aval, Node, input_node
from ..ir.ops.elementwise import may_fail
from ..ir.progress import progress
from ..ir.saved_values import saved_values
from ..runtime.device import Executable
from ..tracer.autograd.backward import backpropagate
from ..tracer.autograd.graph import GradFn, edge
from ..tracer.capture.guards import Guard
from ..tracer.capture.inputs import Input
from ..tracer.capture.trace import Trace
from ..tracer.tensor.device import CPU
from ..tracer.tensor.placement import placed
from ..tracer.tensor.tensor import Tensor, traced, wrap
from .buffers import Pool
from .hook_effects import observed, runs_code
from .lowering import Backwards, Cut, Lowered, backward_program, simple
from .places import Array, Place, address, is_apart, layout, place_of
from .rerun import Rerun
from .snapshot import restorable_parts


class Backward:
    """A backward program: gradients from cotangents and saved values."""

    def __init__(self, executable: Executable, place: Place):
        self.executable, self.program, self.place = executable, executable.program, place
        self.inputs = self.program.inputs
        buffers = self.program.buffers
        self.pools = [
            Pool(place, executable.table, slot, buffers[slot].shape, buffers[slot].dtype)
            for slot in self.program.outputs
        ]

    def run(self, pointers: Iterable[int]) -> list[Tensor]:
        """The gradients. `pointers` are addresses of the graph's inputs, which the caller keeps
        alive.
        """
        executable = self.executable
        with executable.lock:
            if executable.busy[0]:  # called by a signal handler that interrupted this very program
                other = Backward(self.place.executable(self.program), self.place)
                return other.run(pointers)
            executable.busy[0] = True
            try:
                executable.warm()
                table, results = executable.table, []
                for slot, pointer in zip(self.inputs, pointers, strict=True):
                    table[slot] = pointer
                for pool in self.pools:
                    t = wrap(pool.take(), pool.dtype)
                    t._ptr = table[pool.slot]
                    results.append(t)
                executable.run()
            finally:
                executable.busy[0] = False
        return results


class Derivative:
    """The derivative of the outputs `ys` (index, traced tensor) of a trace with respect to its
    inputs that require grad.

    `starts` is a set of outputs, numbered within `ys`, that a backward starts from. Gradients are
    taken for all outputs together and for each one alone. A zero cotangent for the others is no
    substitute: it would be multiplied with infinities.
    """

    def __init__(
        self, trace: Trace, ys: list[tuple[int, Tensor]], count: int, rerun: Rerun, fast: bool
    ):
        self.count, self.rerun, self.fast = count, rerun, fast
        self.outputs = [k for k, _ in ys]
        self.seeds = [traced(input_node(tuple(y.shape), y.dtype, "cotangent")) for _, y in ys]
        sources = [
            i for i in trace.inputs
            if i.tensor is not None and (i.tensor._requires_grad or i.is_grad_leaf)
        ]
        for i in sources:  # hooks of a captured tensor run outside, where the gradient arrives
            i.twin._hooks = None
        fns = [edge(y) for _, y in ys]
        roots = [(fn, s) for fn, s in zip(fns, self.seeds, strict=True) if fn is not None]
        self.all_outputs = frozenset(range(len(ys)))
        alone = [frozenset([k]) for k in self.all_outputs] if len(ys) > 1 else []
        targets = [i.start or edge(i.twin) for i in sources]
        nodes = [reachable_nodes(fn) for fn in fns]
        # whether backward runs the user's code; what the function itself has read before
        self.hooked = any(map(runs_code, set().union(*nodes)))
        observer = trace.observer
        self.forward_reads = frozenset((*observer.reads, *observer.classes) if observer else ())
        start_sets = (self.all_outputs, *alone)
        gradients, effects, checks = zip(
            *(
                self.backpropagated(trace, [roots[k] for k in sorted(starts)], targets)
                for starts in start_sets
            ),
            strict=True,
        )
        self.rerun_reason = next(filter(None, effects), "")  # why backward runs the function again
        reached = [
            k for k in range(len(sources)) if self.rerun_reason or gradients[0][k] is not None
        ]
        self.wanted = [sources[k] for k in reached]
        if self.rerun_reason and rerun.rerun_obstacle:
            raise RuntimeError(
                f"the backward of a compiled function {self.rerun_reason}, so it would have to run "
                f"the function again, and this one {rerun.rerun_obstacle}: call backward() inside "
                "of it"
            )
        self.gradients: dict[frozenset[int], list[Node | None]] = {} if self.rerun_reason else {
            starts: [None if (g := gs[k]) is None else g._node for k in reached]
            for starts, gs in zip(start_sets, gradients, strict=True)
        }
        # checks that a backward makes, whether or not a gradient needs them
        self.checks = dict(zip(start_sets, checks, strict=True))
        self._relate(fns, nodes)
        self.guard_set: Any = None  # the GuardSet of the program
        self.stand_ins: tuple[Node, ...] = ()  # for the values that forward saves
        self.building = lock()
        self.backwards: dict[frozenset[int], Backward] = {}
        # the cotangent of a backward() without one
        self._one = place_of(trace).from_host(np.ones((), self.seeds[0].dtype.storage))
        self.unit = [address(self._one)]

    def _relate(self, fns: list[GradFn | None], nodes: list[set[GradFn]]) -> None:
        """How outputs depend on each other. `fns` are their autograd nodes, `nodes` those that a
        backward from each may go through.
        """
        saving = [{f for f in below if f.has_saved_values()} for below in nodes]
        self.frees = [  # for each output: those that are freed by a backward through it
            frozenset(j for j in self.all_outputs if saving[j] & mine) for mine in saving
        ]
        self.users = [  # for each output: the others that were computed from it
            frozenset(j for j in self.all_outputs - {k} if fn in nodes[j])
            for k, fn in enumerate(fns)
        ]

    def backpropagated(
        self, trace: Trace, roots: list[tuple[GradFn, Tensor]], targets: list[Any]
    ) -> tuple[list[Tensor | None], str, list[Node]]:
        """The gradients of `targets` from some outputs; the side effect of the pass, in words; the
        checks that it makes. The checks move from the trace to the backward program.
        """
        before = set(trace.checks)
        run = partial(backpropagate, roots, targets, True, False)
        if self.hooked:
            gs, effect, written = observed(trace, self.seeds, run, not self.rerun.rerun_obstacle)
        else:
            gs, effect, written = run(), "", []
        self.rerun.snapshot_plan.written_by_backward(written)
        checks = [c for c in trace.checks if c not in before]
        for c in checks:
            del trace.checks[c]
        return gs, effect, checks

    def needs_rerun(self) -> bool:
        """Whether backward has to run the function again: it has side effects, or a guard of the
        program no longer holds, so that its hooks may read something else.
        """
        if not self.hooked:
            return False
        return bool(self.rerun_reason) or next(self.guard_set.changes(), None) is not None

    def changed(self) -> list[Guard]:
        """The guards on what the function itself read that no longer hold. Raises if such a change
        cannot be undone for a rerun.
        """
        changes = list(self.guard_set.changes())
        own = [
            g for g in changes
            if (g.location.holder if g.location.kind == "class" else g.location.id)
            in self.forward_reads
            and not self.rerun.snapshot_plan.ignores(g.location)
        ]
        irreversible = [g for g in own if not restorable_parts(g)]
        for guard in changes if self.rerun.rerun_obstacle else irreversible:
            raise RuntimeError(
                f"{guard} between the call of a compiled function and its backward, which "
                "would have to run the function again; call backward first"
            )
        return own

    def bind(self, low: Lowered, inputs: list[Input]) -> None:
        """Take over what the forward program decided; `inputs` are those that were recorded."""
        self.low, self.saved = low, low.saved
        self.kept_inputs = [inputs[k] for k in low.needed]
        arrays = ((i.node, i.tensor) for i in self.kept_inputs if i.tensor is not None)
        self.layouts = {n: layout(t._array, low.place) for n, t in arrays if t._array is not None}
        self.inputs = [i.node for i in self.kept_inputs]
        # the wanted inputs that are tensors of the CPU: their gradients go there
        self.apart = [is_apart(i.tensor._array, low.place) for i in self.wanted]
        self.some_apart = any(self.apart)

    def cut_key(self) -> str:
        """What decides, besides the graph, how it is cut."""
        present = [[sorted(s), *(g is None for g in gs)] for s, gs in self.gradients.items()]
        checks = [len(cs) for cs in self.checks.values()]
        return f"{bool(self.rerun_reason)} {present} {checks}"

    def nodes(self) -> list[Node]:
        """The gradients and the checks, to be simplified together with the outputs."""
        gradients = [g for gs in self.gradients.values() for g in gs if g is not None]
        return [*gradients, *(c for cs in self.checks.values() for c in cs)]

    def replace_gradients(self, nodes: Iterable[Node]) -> None:
        """Replace the nodes that `nodes` returned, in the same order."""
        new = iter(nodes)
        self.gradients = {
            starts: [None if g is None else next(new) for g in gs]
            for starts, gs in self.gradients.items()
        }
        self.checks = {starts: [next(new) for _ in cs] for starts, cs in self.checks.items()}

    def cut(
        self, joint: Graph, choices: Choices, read: Collection[Node], rewritten: Collection[Node]
    ) -> Cut:
        """The forward graph, cut from the joint graph of outputs and gradients. The values that
        backward needs are further outputs of it; inputs that are `rewritten` are among them. If
        backward runs the function again, it checks that the inputs in `read` have not changed.
        """
        joint = simple(joint, self.fast, [s._node for s in self.seeds])
        inputs = joint.inputs[: -len(self.seeds)]
        results = joint.outputs[: self.count]
        if self.rerun_reason:
            used = set(postorder(results))
            return Cut(Graph(inputs, results, joint.checks), [x for x in read if x in used])
        self.replace_gradients(joint.outputs[self.count :])
        saved = saved_values((*results, *joint.checks), self.nodes(), rewritten, choices)
        stand_ins = {n: input_node(n.shape, n.dtype, f"saved_{n.op.name}") for n in saved}
        self.replace_gradients(Graph((), tuple(self.nodes())).substitute(stand_ins).outputs)
        self.stand_ins = tuple(stand_ins.values())
        return Cut(
            Graph(inputs, (*results, *saved), joint.checks), postorder(self.nodes()),
            [Aval(n.shape, n.dtype) for n in saved],
        )

    def gradients_from(self, starts: frozenset[int]) -> list[Node | None]:
        """The gradients of the wanted inputs from some of the outputs."""
        if starts in self.gradients:
            return self.gradients[starts]
        by_output = zip(*(self.gradients[frozenset([k])] for k in sorted(starts)), strict=True)
        return [reduce(add, present) if (present := [g for g in gs if g is not None]) else None
                for gs in by_output]

    def program_for(self, starts: frozenset[int]) -> Backward:
        """The backward program for some of the outputs, built when it is first needed."""
        with self.building:
            if starts not in self.backwards:
                seeds = [self.seeds[k]._node for k in sorted(starts)]
                with progress("lowering backward"):
                    self.backwards[starts] = Backward(backward_program(
                        self.low, starts, [*self.inputs, *seeds], self.layouts,
                        [g for g in self.gradients_from(starts) if g is not None],
                        lambda: self.graph(starts, seeds), self.fast,
                    ), self.low.place)
        return self.backwards[starts]

    def graph(self, starts: frozenset[int], seeds: list[Node]) -> Graph:
        """The graph of a backward program. What forward saves are its first inputs."""
        self.low.graph()  # forward has been cut off now
        return self._graph(starts, self.inputs, seeds)

    def whole(self, needed: Sequence[Node]) -> Backwards | None:
        """That of a backward from all outputs, after a cut by which it needs these inputs; None if
        there is none, but the function is run again.
        """
        if self.rerun_reason:
            return None
        seeds = [s._node for s in self.seeds]
        return Backwards(self._graph(self.all_outputs, needed, seeds), seeds)

    def _graph(
        self, starts: frozenset[int], inputs: Sequence[Node], seeds: Sequence[Node]
    ) -> Graph:
        gradients = tuple(g for g in self.gradients_from(starts) if g is not None)
        check_lists = [self.checks[starts]] if starts in self.checks else (
            [self.checks[frozenset([k])] for k in sorted(starts)])
        checks = tuple(c for cs in check_lists for c in cs if may_fail(c.op, c.params))
        return Graph((*self.stand_ins, *inputs, *seeds), gradients, checks)

    def run(self, starts: frozenset[int], pointers: Iterable[int]) -> list[Tensor | None]:
        """The gradients of the wanted inputs. `pointers` are addresses of what a call kept and of
        the cotangents of the outputs, all of which the caller keeps alive.
        """
        gradients: list[Tensor | None] = [
            *(self.backwards.get(starts) or self.program_for(starts)).run(pointers)
        ]
        if starts is not self.all_outputs:
            waiting = iter(gradients)
            gradients = [None if g is None else next(waiting) for g in self.gradients_from(starts)]
        if self.some_apart:
            gradients = [g if g is None or not apart else placed(g, CPU)
                         for g, apart in zip(gradients, self.apart, strict=True)]
        return gradients

    def bring(self, cotangent: Array) -> Array:
        """The cotangent of an output, where the program computes."""
        return self.low.place.from_host(cotangent) if is_apart(cotangent, self.low.place) else (
            cotangent)


def reachable_nodes(*fns: GradFn | None) -> set[GradFn]:
    """The autograd nodes that a backward from `fns` may go through."""
    stack, seen = list(fns), set()
    while stack:
        f = stack.pop()
        if f is not None and f not in seen:
            seen.add(f)
            stack.extend(f.edges)
    return seen
