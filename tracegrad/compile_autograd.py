"""The loss-only style: a compiled forward whose answer remembers how to run the compiled backward.

Both programs are cut from one joint graph. What backward needs and forward has anyway (matrix
products, reductions, costly functions) is saved; cheap elementwise chains are computed again, which
is faster than reading them back.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import numpy as np

from .codegen.build import build
from .codegen.view import View
from .compile_pool import Pool
from .ir.graph import Graph, postorder
from .ir.node import Node, input_node
from .ir.op import DIVIDE, Kind
from .ir.simplify import simplify
from .runtime.executable import Executable, address
from .tracer.backward import grad
from .tracer.mode import mode
from .tracer.tape import FREED, GradFn, edge
from .tracer.tensor import Tensor, traced, wrap
from .tracer.trace import Trace


class Derivative:
    """How the outputs `ys` (index, traced tensor) of a trace depend on its inputs that require
    grad.
    """

    def __init__(self, trace: Trace, ys: list[tuple[int, Tensor]], count: int, graded: bool):
        self.trace, self.count = trace, count
        self.outputs = [k for k, _ in ys]
        self.sources = [i for i in trace.inputs if i.tensor is not None and i.tensor._requires_grad]
        self.seeds = [traced(input_node(tuple(y.shape), y.dtype, "cotangent")) for _, y in ys]
        for i in self.sources:  # its hooks are called where the gradient arrives, outside
            i.twin._hooks = None
        found = grad([y for _, y in ys], [i.twin for i in self.sources], grad_outputs=self.seeds,
                     retain_graph=True, allow_unused=True)  # fmt: skip
        self.wanted = [i for i, g in zip(self.sources, found, strict=True) if g is not None]
        self.gradients = [g._node for g in found if g is not None]
        self.residuals: tuple[Node, ...] = tuple(self.gradients)  # until forward() has looked
        self.building = threading.Lock()
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

    def run(self, arrays: list[np.ndarray]) -> list[Tensor]:
        """The gradients of the wanted inputs; `arrays` are the inputs of the backward graph."""
        executable = self.executable or self.compiled()
        with executable.lock:
            for slot, array in zip(executable.program.inputs, arrays, strict=True):
                executable.table[slot] = address(array)
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
        elif (
            node.op.kind is Kind.ELEMENTWISE
            and node.op.cost < DIVIDE
            and node.op.name != "check_index"
        ):
            frontier.extend(node.inputs)
        else:
            saved[node] = None
    return tuple(sorted(saved, key=lambda n: (n not in made, str(n.shape))))


class Spent(GradFn):
    """The record of an output whose graph was used up inside the compiled function; shared by all
    calls.
    """

    __slots__ = ()

    def __init__(self, title: str):
        super().__init__(title, ())

    def apply(self, g: Tensor) -> tuple[Any, ...]:
        raise RuntimeError(FREED)


def spent(fn: GradFn | None) -> bool:
    """Whether backward went through here already and let the saved values go."""
    stack, looked = [fn], set()
    while stack:
        f = stack.pop()
        if f is None or f in looked:
            continue
        looked.add(f)
        if getattr(f, "freed", False):
            return True
        stack.extend(f.edges)
    return False


class Bundle:
    """The cotangents of several outputs of one call, on their way to the one record of that
    call.
    """

    def __init__(self, parts: dict[int, Tensor]):
        self.parts = parts

    def __add__(self, other: Bundle) -> Bundle:
        parts = dict(self.parts)
        for k, g in other.parts.items():
            parts[k] = parts[k] + g if k in parts else g
        return Bundle(parts)


class CompiledOutput(GradFn):
    """The record of one output of a compiled call; it hands its cotangent to the call."""

    __slots__ = ("index",)

    def __init__(self, call: CompiledCall, index: int):
        super().__init__("CompiledFunctionBackward", (call,))
        self.index = index

    def apply(self, g: Tensor) -> tuple[Any, ...]:
        return (Bundle({self.index: g}),)


class CompiledCall(GradFn):
    """The record of one compiled call: what it saved, and the tensors it came from."""

    __slots__ = ("arrays", "derivative", "freed", "versions")

    def __init__(
        self,
        derivative: Derivative,
        inputs: list[Tensor],
        saved: list[np.ndarray],
        kept: list[Tensor],
    ):
        super().__init__("CompiledFunctionBackward", tuple(edge(t) for t in inputs))
        self.derivative, self.freed = derivative, False
        self.arrays = [*saved, *(t._array for t in kept)]
        self.versions = [(t._version, t._version[0], t.shape) for t in kept]

    def arrive(self, g: Any) -> Any:
        return g

    def apply(self, g: Any) -> tuple[Tensor | None, ...]:
        if self.freed:
            raise RuntimeError(FREED)
        for box, version, shape in self.versions:
            if box[0] != version:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an "
                    f"inplace operation: a tensor of shape {list(shape)}, used by a compiled "
                    f"function, is at version {box[0]}; expected version {version} instead."
                )
        d = self.derivative
        if mode.grad:
            return self.differentiably(g)
        seeds = []
        for k in d.used_seeds:
            part = g.parts.get(k)
            y = d.seeds[k]
            seeds.append(
                np.zeros(tuple(y.shape), y.dtype.storage)
                if part is None
                else np.ascontiguousarray(part._array)
            )
        return tuple(d.run([*self.arrays, *seeds]))

    def differentiably(self, g: Any) -> tuple[Tensor | None, ...]:
        raise RuntimeError(
            "create_graph=True through a compiled function that only returns the loss is not "
            "supported yet: call backward(create_graph=True) or autograd.grad inside the compiled "
            "function, or run it eagerly"
        )

    def release(self) -> None:
        self.freed, self.arrays = True, []
