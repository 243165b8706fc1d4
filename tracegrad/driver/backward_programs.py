"""The loss-only style: a compiled forward whose answer remembers how to run the compiled backward.

Both programs are cut from one joint graph. What backward needs and forward has anyway (matrix
products, reductions, costly functions) is saved; cheap elementwise chains are computed again, which
is faster than reading them back.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np

from ..codegen.build import build
from ..ir.graph import Graph, postorder
from ..ir.locks import lock
from ..ir.node import Node, input_node
from ..ir.op import Kind
from ..ir.ops.elementwise import may_fail
from ..ir.simplify import simplify
from ..ir.strides import View
from ..runtime.cpu.executable import Executable, address
from ..tracer.autograd.backward import backpropagate
from ..tracer.autograd.graph import GradFn, edge
from ..tracer.capture.guards import Guard
from ..tracer.capture.trace import Trace
from ..tracer.tensor.tensor import Tensor, traced, wrap
from .buffers import Pool
from .hook_effects import observed, runs_code
from .rerun import Rerun
from .scene import parts


class Backward:
    """A backward program: gradients from cotangents and what a call kept."""

    def __init__(self, graph: Graph, layouts: dict[Node, View], fast: bool):
        self.made_of = graph, layouts, fast
        self.executable = executable = Executable(build(graph, {}, layouts, fast=fast))
        self.inputs = executable.program.inputs
        self.pools = [
            Pool(executable.table, slot, y.shape, y.dtype)
            for slot, y in zip(executable.program.outputs, graph.outputs, strict=True)
        ]

    def run(self, pointers: Iterable[int]) -> list[Tensor]:
        """The gradients; `pointers` lead to the graph's inputs, which the caller keeps alive."""
        executable = self.executable
        with executable.lock:
            if executable.busy[0]:  # a signal handler came in between
                return Backward(*self.made_of).run(pointers)
            executable.busy[0] = True
            try:
                executable.warm()
                for slot, pointer in zip(self.inputs, pointers, strict=True):
                    executable.table[slot] = pointer
                results = []
                for pool in self.pools:
                    t = wrap(pool.take(), pool.dtype)
                    t._ptr = executable.table[pool.slot]
                    results.append(t)
                executable.run()
            finally:
                executable.busy[0] = False
        return results


