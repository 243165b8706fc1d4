"""From a recorded graph to a program: the one that is on disk for such a graph, or by simplifying
and lowering.

`lowered` gives a Lowered: the program, and what the driver must know of the simplified graph, which
itself is made when somebody asks to see it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from ..codegen.build import build
from ..codegen.program import Program
from ..codegen.program_file import Unreadable
from ..ir.choices import DEFAULT, Choices
from ..ir.collector import collector_waits
from ..ir.dtype import named
from ..ir.graph import Graph
from ..ir.locks import lock
from ..ir.node import Aval, Node, Site
from ..ir.rolling.roll import roll
from ..ir.simplify import simplify
from ..ir.strides import View
from ..ir.structure import NoStructure, structure
from ..ir.verify import verify
from ..runtime.device import Executable
from . import program_store, tuning
from .places import Place


class Cut(NamedTuple):
    """A simplified graph, without what only a backward computes; `needed` are the inputs that a
    backward reads, `saved` the last outputs, which are for it.
    """

    graph: Graph
    needed: Sequence[Node] = ()
    saved: Sequence[Aval] = ()


class Backwards(NamedTuple):
    """A backward: its graph, and its last inputs, the cotangents."""

    graph: Graph
    seeds: Sequence[Node]


@dataclass(frozen=True)
class Recorded:
    """All that lowering looks at. The first `count` outputs of the graph are those of the call.
    `inputs` are those of the program, if it reads them, or if they are in `always`. `writes` and
    the rest is for codegen.build.build. `cut` simplifies the graph, in a way that `cut_key` tells
    from others; `backward` is that of the last cut, of the inputs that it needs. `place` is where
    the program will run. To `tune` means to use the choices that were found for it before.
    """

    graph: Graph
    count: int
    inputs: tuple[Node, ...]
    always: frozenset[Node]
    writes: dict[int, Node]
    layouts: dict[Node, View]
    guarded: bool
    fast: bool
    place: Place
    cut: Callable[[Graph, Choices], Cut]
    cut_key: str = ""
    backward: Callable[[Sequence[Node]], Backwards | None] = lambda needed: None
    tune: bool = False
    choices: Choices = DEFAULT

    def build(self, graph: Graph, writes: dict[int, Node]) -> Program:
        return build(
            graph, writes, self.layouts, guarded=self.guarded and bool(writes), fast=self.fast,
            backend=self.place.backend, choices=self.choices,
        )


class _Facts(NamedTuple):
    """What is kept beside a program; see Lowered."""

    inputs: list[int]
    needed: list[int]
    saved: list[Aval]
    nodes: int
    digest: str  # of the simplified graph


@dataclass
class Timing:
    """Seconds that the stages took."""

    trace: float = 0.0
    lower: float = 0.0
    load: float = 0.0


class Lowered:
    """A program that is ready to run. `inputs` are the numbers of the inputs that it has, `needed`
    of those that a backward reads; `saved` are its last outputs, which are for that. `name` is what
    it is called on disk; `loaded`, whether it came from there. `tuned` is how its choices were
    found, or that they may be.
    """

    def __init__(
        self, name: str | None, lines: list[Site], executable: Executable, facts: _Facts,
        made_of: Recorded | Graph, recorded: Recorded, timing: Timing,
        tuned: tuning.Tuned | Untuned | None,
    ):
        self.name, self.lines, self.executable = name, lines, executable
        self.place, self.choices = recorded.place, recorded.choices
        self.tuned = tuned
        self.inputs, self.needed, self.saved, self.nodes, self._digest = facts
        self.loaded = isinstance(made_of, Recorded)
        self.timing = timing
        self._made_of, self._lock = made_of, lock()

    def graph(self) -> Graph:
        """The simplified graph. RuntimeError if it is not the one that the program was made of."""
        with self._lock:
            if isinstance(made_of := self._made_of, Recorded):
                graph = made_of.cut(made_of.graph, made_of.choices).graph
                if digest(graph) != self._digest:
                    raise RuntimeError(
                        "a program that was kept on disk was made of another graph than this "
                        "process makes; empty the cache: python -m tracegrad cache --clear"
                    )
                self._made_of = with_inputs(graph, made_of, self.inputs)
        return self._made_of  # type: ignore[return-value]

    def written_out(self) -> Program:
        """The program, with the text of kernels in LLVM code, which one from the disk lacks."""
        if isinstance(recorded := self._made_of, Recorded):
            return recorded.build(self.graph(), recorded.writes)
        return self.executable.program


def with_inputs(graph: Graph, recorded: Recorded, numbers: Iterable[int]) -> Graph:
    """The graph with those of the inputs that were recorded."""
    return Graph(tuple(recorded.inputs[k] for k in numbers), graph.outputs, graph.checks)


def digest(graph: Graph) -> str:
    try:
        return hashlib.sha256(structure(graph).text.encode()).hexdigest()
    except NoStructure:
        return ""


@collector_waits()
def lowered(recorded: Recorded) -> Lowered:
    """The program of what was recorded."""
    began, place = time.perf_counter(), recorded.place
    name, lines = None, list[Site]()
    tuned: tuning.Tuned | Untuned | None = None
    try:
        text, lines = structure(recorded.graph)
        name = program_store.name_of(f"{_around(recorded)}\n{text}", place)
        if recorded.tune and name is not None:
            tuned = tuning.known(name) or Untuned(name, recorded)
            if isinstance(tuned, tuning.Tuned):
                recorded = replace(recorded, choices=tuned.choices)
                name = program_store.name_of(f"{_around(recorded)}\n{text}", place)
    except NoStructure:  # a parameter of a new type: the program is made in every process
        pass
    kept = program_store.find(name, lines, place, partial(_checked, recorded))
    if kept is not None:
        facts, executable, read_at = kept
        timing = _timing(began, read_at)
        return Lowered(name, lines, executable, facts, recorded, recorded, timing, tuned)
    facts, graph, program = _built(recorded)
    built_at = time.perf_counter()
    executable = place.executable(program)
    timing = _timing(began, built_at)
    saved = [[list(shape), dtype.name] for shape, dtype in facts.saved]
    program_store.keep(name, [*facts[:2], saved, *facts[3:]], program, lines)
    return Lowered(name, lines, executable, facts, graph, recorded, timing, tuned)


def _built(recorded: Recorded) -> tuple[_Facts, Graph, Program]:
    cut = recorded.cut(recorded.graph, recorded.choices)
    used, reads = {*cut.graph.order(), *recorded.always}, set(cut.needed)
    facts = _Facts(
        [k for k, x in enumerate(recorded.inputs) if x in used],
        [k for k, x in enumerate(recorded.inputs) if x in reads],
        list(cut.saved), len(cut.graph.order()), digest(cut.graph),
    )
    graph = with_inputs(cut.graph, recorded, facts.inputs)
    return facts, graph, recorded.build(graph, recorded.writes)


class Untuned(NamedTuple):
    """A program whose choices may be tuned, by the name that the defaults give it."""

    name: str
    recorded: Recorded

    def made(self, choices: Choices) -> tuning.Made:
        """The same program with other choices, and that of a backward from all outputs, unless it
        checks something: it runs on other seeds than the user's.
        """
        recorded = replace(self.recorded, choices=choices)
        facts, _, forward = _built(recorded)
        backward = recorded.backward([recorded.inputs[k] for k in facts.needed])
        if backward is None or backward.graph.checks:
            return tuning.Made(forward, facts.inputs)
        return tuning.Made(
            forward, facts.inputs, recorded.build(backward.graph, {}), len(facts.saved),
            facts.needed, [Aval(s.shape, s.dtype) for s in backward.seeds],
        )


def _timing(began: float, ready: float) -> Timing:
    return Timing(lower=ready - began, load=time.perf_counter() - ready)


def _around(recorded: Recorded) -> str:
    """What lowering looks at besides the graph, as text."""
    places = {x: k for k, x in recorded.writes.items()}
    words = [f"{recorded.count} {recorded.guarded} {recorded.fast} {recorded.cut_key}",
             str(recorded.choices)]
    for x in recorded.inputs:
        view = recorded.layouts.get(x)
        lies = None if view is None else (view.shape, view.strides, view.offset)
        words.append(f"{lies} {x in recorded.always} {places.get(x)}")
    return "\n".join(words)


def _checked(recorded: Recorded, facts: Any, program: Program) -> _Facts:
    """The facts as they were kept, if they and the program are of such a graph."""
    inputs, needed, saved, nodes, digest = facts
    avals = [Aval(tuple(map(int, shape)), named(dtype)) for shape, dtype in saved]
    for numbers in (inputs, needed):
        if not all(type(k) is int and 0 <= k < len(recorded.inputs) for k in numbers):
            raise Unreadable
    always = [k for k, x in enumerate(recorded.inputs) if x in recorded.always]
    if inputs != sorted({*inputs, *always}) or needed != sorted({*needed}):
        raise Unreadable
    outputs = [Aval(y.shape, y.dtype) for y in recorded.graph.outputs[: recorded.count]]
    _check_buffers(
        program, recorded.place, [recorded.inputs[k] for k in inputs], [*outputs, *avals],
        recorded.layouts,
    )
    return _Facts(inputs, needed, avals, int(nodes), str(digest))


def backward_program(
    low: Lowered, starts: Iterable[int], inputs: Sequence[Node], layouts: Mapping[Node, View],
    gradients: Iterable[Node], graph: Callable[[], Graph], fast: bool,
) -> Executable:
    """The program that gives `gradients` of what `low` saves and of `inputs`, beginning at some of
    its outputs; `graph` makes its graph, if there is no such program on disk.
    """
    place = low.place
    name = low.name and program_store.name_of(f"{low.name} backward {sorted(starts)}", place)
    outputs = [Aval(g.shape, g.dtype) for g in gradients]

    def check(facts: Any, program: Program) -> None:
        _check_buffers(program, place, [*low.saved, *inputs], outputs, layouts)

    kept = program_store.find(name, low.lines, place, check)
    if kept is not None:
        return kept[1]
    program = build(graph(), {}, dict(layouts), fast=fast, backend=place.backend,
                    choices=low.choices)
    executable = place.executable(program)
    program_store.keep(name, None, executable.program, low.lines)
    return executable


def _check_buffers(
    program: Program, place: Place, inputs: Iterable[Node | Aval], outputs: Iterable[Aval],
    layouts: Mapping[Node, View],
) -> None:
    """Raise Unreadable if a program is not one for this place, these inputs and outputs."""
    if program.backend != place.backend.name:
        raise Unreadable
    read, written = (
        [program.buffers[slot] for slot in slots] for slots in (program.inputs, program.outputs)
    )
    lie = [(x, layouts.get(x) or View.of(x.shape)) for x in inputs]  # type: ignore[arg-type]
    wanted = [("input", x.shape, x.dtype, view.strides) for x, view in lie]
    if [(b.kind, b.shape, b.dtype, b.strides) for b in read] != wanted:
        raise Unreadable
    if [(b.shape, b.dtype) for b in written] != [(y.shape, y.dtype) for y in outputs]:
        raise Unreadable


def without_backward(graph: Graph, choices: Choices, fast: bool) -> Cut:
    """All of a graph of which no backward needs anything."""
    return Cut(simple(graph, fast))


def simple(graph: Graph, fast: bool, seeds: Iterable[Node] = ()) -> Graph:
    """A recorded graph in its simplest form. Nothing comes to depend on more of the `seeds`."""
    return simplify(verify(roll(graph, seeds)), fast=fast)
