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
    """What becomes the Program of a Schedule: buffers first, then launches. That of the body of a
    loop is part of the program around it: it has the `buffers` of that, and the arena from `begin`
    on.
    """

    def __init__(
        self, graph: Graph, s: Schedule, writes: Mapping[int, Node], backend: Backend, fast: bool,
        buffers: list[Buffer] | None = None, begin: int = 0,
    ):
        self.graph, self.schedule, self.writes = graph, s, writes
        self.backend, self.fast, self.begin = backend, fast, begin
        self.stored = s.stored()
        self.inside = buffers is not None
        self.buffers = [Buffer("status", (4,), int64)] if buffers is None else buffers
        self.slots: dict[Node | str, int] = {"status": 0}
        self.scratch_bytes = 0
        self.arena_bytes = self.allocate()
        self.rows: list[tuple[int, Launch]] = []  # with the number of the group
        self.loops: list[Loop] = []

    def add(self, key: Node | str, buffer: Buffer) -> int:
        """A new slot."""
        self.slots[key] = slot = len(self.buffers)
        self.buffers.append(buffer)
        return slot

    def allocate(self) -> int:
        s = self.schedule
        inputs, results = ("loop", "loop") if self.inside else ("input", "output")
        for x in self.graph.inputs:
            self.add(x, Buffer(inputs, x.shape, x.dtype, strides=s.low.layouts[x].strides))
        fresh = set()
        for i, y in enumerate(s.low.outputs):
            if i in self.writes:
                continue
            fresh.add(y)
            self.add(y, Buffer(results, y.shape, y.dtype))
        made = (a for group in s.order for a in group.anchors)
        local = [a for a in made if a in self.stored and a not in fresh and a not in s.place]
        spans = lifetimes(s.order, {a: fact.reads for a, fact in s.facts.items()})
        local.sort(key=lambda a: spans[a])
        sizes = {a: math.prod(a.shape) * a.dtype.itemsize for a in local}
        offsets, total = arena(sizes, spans)
        for a in local:
            self.add(a, Buffer("arena", a.shape, a.dtype, self.begin + offsets[a]))
        self.add("scratch", Buffer("arena", (0,), uint8, self.begin + total))
        return total

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
            writing, tuple(self.loops), s.notes,
        )
