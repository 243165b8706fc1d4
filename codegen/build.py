"""From a simplified Graph to a Program: schedule, lay out memory, write the kernels. The room's one
entry.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..ir.dtype import int64, uint8
from ..ir.graph import Graph
from ..ir.node import Node
from ..ir.op import Kind
from ..ir.strides import View
from .backend import Backend
from .cpu import CPU
from .equal_groups import EqualGroups
from .program import Buffer, Launch, Origin, Program, Slot
from .schedule.fuse import WORTH_A_THREAD, work
from .schedule.groups import Group
from .schedule.plan import arena, lifetimes
from .schedule.schedule import Schedule, schedule


class _Builder:
    """The Program of a Schedule: buffers first, then launches."""

    def __init__(
        self, graph: Graph, s: Schedule, writes: Mapping[int, Node], backend: Backend, fast: bool
    ):
        self.graph, self.schedule, self.writes = graph, s, writes
        self.backend, self.fast = backend, fast
        self.stored = s.stored()
        self.slots: dict[Node | str, int] = {}
        self.buffers: list[Buffer] = []
        self.scratch_bytes = 0
        self.arena_bytes = self.allocate()

    def allocate(self) -> int:
        s = self.schedule

        def add(key: Node | str, buffer: Buffer) -> None:
            self.slots[key] = len(self.buffers)
            self.buffers.append(buffer)

        add("status", Buffer("status", (4,), int64))
        for x in self.graph.inputs:
            add(x, Buffer("input", x.shape, x.dtype, strides=s.low.layouts[x].strides))
        fresh = set()
        for i, y in enumerate(s.low.outputs):
            if i in self.writes:
                continue
            fresh.add(y)
            add(y, Buffer("output", y.shape, y.dtype))
        made = (a for group in s.order for a in group.anchors)
        local = [a for a in made if a in self.stored and a not in fresh and a not in s.place]
        spans = lifetimes(s.order, {a: fact.reads for a, fact in s.facts.items()})
        local.sort(key=lambda a: spans[a])
        sizes = {a: math.prod(a.shape) * a.dtype.itemsize for a in local}
        offsets, total = arena(sizes, spans)
        for a in local:
            add(a, Buffer("arena", a.shape, a.dtype, offsets[a]))
        add("scratch", Buffer("arena", (0,), uint8, total))
        return total

    def launches(self) -> Iterator[tuple[int, Launch]]:
        s, stored, fast = self.schedule, self.stored, self.fast
        equal = EqualGroups(s, stored, lambda g: self.backend.pieces(s, g, stored, fast))
        for t, group in enumerate(self.schedule.order):
            space = group.space
            if 0 in (group.anchors[0].shape if group.opaque else space.along(space.kept)):
                if not space.sums:
                    continue  # nothing to compute
            operations = self.operations(group)
            origin = tuple(
                Origin(f"{n.op.name:<12} {n.dtype.name}{list(n.shape)}", n.site) for n in operations
            )
            whole = 0 if group.opaque else work(operations, space)
            for kernel, values, scratch, extent, each in equal.launches(group):
                grain = max(1, WORTH_A_THREAD // each) if each else 0
                bound = tuple(map(self.bind, values))
                self.scratch_bytes = max(self.scratch_bytes, scratch)
                yield t, Launch(kernel, bound, extent, grain, origin, max(each * extent, whole))

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
        s, rows = self.schedule, list(self.launches())

        def first(group: int) -> int:
            """The number of the first launch of that group, or of a later one."""
            return next((i for i, (t, _) in enumerate(rows) if t >= group), len(rows))

        scratch = self.slots["scratch"]
        self.buffers[scratch] = replace(self.buffers[scratch], shape=(self.scratch_bytes,))
        outputs = tuple(self.slots[self.writes.get(i, y)] for i, y in enumerate(s.low.outputs))
        writers = {t for t, g in enumerate(s.order) if any(a in s.place for a in g.anchors)}
        writing = next((i for i, (t, _) in enumerate(rows) if t in writers), len(rows))
        return Program(
            tuple(self.buffers), tuple(self.slots[x] for x in self.graph.inputs), outputs,
            tuple(launch for _, launch in rows), first(s.commit),
            self.arena_bytes + self.scratch_bytes, first(s.checked), writing, s.notes,
        )


def build(
    graph: Graph,
    writes: dict[int, Node] | None = None,
    layouts: dict[Node, View] | None = None,
    guarded: bool = False,
    fast: bool = False,
    backend: Backend | None = None,
) -> Program:
    """Compile `graph` for `backend`, the CPU if there is none. `writes` maps an output's index to
    the input whose memory receives it; `layouts` says how inputs lie in memory where that is not
    row-major; `guarded` defers every such write to the launches after `commit`, for programs whose
    outcome may be refused; `fast` allows arithmetic to be regrouped and rounded less often than it
    is written.
    """
    writes, backend = writes or {}, backend or CPU()
    s = schedule(graph, writes, layouts or {}, guarded, backend.fuse_products)
    return _Builder(graph, s, writes, backend, fast).program()
