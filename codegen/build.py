"""From a simplified Graph to a Program: lower, fuse, place, order, write the kernels. The room's
one entry.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from ..ir.dtype import int64, uint8
from ..ir.graph import Graph
from ..ir.node import Node
from ..ir.op import Kind
from ..ir.ops.elementwise import copy
from ..ir.strides import View
from .gemm.epilogue import finish_products
from .gemm.product import contraction
from .program import Buffer, Kernel, Launch, Program, Slot
from .schedule.fuse import WORTH_A_THREAD, Fusion, Group, expression, reads, sort, work
from .schedule.loop_space import space_of
from .schedule.lower import lower
from .schedule.plan import arena, has_check, lifetimes, place_writes
from .templates.column import Column
from .templates.extern import PIECES
from .templates.row import Row
from .text import Arguments


class _Builder:
    def __init__(
        self, graph: Graph, writes: dict[int, Node], layouts: dict[Node, View], guarded: bool,
        fast: bool,
    ):  # fmt: skip
        self.graph, self.writes, self.fast = graph, writes, fast
        layouts = {x: layouts.get(x) or View.of(x.shape) for x in graph.inputs}
        self.low = lower(graph, layouts)
        fusion = Fusion(self.low)
        finish_products(self.low, fusion)
        fusion.run()
        placement = place_writes(self.low, fusion, writes, guarded)
        self.place, self.reads, self.notes = placement.place, dict(fusion.reads), fusion.notes
        checkers = [g for g in fusion.groups if any(has_check(self.low, a) for a in g.anchors)]
        rank = {fusion.home[c]: k for k, c in reversed(list(enumerate(self.low.checks)))}
        checkers.sort(key=lambda g: rank.get(g, len(rank)))  # the first that fails is reported
        self.order = sort([*checkers, *fusion.groups])
        self.checked = max((self.order.index(g) + 1 for g in checkers), default=0)
        self.commit = len(self.order)
        for anchor, target in placement.late:
            late = copy(anchor)
            while late in self.low.anchors:  # the copy is there already, as an output of its own
                late = copy(late)
            self.low.anchors.add(late)
            self.reads[late] = reads(self.low, late)
            self.place[late] = target
            self.order.append(Group([late], space_of(late)))
        self.stored = self.needing_store()
        self.slots: dict[Node | str, int] = {}
        self.buffers: list[Buffer] = []
        self.scratch_bytes = 0
        self.arena_bytes = self.allocate()

    def needing_store(self) -> set[Node]:
        home = {a: g for g in self.order for a in g.anchors}
        out = set(self.place) | (set(self.low.outputs) & set(home))
        for anchor, read in self.reads.items():
            out |= {x for x in read if x in home and home[x] is not home[anchor]}
        for group in self.order:
            if group.opaque and len(group.anchors) == 1:
                out.add(group.anchors[0])
            elif group.template == "column":
                out |= {a for a in group.anchors if a.op.kind is Kind.REDUCE}
        return out

    def allocate(self) -> int:
        def add(key: Node | str, buffer: Buffer) -> None:
            self.slots[key] = len(self.buffers)
            self.buffers.append(buffer)

        add("status", Buffer("status", (4,), int64))
        for x in self.graph.inputs:
            add(x, Buffer("input", x.shape, x.dtype, strides=self.low.layouts[x].strides))
        fresh = set()
        for i, y in enumerate(self.low.outputs):
            if i in self.writes:
                continue
            fresh.add(y)
            add(y, Buffer("output", y.shape, y.dtype))
        made = (a for group in self.order for a in group.anchors)
        local = [a for a in made if a in self.stored and a not in fresh and a not in self.place]
        spans = lifetimes(self.order, self.reads)
        local.sort(key=lambda a: spans[a])
        sizes = {a: math.prod(a.shape) * a.dtype.itemsize for a in local}
        offsets, total = arena(sizes, spans)
        for a in local:
            add(a, Buffer("arena", a.shape, a.dtype, offsets[a]))
        add("scratch", Buffer("arena", (0,), uint8, total))
        return total

    def pieces(self, group: Group) -> Iterator[tuple[Kernel, Arguments, int, int]]:
        """(kernel, arguments, extent, cost of one outer step) of each launch that a group makes; a
        cost of 0: never split.
        """
        if group.product:
            yield from contraction(self.low, group.anchors, self.place, self.stored)
        elif group.opaque:
            yield from PIECES[group.anchors[0].op](self.low, group.anchors[0], self.place)
        else:
            template = Column if group.template == "column" else Row
            body = template(self.low, group, self.place, self.stored, self.fast)
            source = "".join(f"    {line}\n" for line in body.build())
            extent = body.kept_extents[0] if body.kept_extents else 1
            each = 0 if group.space.sums else work(group.anchors, group.space) // max(extent, 1)
            kernel = Kernel(group.template, source, fast=self.fast)
            yield kernel, body.args, extent, each

    def launches(self) -> Iterator[tuple[int, Launch]]:
        for t, group in enumerate(self.order):
            space = group.space
            if 0 in (group.anchors[0].shape if group.opaque else space.along(space.kept)):
                if not space.sums:
                    continue  # nothing to compute
            operations = self.operations(group)
            origin = tuple(
                f"{n.op.name:<12} {n.dtype.name}{list(n.shape)}  {n.site or ''}" for n in operations
            )
            whole = 0 if group.opaque else work(operations, space)
            for kernel, args, extent, each in self.pieces(group):
                grain = max(1, WORTH_A_THREAD // each) if each else 0
                bound = tuple(self.bind(a) for a in args.values)
                self.scratch_bytes = max(self.scratch_bytes, args.scratch_bytes)
                yield t, Launch(kernel, bound, extent, grain, origin, max(each * extent, whole))

    def operations(self, group: Group) -> list[Node]:
        """What a group computes, operands first: its anchors and what is inlined into them."""
        found: dict[Node, None] = {}
        for anchor in group.anchors:
            inlined = expression(self.low, anchor.inputs)
            found |= {n: None for n in inlined if n.op.kind is Kind.ELEMENTWISE} | {anchor: None}
        return list(found)

    def bind(self, value: object) -> Slot | int | float:
        if isinstance(value, (Node, str)):
            return Slot(self.slots[value])
        return value  # type: ignore[return-value]

    def program(self) -> Program:
        rows = list(self.launches())
        scratch = self.slots["scratch"]
        self.buffers[scratch] = replace(self.buffers[scratch], shape=(self.scratch_bytes,))
        commit = next((i for i, (t, _) in enumerate(rows) if t >= self.commit), len(rows))
        outputs = tuple(self.slots[self.writes.get(i, y)]
                        for i, y in enumerate(self.low.outputs))  # fmt: skip
        checked = next((i for i, (t, _) in enumerate(rows) if t >= self.checked), len(rows))
        writers = [t for t, g in enumerate(self.order) if any(a in self.place for a in g.anchors)]
        writing = next((i for i, (t, _) in enumerate(rows) if t in writers), len(rows))
        return Program(
            tuple(self.buffers), tuple(self.slots[x] for x in self.graph.inputs), outputs,
            tuple(launch for _, launch in rows), commit,
            self.arena_bytes + self.scratch_bytes, checked, writing, tuple(self.notes),
        )  # fmt: skip


def build(
    graph: Graph,
    writes: dict[int, Node] | None = None,
    layouts: dict[Node, View] | None = None,
    guarded: bool = False,
    fast: bool = False,
) -> Program:
    """Compile `graph`. `writes` maps an output's index to the input whose memory receives it;
    `layouts` says how inputs lie in memory where that is not row-major; `guarded` defers every such
    write to the launches after `commit`, for programs whose outcome may be refused; `fast` allows
    arithmetic to be regrouped and rounded less often than it is written.
    """
    return _Builder(graph, writes or {}, layouts or {}, guarded, fast).program()