class Derivative:
    """How the outputs `ys` (index, traced tensor) of a trace depend on its inputs that require
    grad.

    `starts` are the outputs, by their number here, that a backward starts from. Gradients are
    taken for all of them together, as a loss made of them all asks, and for each alone: a zero in
    place of the others would be multiplied with what is infinite.
    """

    def __init__(
        self, trace: Trace, ys: list[tuple[int, Tensor]], count: int, rerun: Rerun, fast: bool
    ):
        self.count, self.rerun, self.fast = count, rerun, fast
        self.outputs = [k for k, _ in ys]
        self.seeds = [traced(input_node(tuple(y.shape), y.dtype, "cotangent")) for _, y in ys]
        sources = [
            i for i in trace.inputs
            if i.tensor is not None and (i.tensor._requires_grad or i.begins)
        ]
        for i in sources:  # its hooks are called where the gradient arrives, outside
            i.twin._hooks = None
        fns = [edge(y) for _, y in ys]
        roots = [(fn, s) for fn, s in zip(fns, self.seeds, strict=True) if fn is not None]
        self.every = frozenset(range(len(ys)))
        alone = [frozenset([k]) for k in self.every] if len(ys) > 1 else []
        targets = [i.start or edge(i.twin) for i in sources]
        below = [records_below(fn) for fn in fns]
        # whether backward runs code of the user's, and what the function itself has read till now
        self.hooked = any(map(runs_code, set().union(*below)))
        seen = trace.observer
        self.forward_reads = frozenset((*seen.reads, *seen.classes) if seen else ())
        ways = (self.every, *alone)
        found, effects, checks = zip(
            *(self.backpropagated(trace, [roots[k] for k in sorted(w)], targets) for w in ways),
            strict=True,
        )
        self.again = next(filter(None, effects), "")  # why backward runs the function again
        reached = [k for k in range(len(sources)) if self.again or found[0][k] is not None]
        self.wanted = [sources[k] for k in reached]
        if self.again and rerun.why_not:
            raise RuntimeError(
                f"the backward of a compiled function {self.again}, so it would have to run the "
                f"function again, and this one {rerun.why_not}: call backward() inside of it"
            )
        self.gradients: dict[frozenset[int], list[Node | None]] = {} if self.again else {
            starts: [None if (g := gs[k]) is None else g._node for k in reached]
            for starts, gs in zip(ways, found, strict=True)
        }
        # what a backward may raise, whether or not a gradient needs it
        self.checks = dict(zip(ways, checks, strict=True))
        kept = [{f for f in found if f.has_saved_values()} for found in below]
        self.frees = [
            frozenset(j for j in self.every if kept[j] & own) for own in kept
        ]  # which outputs have no way back any more, once backward went through one
        self.users = [  # of each output: which others were computed from it
            frozenset(j for j in self.every - {k} if fn in below[j]) for k, fn in enumerate(fns)
        ]
        self.guard_set: Any = None  # the guards of the program; guards.py
        self.saved: tuple[Node, ...] = ()
        self.inputs: tuple[Node, ...] = ()
        self.building = lock()
        self.backwards: dict[frozenset[int], Backward] = {}
        one = np.ones((), self.seeds[0].dtype.storage)
        self._one, self.unit = one, [address(one)]  # the cotangent that backward() begins with

    def backpropagated(
        self, trace: Trace, roots: list[tuple[GradFn, Tensor]], targets: list[Any]
    ) -> tuple[list[Tensor | None], str, list[Node]]:
        """The gradients of `targets` from some outputs, what the pass does besides, in words, and
        the checks it makes, which are taken out of the trace: they are the backward program's.
        """
        before = set(trace.checks)
        run = partial(backpropagate, roots, targets, True, False)
        if self.hooked:
            gs, effect, written = observed(trace, self.seeds, run, not self.rerun.why_not)
        else:
            gs, effect, written = run(), "", []
        self.rerun.scene.changed_later(written)
        checks = [c for c in trace.checks if c not in before]
        for c in checks:
            del trace.checks[c]
        return gs, effect, checks

    def runs_again(self) -> bool:
        """Whether backward has to run the function again: it acts, or what its hooks read is no
        longer what it was at the call.
        """
        return self.hooked and (bool(self.again) or any(True for _ in self.guard_set.changes()))

    def changed(self) -> list[Guard]:
        """What the function itself read and is no longer what it was at the call; raises where it
        cannot be put back to run the function again.
        """
        found = list(self.guard_set.changes())
        mine = [
            g for g in found
            if (g.location.holder if g.location.kind == "class" else g.location.id)
            in self.forward_reads
            and not self.rerun.scene.ignores(g.location)
        ]
        lost = found if self.rerun.why_not else [g for g in mine if not parts(g)]
        for guard in lost:
            raise RuntimeError(
                f"{guard} between the call of a compiled function and its backward, which "
                "would have to run the function again; call backward first"
            )
        return mine

    def nodes(self) -> list[Node]:
        """The gradients and the checks, to be simplified together with the outputs."""
        gradients = [g for gs in self.gradients.values() for g in gs if g is not None]
        return [*gradients, *(c for cs in self.checks.values() for c in cs)]

    def renewed(self, nodes: Iterable[Node]) -> None:
        """Take these instead of what `nodes` gave."""
        new = iter(nodes)
        self.gradients = {
            starts: [None if g is None else next(new) for g in gs]
            for starts, gs in self.gradients.items()
        }
        self.checks = {starts: [next(new) for _ in cs] for starts, cs in self.checks.items()}

    def forward(self, joint: Graph, trace: Trace) -> Graph:
        """The forward graph, with what backward needs as further outputs, from the outputs and
        gradients together.
        """
        seeds = [s._node for s in self.seeds]
        joint = simplify(joint, fast=self.fast)
        answers = joint.outputs[: self.count]
        if self.again:  # nothing it was computed from may change until then
            self.layouts = {}
            used = set(postorder(answers))
            kinds = ("argument", "tensor")
            self.kept_inputs = [
                i for i in self.rerun.scene.read if i.node in used and i.kind in kinds
            ]
            return Graph(joint.inputs[: -len(seeds)], answers, joint.checks)
        self.renewed(joint.outputs[self.count :])
        rewritten = {i.node for i in trace.mutated()}
        self.saved = residuals((*answers, *joint.checks), self.nodes(), set(seeds), rewritten)
        stand_ins = {n: input_node(n.shape, n.dtype, f"saved_{n.op.name}") for n in self.saved}
        self.renewed(Graph((), tuple(self.nodes())).substitute(stand_ins).outputs)
        used = set(postorder(self.nodes()))
        self.kept_inputs = [i for i in trace.inputs if i.node in used]
        arrays = ((i.node, i.tensor) for i in self.kept_inputs if i.tensor is not None)
        self.layouts = {n: layout(t._array) for n, t in arrays if t._array is not None}
        self.inputs = (*stand_ins.values(), *(i.node for i in self.kept_inputs))
        return Graph(joint.inputs[: -len(seeds)], (*answers, *self.saved), joint.checks)

    def along(self, starts: frozenset[int]) -> list[Node | None]:
        """The gradients of the wanted inputs from some of the outputs."""
        if starts in self.gradients:
            return self.gradients[starts]
        parts = zip(*(self.gradients[frozenset([k])] for k in sorted(starts)), strict=True)
        return [reduce(add, there) if (there := [g for g in gs if g is not None]) else None
                for gs in parts]

    def built(self, starts: frozenset[int]) -> Backward:
        """The backward program for some of the outputs, built when it is first needed."""
        with self.building:
            if starts not in self.backwards:
                gradients = tuple(g for g in self.along(starts) if g is not None)
                seeds = (self.seeds[k]._node for k in sorted(starts))
                every = [self.checks[starts]] if starts in self.checks else (
                    [self.checks[frozenset([k])] for k in sorted(starts)])
                checks = tuple(c for cs in every for c in cs if may_fail(c.op, c.params))
                graph = Graph((*self.inputs, *seeds), gradients, checks)
                self.backwards[starts] = Backward(graph, self.layouts, self.fast)
        return self.backwards[starts]

    def run(self, starts: frozenset[int], pointers: Iterable[int]) -> list[Tensor | None]:
        """The gradients of the wanted inputs; `pointers` lead to what a call kept and to the
        cotangents of the outputs, and the caller keeps that alive.
        """
        found = (self.backwards.get(starts) or self.built(starts)).run(pointers)
        if starts is self.every:
            return found  # type: ignore[return-value]
        waiting = iter(found)
        return [None if g is None else next(waiting) for g in self.along(starts)]


