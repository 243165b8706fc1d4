"""The loss-only style: a compiled forward whose answer remembers how to run the compiled backward.

Both programs are cut from one joint graph. What backward needs and forward has anyway (matrix
products, reductions, costly functions) is saved; cheap elementwise chains are computed again, which
is faster than reading them back.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import numpy as np

from .codegen.build import build
from .codegen.view import View
from .compile_pool import Pool
from .compile_rerun import Rerun
from .ir.graph import Graph, postorder
from .ir.node import Node, input_node
from .ir.op import DIVIDE, Kind
from .ir.ops.elementwise import CHECKS
from .ir.ops.random import random_bits
from .ir.simplify import simplify
from .runtime.executable import Executable, address
from .tracer.backward import grad
from .tracer.tensor import Tensor, traced, wrap
from .tracer.trace import Trace


class Derivative:
    """How the outputs `ys` (index, traced tensor) of a trace depend on its inputs that require
    grad.
    """

    def __init__(self, trace: Trace, ys: list[tuple[int, Tensor]], count: int, rerun: Rerun):
        self.trace, self.count, self.rerun = trace, count, rerun
        self.outputs = [k for k, _ in ys]
        self.sources = [i for i in trace.inputs if i.tensor is not None and i.tensor._requires_grad]
        self.seeds = [traced(input_node(tuple(y.shape), y.dtype, "cotangent")) for _, y in ys]
        for i in self.sources:  # its hooks are called where the gradient arrives, outside
            i.twin._hooks = None
        twins = [i.twin for i in self.sources]
        found = grad([y for _, y in ys], twins, grad_outputs=self.seeds,
                     retain_graph=True, allow_unused=True) if twins else ()  # fmt: skip
        self.wanted = [i for i, g in zip(self.sources, found, strict=True) if g is not None]
        self.gradients = [g._node for g in found if g is not None]
        self.residuals: tuple[Node, ...] = tuple(self.gradients)  # until forward() has looked
        self.building = threading.Lock()
        one = np.ones((), self.seeds[0].dtype.storage)
        self._one, self.unit = one, [address(one)]  # the cotangent that backward() begins with
        self.executable: Executable | None = None

    def forward(self, joint: Graph) -> Graph:
        """The forward graph, with what backward needs as further outputs, from the outputs and
        gradients together.
        """
        seeds = tuple(s._node for s in self.seeds)
        joint = simplify(joint)
        answers, gradients = joint.outputs[: self.count], joint.outputs[self.count :]
        rewritten = {i.node for i in self.trace.mutated()}
        saved = residuals(answers, gradients, set(seeds), rewritten)
        stand_ins = {n: input_node(n.shape, n.dtype, f"saved_{n.op.name}") for n in saved}
        backward = Graph(tuple(joint.inputs), tuple(gradients)).substitute(stand_ins)
        used = set(backward.order())
        self.kept_inputs = [i for i in self.trace.inputs if i.node in used]
        self.used_seeds = [k for k, s in enumerate(seeds) if s in used]
        self.backward_graph = Graph(
            (
                *(stand_ins[n] for n in saved),
                *(i.node for i in self.kept_inputs),
                *(seeds[k] for k in self.used_seeds),
            ),
            backward.outputs,
        )
        self.saved = saved
        return Graph(joint.inputs[: -len(seeds)], (*answers, *saved))

    def compiled(self) -> Executable:
        """The backward program, built when it is first needed."""
        with self.building:
            if self.executable is None:
                layouts = {}
                for i in self.kept_inputs:
                    if i.tensor is not None and i.tensor._array is not None:
                        layouts[i.node] = layout(i.tensor._array)
                program = build(self.backward_graph, {}, layouts)
                executable = Executable(program)
                self.pools = [
                    Pool(executable.table, slot, y.shape, y.dtype)
                    for slot, y in zip(program.outputs, self.backward_graph.outputs, strict=True)
                ]
                self.executable = executable
        return self.executable

    def run(self, pointers: Iterable[int]) -> list[Tensor]:
        """The gradients of the wanted inputs; `pointers` lead to the backward graph's inputs, which
        the caller keeps alive.
        """
        executable = self.executable or self.compiled()
        with executable.lock:
            for slot, pointer in zip(executable.program.inputs, pointers, strict=True):
                executable.table[slot] = pointer
            results = []
            for pool in self.pools:
                t = wrap(pool.take(), pool.dtype)
                t._ptr = executable.table[pool.slot]
                results.append(t)
            executable.run()
        return results


def layout(array: np.ndarray) -> View:
    """How an array lies in memory."""
    size = array.itemsize
    return View(array.shape, tuple(s // size for s in array.strides))


def residuals(
    answers: Iterable[Node], gradients: Iterable[Node], seeds: set[Node], rewritten: set[Node]
) -> tuple[Node, ...]:
    """What forward saves for backward: the last values before the cotangents that are not cheap to
    compute again.
    """
    order = postorder(gradients)
    late = set(seeds)
    for node in order:
        if any(x in late for x in node.inputs):
            late.add(node)
    made = set(postorder(answers))
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
        elif node.op.kind is Kind.MOVEMENT and node.op.name not in ("concat", "pad"):
            frontier.extend(node.inputs)
        elif node.op is random_bits or (  # the same numbers again take no memory
            node.op.kind is Kind.ELEMENTWISE
            and node.op.cost < DIVIDE
            and node.op not in CHECKS
        ):
            frontier.extend(node.inputs)
        else:
            saved[node] = None
    return tuple(sorted(saved, key=lambda n: (n not in made, str(n.shape))))
