"""A Schedule: which values of a graph have memory, which share a loop, and in which order.

`schedule` lowers, fuses, finds where results may be written in place, and orders. Nothing of it
changes a Lowered after it was made: copies at the end give a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from ...ir.choices import DEFAULT, Choices
from ...ir.graph import Graph
from ...ir.node import Node
from ...ir.op import Kind
from ...ir.ops.elementwise import copy, stop_gradient
from ...ir.strides import View
from .folding import folded
from .fuse import Facts, Fusion, facts
from .groups import Group, sort
from .loop_space import space_of
from .lower import Lowered, lower
from .plan import place_writes


@dataclass(frozen=True)
class Schedule:
    """Groups in the order in which they run.

    `facts` says what each anchor looks at, `place` which anchors are written to the memory
    of an input. All checks are done after the first `checked` groups; those from `commit` on copy
    results into inputs. If `row_by_row`, it is of the body of a loop that threads share by its
    rows, and in no other way.
    """

    low: Lowered
    order: tuple[Group, ...]
    facts: Mapping[Node, Facts]
    place: Mapping[Node, Node]
    checked: int
    commit: int
    notes: tuple[str, ...]  # what was fused and what was not, for reports
    row_by_row: bool = False

    def stored(self) -> set[Node]:
        """The anchors that need memory: outputs, and what another group reads."""
        home = {a: g for g in self.order for a in g.anchors}
        kept = set(self.place) | (set(self.low.outputs) & set(home))
        for anchor, fact in self.facts.items():
            kept |= {x for x in fact.reads if x in home and home[x] is not home[anchor]}
        for group in self.order:
            if group.loop or (group.opaque and len(group.anchors) == 1):
                kept.update(group.anchors)
            elif group.template == "column":
                kept |= {a for a in group.anchors if a.op.kind is Kind.REDUCE}
        return kept


def schedule(
    graph: Graph,
    writes: Mapping[int, Node],
    layouts: Mapping[Node, View],
    guarded: bool,
    fuse_products: Callable[[Lowered, Fusion], None],
    choices: Choices = DEFAULT,
    copies: bool = True,
) -> Schedule:
    """Schedule `graph`; see codegen.build.build. `fuse_products` is the backend's: it merges matrix
    products with what their kernels compute besides. Without `copies`, outputs that cannot be
    computed in an input's memory have memory of their own, and the others only their numbers.
    """
    loose = set() if copies else set(range(len(graph.outputs))) - writes.keys()
    recorded, graph = graph.outputs, folded(graph) if choices.fold else graph
    loose |= {i for i, y in enumerate(recorded) if graph.outputs[i] is not y}
    lying = {x: layouts.get(x) or View.of(x.shape) for x in graph.inputs}
    low = lower(graph, lying, loose, choices)
    fusion = Fusion(low)
    fuse_products(low, fusion)
    fusion.run()
    placement = place_writes(low, fusion, writes, guarded)
    checkers = [g for g in fusion.groups if any(fusion.facts[a].may_fail for a in g.anchors)]
    rank = {fusion.home[c]: k for k, c in reversed(list(enumerate(low.checks)))}
    checkers.sort(key=lambda g: rank.get(g, len(rank)))  # the first that fails is reported
    order = sort([*checkers, *fusion.groups])
    place = {g: t for t, g in enumerate(order)}
    made = Schedule(
        low, tuple(order), fusion.facts, placement.place,
        checked=max((place[g] + 1 for g in checkers), default=0),
        commit=len(order),
        notes=tuple(fusion.notes),
    )
    return with_copies(made, placement.late) if copies else made


def with_copies(s: Schedule, late: Iterable[tuple[Node, Node]]) -> Schedule:
    """The schedule with copies of anchors into inputs at its end."""
    copies: dict[Node, Node] = {}
    for anchor, target in late:
        same, new = anchor, copy(anchor)
        while new in s.low.anchors or new in copies:  # an output of its own is such a copy already
            same = stop_gradient(same)  # the copies are not read: they lie as their inputs do
            new = copy(same)
        copies[new] = target
    low = replace(s.low, anchors=s.low.anchors | copies.keys())
    groups = tuple(Group([new], space_of(new)) for new in copies)
    read = {new: facts(low, new) for new in copies}
    return replace(
        s, low=low, order=s.order + groups, facts={**s.facts, **read}, place={**s.place, **copies}
    )