def records_below(*fns: GradFn | None) -> set[GradFn]:
    """The records that a backward from `fns` may go through."""
    stack, seen = list(fns), set()
    while stack:
        f = stack.pop()
        if f is not None and f not in seen:
            seen.add(f)
            stack.extend(f.edges)
    return seen


def layout(array: np.ndarray) -> View:
    """How an array lies in memory."""
    size = array.itemsize
    return View(array.shape, tuple(s // size for s in array.strides))


def residuals(
    forward: Iterable[Node], gradients: Iterable[Node], seeds: set[Node], rewritten: set[Node]
) -> tuple[Node, ...]:
    """What forward saves for backward: the last values before the cotangents that are not cheap to
    compute again. What may fail, and forward does not compute, fails in backward.
    """
    order = postorder(gradients)
    late, made = set(seeds), set(postorder(forward))
    for node in order:
        fails = may_fail(node.op, node.params) and node not in made
        if fails or any(x in late for x in node.inputs):
            late.add(node)
    frontier = [x for n in order if n in late for x in n.inputs if x not in late]
    frontier += [g for g in gradients if g not in late]
    saved: dict[Node, None] = {}
    looked: set[Node] = set()
    while frontier:
        node = frontier.pop()
        if node in looked:
            continue
        looked.add(node)
        if node.op.kind is Kind.SOURCE:
            if node in rewritten:
                saved[node] = None
        elif node.op.recomputed:
            frontier.extend(node.inputs)
        else:
            saved[node] = None
    return tuple(sorted(saved, key=lambda n: (n not in made, str(n.shape))))
