"""From a simplified Graph to a Program: schedule, lay out memory, write the kernels. The room's one
entry.
"""

from __future__ import annotations

from ..ir.choices import DEFAULT, Choices
from ..ir.graph import Graph
from ..ir.node import Node
from ..ir.strides import View
from .backend import Backend
from .cpu import CPU
from .equal_groups import EqualGroups
from .loop_launches import add_loop
from .program import Launch, Program
from .program_parts import Parts
from .schedule.fuse import work
from .schedule.schedule import schedule
from .traffic import traffic


def add_launches(parts: Parts) -> None:
    """The launches of all groups of the schedule, those of bodies among them."""
    s, stored, fast, backend = parts.schedule, parts.stored, parts.fast, parts.backend
    equal = EqualGroups(s, stored, lambda g: backend.pieces(s, g, stored, fast))
    for t, group in enumerate(s.order):
        if group.loop:
            add_loop(parts, t, group, add_launches)
            continue
        space = group.space
        if 0 in (group.anchors[0].shape if group.opaque else space.along(space.kept)):
            if not space.sums:
                continue  # nothing to compute
        operations = parts.operations(group)
        origin = parts.origin(operations)
        whole = 0 if group.opaque else work(operations, space)
        bounds = equal.launches(group)
        shares = traffic(s, group, stored, operations, bounds)
        for one, moved in zip(bounds, shares, strict=True):
            each = one.step_cost
            grain = max(1, s.low.choices.thread // each) if each and not s.row_by_row else 0
            parts.need(one.scratch_bytes)
            args, most = tuple(map(parts.bind, one.values)), max(each * one.extent, whole)
            launch = Launch(one.kernel, args, one.extent, grain, origin, most, one.grid, moved)
            parts.rows.append((t, launch))


def build(
    graph: Graph,
    writes: dict[int, Node] | None = None,
    layouts: dict[Node, View] | None = None,
    guarded: bool = False,
    fast: bool = False,
    backend: Backend | None = None,
    choices: Choices = DEFAULT,
) -> Program:
    """Compile `graph` for `backend`, the CPU if there is none. `writes` maps an output's index to
    the input whose memory receives it; `layouts` says how inputs lie in memory where that is not
    row-major; `guarded` defers every such write to the launches after `commit`, for programs whose
    outcome may be refused; `fast` allows arithmetic to be regrouped and rounded less often than it
    is written; `choices` are those by cost.
    """
    writes, backend = writes or {}, backend or CPU()
    s = schedule(graph, writes, layouts or {}, guarded, backend.fuse_products, choices=choices)
    parts = Parts(graph, s, writes, backend, fast)
    add_launches(parts)
    return parts.program()
