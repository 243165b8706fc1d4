"""A Program while it is made: its slots, its memory, its launches so far."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..ir.dtype import int64, uint8
from ..ir.graph import Graph
from ..ir.node import Node
from ..ir.op import Kind
from .backend import Backend
from .program import Buffer, Launch, Loop, Origin, Program, Slot
from .schedule.groups import Group
from .schedule.plan import arena, lifetimes
from .schedule.schedule import Schedule


class Parts:
    """What becomes the Program of a Schedule: buffers first, then launches. That of a body is part
    of the program `around` it, whose slots its inputs have; its arena is there, too, and placed
    when it is known where.
    """

    def __init__(
        self, graph: Graph, s: Schedule, writes: Mapping[int, Node], backend: Backend, fast: bool,
        around: Parts | None = None, inputs: Mapping[Node, int] | None = None,
    ):
        self.graph, self.schedule, self.writes = graph, s, writes
        self.backend, self.fast = backend, fast
        self.stored = s.stored()
        self.buffers: list[Buffer] = (
            [Buffer("status", (4,), int64)] if around is None else around.buffers
        )
        self.slots: dict[Node | str, int] = {"status": 0}
        for x, slot in (inputs or {}).items():
            self.slots[x] = slot
        self.rows: list[tuple[int, Launch]] = []  # with the number of the group
        self.loops: list[Loop] = []
        self.begin = self.scratch_bytes = 0
        if inputs is None:
            for x in graph.inputs:
                self.add(x, Buffer("input", x.shape, x.dtype, strides=s.low.layouts[x].strides))
        for i, y in enumerate(s.low.outputs):
            if i not in writes:
                shape = graph.outputs[i].shape if around is None else y.shape
                self.add(y, Buffer("output" if around is None else "loop", shape, y.dtype))
        if around is None:
            self.place_arena(0)

    def add(self, key: Node | str, buffer: Buffer) -> None:
        """A new slot."""
        self.slots[key] = len(self.buffers)
        self.buffers.append(buffer)

    def place_arena(self, begin: int) -> None:
        """Give memory to what is neither input nor output."""
        s = self.schedule
        made = (a for group in s.order for a in group.anchors)
        fresh = {y for i, y in enumerate(s.low.outputs) if i not in self.writes}
        local = [a for a in made if a in self.stored and a not in fresh and a not in s.place]
        spans = lifetimes(s.order, {a: fact.reads for a, fact in s.facts.items()})
        local.sort(key=lambda a: spans[a])
        sizes = {a: math.prod(a.shape) * a.dtype.itemsize for a in local}
        offsets, self.arena_bytes = arena(sizes, spans)
        self.begin = begin
        for a in local:
            self.add(a, Buffer("arena", a.shape, a.dtype, begin + offsets[a]))
        self.add("scratch", Buffer("arena", (0,), uint8, begin + self.arena_bytes))

    def need(self, nbytes: int) -> None:
        """A launch or a loop uses so much of the scratch memory."""
        self.scratch_bytes = max(self.scratch_bytes, nbytes)

    def finish(self) -> int:
        """The bytes of the arena, now that all launches are made."""
        scratch = self.slots["scratch"]
        self.buffers[scratch] = replace(self.buffers[scratch], shape=(self.scratch_bytes,))
        return self.arena_bytes + self.scratch_bytes

    def origin(self, operations: Iterable[Node]) -> tuple[Origin, ...]:
        return tuple(
            Origin(f"{n.op.name:<12} {n.dtype.name}{list(n.shape)}", n.site) for n in operations
        )

    def operations(self, group: Group) -> list[Node]:
        """What a group computes, operands first: its anchors and what is inlined into them."""
        found: dict[Node, None] = {}
        for anchor in group.anchors:
            inlined = self.schedule.facts[anchor].inlined
            found |= {n: None for n in inlined if n.op.kind is Kind.ELEMENTWISE} | {anchor: None}
        return list(found)

    def bind(self, value: object) -> Slot | int | float:
        if isinstance(value, (Node, str)):
            return Slot(self.slots[value])
        return value  # type: ignore[return-value]

    def program(self) -> Program:
        s, rows = self.schedule, self.rows

        def first(group: int) -> int:
            """The number of the first launch of that group, or of a later one."""
            return next((i for i, (t, _) in enumerate(rows) if t >= group), len(rows))

        arena_bytes = self.finish()
        outputs = tuple(self.slots[self.writes.get(i, y)] for i, y in enumerate(s.low.outputs))
        writers = {t for t, g in enumerate(s.order) if any(a in s.place for a in g.anchors)}
        writing = next((i for i, (t, _) in enumerate(rows) if t in writers), len(rows))
        return Program(
            tuple(self.buffers), tuple(self.slots[x] for x in self.graph.inputs), outputs,
            tuple(launch for _, launch in rows), first(s.commit), arena_bytes, first(s.checked),
            writing, tuple(self.loops), self.backend.name, s.notes,
        )
