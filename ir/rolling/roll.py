"""Loops in place of equal iterations.

A Python loop that was traced is a graph with n parts that differ in what they carry on and in which
slices they read. Such a part is lowered once, as the body of a loop. Takes a Graph as it was
recorded, for nodes are looked at in the order in which they were made; gives a Graph of the same
meaning, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from ..graph import Graph
from ..node import Node, at, intern
from .bodies import Body
from .match import Run, runs
from .periods import disjoint, repetitions
from .sequence import Sequence

ITERATIONS = 4  # fewer are left as they are
# From so many values on it pays to find their iterations. Fewer are lowered in no time, and as
# launches of their own they run some percent faster (an RNN of 100 steps: 32 us, as a loop 40).
SIZE = 4_000
# But if all are short vectors, a loop is one kernel, which also runs faster (Lotka-Volterra in 10
# steps: 20 kernels for 79). And what is as large as the gradient of a weight of 64 x 64 is added up
# in a loop where it lies (an RNN of 60 steps, 128 wide: 630 us, as a loop 430).
SHORT, SIZE_OF_SHORT = 64, 400
LARGE, SIZE_OF_LARGE = 4_096, 1_000
RUN = 100  # values; what repeats for less is not looked at


def roll(graph: Graph, apart: Iterable[Node] = (), size: int = SIZE) -> Graph:
    """The graph with its equal iterations as loops, if these compute so many values; else itself.
    No result depends on more of the inputs `apart` than it does in the graph.
    """
    if len(order := graph.order()) < min(size, SIZE_OF_SHORT):
        return graph
    sequence = Sequence(graph, order, apart)
    alike = repetitions(sequence.symbols, ITERATIONS, min(size, RUN))
    every = runs(sequence, disjoint(alike, ITERATIONS), ITERATIONS)
    values = sum(run.period * run.count for run in every)
    if not every or values < min(size, _worth(sequence, every)):
        return graph
    return _Rolled(graph, sequence, every, partial(roll, size=size)).graph()


def _worth(sequence: Sequence, runs: list[Run]) -> int:
    """From how many values on such iterations are faster as loops."""
    every = [n for run in runs for n in sequence.nodes[run.start : run.start + run.period]]
    if all(n.size <= SHORT and (n.op.is_elementwise or n.op.only_moves) for n in every):
        return SIZE_OF_SHORT
    return SIZE_OF_LARGE if any(n.size >= LARGE for n in every) else SIZE


class _Rolled:
    def __init__(
        self, graph: Graph, sequence: Sequence, runs: list[Run], again: Callable[[Graph], Graph]
    ):
        self.unrolled, self.sequence = graph, sequence
        self.bodies: dict[Run, Body] = {}
        self.inside: dict[Node, Body] = {}  # the values of iterations
        for run in runs:
            body = self.bodies[run] = Body(run, sequence, self.bodies)
            self.inside.update(dict.fromkeys(sequence.nodes[run.start : run.stop], body))
        for node in sequence.nodes:
            if node not in self.inside:
                for x in node.inputs:
                    self.read(x)
        for y in graph.outputs:
            self.read(y)
        for body in reversed(self.bodies.values()):
            body.build(self.read)
        self.new: dict[Node, Node] = {}
        for body in self.bodies.values():
            body.loop(self.outer, again)

    def read(self, node: Node) -> None:
        """Something outside of the loop that computes it reads the node."""
        base = self.sequence.operands[node].base
        if base in self.inside:
            self.inside[base].needs(self.sequence.place[base])

    def outer(self, root: Node) -> Node:
        """What a node outside becomes."""
        stack = [root]
        while stack:
            node = stack[-1]
            if node in self.new:
                stack.pop()
            elif node in self.inside:
                self.new[node] = self.inside[node].value_at(self.sequence.place[node])
            elif waiting := [x for x in node.inputs if x not in self.new]:
                stack += waiting
            else:
                inputs = tuple(self.new[x] for x in node.inputs)
                with at(node.site):
                    same = inputs == node.inputs
                    self.new[node] = node if same else intern(node.op, inputs, node.params)
        return self.new[root]

    def graph(self) -> Graph:
        """A check in an iteration is one in the body of the loop."""
        checks = (
            self.inside[c].check() if c in self.inside else self.outer(c)
            for c in self.unrolled.checks
        )
        outputs = tuple(map(self.outer, self.unrolled.outputs))
        return Graph(self.unrolled.inputs, outputs, tuple(dict.fromkeys(checks)))
