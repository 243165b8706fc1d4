"""A program that Python looks into on the way: segments, one up to each cut of the trace, and the
rest, which is the program of the Entry.

What a later stage needs of an earlier one is an output of the segment and an input of the later
stage. Ways of one function that begin alike share the segments of the beginning.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from ..ir.graph import Graph, postorder
from ..ir.node import Node, input_node, intern
from ..ir.op import Kind
from ..ir.structure import NoStructure, structure
from ..tracer.capture.inputs import Input
from ..tracer.capture.scalar import Scalar
from ..tracer.capture.signature import aval
from ..tracer.capture.trace import Trace
from ..tracer.capture.values import Computed
from ..tracer.tensor.gradient_layout import layout_template
from ..tracer.tensor.tensor import traced
from .lowering import Lowered, Recorded, lowered, without_backward
from .places import address, layout, place_of


@dataclass
class Looked:
    """What Python looks at after a stage: `reads` are Scalars, each with an output and the element
    of it; `questions` are (number, output or Scalar, required value).
    """

    reads: list[tuple[Scalar, int, int]] = field(default_factory=list)
    questions: list[tuple[int, Any, Any]] = field(default_factory=list)

    def outputs(self) -> set[int]:
        return {k for _, k, _ in self.reads} | {
            of for _, of, _ in self.questions if type(of) is not Scalar
        }


class Segment:
    """A compiled stage with the memory of its outputs: first those that Python looks at, then the
    nodes with `numbers`, which later stages read. `last` are the arrays that it read at the last
    call, by input. `fresh[0]` is the thread whose call has just
    computed it, on another way.
    """

    def __init__(self, low: Lowered, numbers: tuple[int, ...], parents: list[Segment]):
        self.low, self.numbers, self.parents = low, numbers, parents
        executable = self.executable = low.executable
        buffers, outputs = executable.program.buffers, executable.program.outputs
        looked = len(outputs) - len(numbers)
        self.arrays = [executable.readable(slot) for slot in outputs[:looked]]
        for slot in outputs[looked:]:
            b = buffers[slot]
            array = low.place.empty_like(layout_template(b.shape, np.dtype(b.dtype.storage), None))
            executable.table[slot] = address(array)
            self.arrays.append(array)
        self.last: dict[int, list] = {}
        self.fresh: list[int | None] = [None]

    def exported(self, number: int) -> np.ndarray:
        return self.arrays[len(self.arrays) - len(self.numbers) + self.numbers.index(number)]


@dataclass(eq=False)
class Stage:
    """A segment as one Entry uses it; `computed` is what NumPy computes after it, with the outputs
    that it takes and the number of the question.
    """

    segment: Segment
    inputs: list[Input]  # of its program
    avals: list[tuple]  # of the tensors among these
    looked: Looked
    computed: tuple[Computed, list[int], int] | None


OFTEN = 4  # times that calls part in one place, before programs are cut there


class Ways:
    """The ways that calls of a function went: how often they parted after the same answers; after
    which answers they do often, so that programs are cut there; and the segments they share.
    """

    def __init__(self) -> None:
        self.parted: Counter[tuple] = Counter()
        self.divided: set[tuple] = set()
        self.segments: WeakValueDictionary[str, Segment] = WeakValueDictionary()

    def part(self, way: tuple) -> bool:
        """Note that a call parted from a program after these answers. Returns whether programs are
        cut there from now on.
        """
        self.parted[way] += 1
        if self.parted[way] != OFTEN:
            return False
        self.divided.add(way)
        return True


class Split:
    """Divides what was traced into stages. The last one is `rest(graph)`, to be called first; then
    `stages()`.
    """

    def __init__(self, trace: Trace, ways: Ways, fast: bool):
        self.trace, self.ways, self.fast, self.place = trace, ways, fast, place_of(trace)
        self.log = trace.values
        self.cuts = len(self.log.cuts)
        self.stage: dict[Node, int] = {}  # which computes a node
        self.number: dict[Node, int] = {}  # in its stage
        self.exports: dict[Node, Input] = {}
        self.values = [self._asked(j) for j in range(self.cuts)]
        self.checks: list[tuple[Node, ...]] = []
        for j, values in enumerate(self.values):
            order = postorder(values, stop=self.stage.__contains__)
            new = [n for n in order if n.op.kind is not Kind.SOURCE and n not in self.stage]
            self.stage |= dict.fromkeys(new, j)
            self.number |= {n: k for k, n in enumerate(new)}
            self.checks.append(tuple(c for c in trace.checks if self.stage.get(c) == j))
        self.nodes = [{k: n for n, k in self.number.items() if self.stage[n] == j}
                      for j in range(self.cuts)]

    def _asked(self, j: int) -> list[Node]:
        """The nodes that Python looks at in stage j."""
        log = self.log
        nodes = [q.of for q in log.questions if q.stage == j and isinstance(q.of, Node)]
        nodes += [r.node for r in log.reads if r.scalar._stage == j]
        for call in log.computed:
            if call.stage == j:
                nodes += call.operands
        return list(dict.fromkeys(nodes))

    def looked(self, j: int, output: Callable[[Node], int]) -> Looked:
        """What Python looks at after stage j; `output` gives the number of an output."""
        log = self.log
        return Looked(
            [(r.scalar, output(r.node), r.element) for r in log.reads if r.scalar._stage == j],
            [(k, output(q.of) if isinstance(q.of, Node) else q.of, q.value)
             for k, q in enumerate(log.questions)
             if q.stage == j and type(q.of) is not Computed],
        )

    def rest(self, graph: Graph) -> Graph:
        """The last stage of a graph. Adds inputs to the trace."""
        checks = tuple(c for c in graph.checks if c not in self.stage)
        return self._from(self.cuts, Graph(graph.inputs, graph.outputs, checks))

    def _from(self, j: int, graph: Graph) -> Graph:
        """A graph in which what stages before j compute are inputs."""
        earlier = [
            n for n in postorder(graph.roots, stop=lambda n: self.stage.get(n, j) < j)
            if self.stage.get(n, j) < j
        ]
        return graph.substitute({n: self._exported(n) for n in earlier})

    def _exported(self, node: Node) -> Node:
        if node not in self.stage:
            return node
        if node.op.aliases:
            inputs = tuple(self._exported(x) for x in node.inputs)
            return intern(node.op, inputs, node.params)
        entry = self.exports.get(node)
        if entry is None:
            new = input_node(node.shape, node.dtype, "export")
            key = (self.stage[node], self.number[node])
            entry = self.exports[node] = Input(new, "export", key, None, traced(new))
            self.trace.inputs.append(entry)
        return entry.node

    def stages(self) -> list[Stage]:
        keys: list[str] = []
        for j in range(self.cuts):  # what tells a segment from others, but for what it exports
            text = f"{keys[-1:]}\n{self._key(self._graph(j, ()))}"
            keys.append(hashlib.sha256(text.encode()).hexdigest())
        plans = []
        for j in reversed(range(self.cuts)):
            wanted = {i.key[1] for i in self.exports.values() if i.key[0] == j}
            segment = self.ways.segments.get(keys[j])
            numbers = tuple(sorted(wanted.union(segment.numbers if segment else ())))
            plans.append((j, numbers, self._graph(j, numbers)))
        stages: list[Stage] = []
        for j, numbers, graph in reversed(plans):
            used = {*graph.order()}
            inputs = [i for i in self.trace.inputs if i.node in used]
            parents = [stages[i.key[0]].segment for i in inputs if i.kind == "export"]
            segment = self.ways.segments.get(keys[j])
            if segment is None or (segment.numbers, segment.parents) != (numbers, parents):
                segment = Segment(self._lowered(graph, inputs), numbers, parents)
                self.ways.segments[keys[j]] = segment
            outputs = {n: k for k, n in enumerate(self.values[j])}
            inputs = [inputs[k] for k in segment.low.inputs]
            avals = [() if i.tensor is None else aval(i.tensor) for i in inputs]
            looked, computed = self.looked(j, outputs.__getitem__), self._computed(j, outputs)
            stages.append(Stage(segment, inputs, avals, looked, computed))
        return stages

    def _computed(self, j: int, output: dict[Node, int]) -> tuple[Computed, list[int], int] | None:
        for call in self.log.computed:
            if call.stage == j:
                number = next(k for k, q in enumerate(self.log.questions) if q.of is call)
                return call, [output[n] for n in call.operands], number
        return None

    def _graph(self, j: int, numbers: Iterable[int]) -> Graph:
        outputs = (*self.values[j], *(self.nodes[j][k] for k in numbers))
        return self._from(j, Graph((), outputs, self.checks[j]))

    def _lowered(self, graph: Graph, inputs: list[Input]) -> Lowered:
        nodes = tuple(i.node for i in inputs)
        tensors = [(i.node, i.tensor) for i in inputs if i.tensor is not None]
        layouts = {node: layout(t._array, self.place) for node, t in tensors}
        return lowered(Recorded(
            Graph(nodes, graph.outputs, graph.checks), len(graph.outputs), nodes, frozenset(), {},
            layouts, False, self.fast, self.place, partial(without_backward, fast=self.fast),
        ))

    def _key(self, graph: Graph) -> str:
        """What a graph computes, and where its inputs are read."""
        used = {*graph.order()}
        inputs = [i for i in self.trace.inputs if i.node in used]
        try:
            text = structure(Graph(tuple(i.node for i in inputs), graph.outputs, graph.checks)).text
        except NoStructure:
            return f"{id(self)} {id(graph)}"  # it is shared with no other way
        return f"{text}\n{self.fast} {[self._bound(i) for i in inputs]}"

    def _bound(self, i: Input) -> Any:
        """Where an input is read, equal for the same input of another trace."""
        if i.tensor is not None:
            where = {"argument": i.key, "tensor": id(i.tensor)}.get(i.kind)
            if i.kind == "grad":
                where = self._bound(i.key)
            elif i.kind == "location":
                where = i.key.id
            return i.kind, where, aval(i.tensor)
        if i.kind == "scalar":
            return self._expression(i.key)
        if i.kind == "hyper":
            return id(i.key[0]), i.key[1]
        if i.kind == "computed":
            call, k = i.key
            return call.stage, k
        return i.key if i.kind == "export" else id(i.key)

    def _expression(self, scalar: Scalar) -> str:
        """A digest of how a number is computed."""
        read = {id(r.scalar): f"read {k}" for k, r in enumerate(self.log.reads)}
        digests: dict[int, str] = {}
        stack = [scalar]
        while stack:
            top = stack[-1]
            inner = [x for x in top._operands if type(x) is Scalar]
            waiting = [x for x in inner if id(x) not in digests]
            if waiting:
                stack += waiting
                continue
            operands = [
                digests[id(x)] if type(x) is Scalar else f"{type(x)} {x!r}" for x in top._operands
            ]
            origin = read.get(id(top), top._origin)
            text = f"{origin} {top._function} {operands}"
            digests[id(top)] = hashlib.sha256(text.encode()).hexdigest()
            stack.pop()
        return digests[id(scalar)]
