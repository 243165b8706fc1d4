"""Where values live: which buffer each kept value is stored in, when it is dead, and where in the
arena it lies.

Writing a result straight into an input's memory is allowed only where no later kernel still reads
the old value and the writing loop reads it at no other point than the one it writes; else the
result is copied there at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...ir.node import Node
from ...ir.op import Kind
from ...ir.ops.contract import dot
from .fuse import Facts, Fusion
from .groups import Group
from .loop_space import known, seen
from .lower import Lowered

ALIGN = 64


@dataclass
class Placement:
    """`place` maps an anchor to the input whose memory it is written to; `late` are the copies made
    at the end.
    """

    place: dict[Node, Node] = field(default_factory=dict)
    late: list[tuple[Node, Node]] = field(default_factory=list)  # (anchor, input)


def _same_points(
    low: Lowered, facts: Mapping[Node, Facts], group: Group, anchor: Node, target: Node
) -> bool:
    """Whether the group that computes `anchor` reads `target` only where it writes it, and before
    it does.
    """
    space, layout = group.space, low.written(target, anchor)
    axes = known(anchor, space)
    if space.reduced and axes == space.all and not group.opaque:
        reduced = {a for a in group.anchors if a.op.kind is Kind.REDUCE}
        if any(facts[m].reads & reduced for m in group.anchors):  # a later pass may read it
            return False
    if group.template == "column" and anchor.op.kind is Kind.REDUCE:  # it is added up there
        return not any(target in facts[m].reads for m in group.anchors)
    written = space.widen(layout.squeeze(), axes).strides
    for member in group.anchors[group.opaque :]:
        if target not in facts[member].reads:
            continue
        if facts[member].gathered is target:
            return False
        for x, base in facts[member].operands:
            if base is target:
                view = seen(low, x, member, space)[1]
                if view.strides != written or view.offset != layout.offset:
                    return False
    return True


def _finishes(low: Lowered, group: Group, target: Node) -> bool:
    """Whether an opaque group may write to `target`: a product that computes more than its sums,
    none of them from the target, and in shapes that its rows and columns have.
    """
    product, *rest = group.anchors
    if product.op is not dot or any(low.resolve(x)[0] is target for x in product.inputs):
        return False
    shapes = product.shape, product.shape[-1:]
    stack = (1, 1, *target.shape)[-3:]
    straight = len(product.shape) == 2 and target.shape in shapes
    return (
        straight
        and low.layouts[target].reshape(stack) is not None
        and all(a.op.kind is Kind.REDUCE or a.shape in shapes for a in rest)
    )


def place_writes(
    low: Lowered, fusion: Fusion, writes: Mapping[int, Node], guarded: bool
) -> Placement:
    result = Placement()
    checkers = {fusion.home[a] for a, fact in fusion.facts.items() if fact.may_fail}

    def readers(x: Node) -> set[Group]:
        return {fusion.home[a] for a in fusion.readers.get(x, ())}

    for i, target in writes.items():
        anchor = low.outputs[i]
        home = fusion.home[anchor]
        first = (readers(target) - {home}) | checkers
        read_again = not readers(anchor) <= {home}
        direct = (
            not guarded
            and (not home.opaque or _finishes(low, home, target))
            and not (read_again and not low.layouts[target].is_identity)
            and (home.template != "column" or low.layouts[target].is_identity)
            and _same_points(low, fusion.facts, home, anchor, target)
            and not any(home is g or fusion.precedence.precedes(home, g) for g in first)
        )
        if direct:
            result.place[anchor] = target
            # a failed check ends the walk: nothing may be written before
            fusion.precedence.put_after(home, first)
        else:
            result.late.append((anchor, target))
    return result


def lifetimes(
    order: Sequence[Group], reads: Mapping[Node, set[Node]]
) -> dict[Node, tuple[int, int]]:
    """For every anchor: the position of the group that makes it and of the last that reads it."""
    spans: dict[Node, tuple[int, int]] = {}
    for t, group in enumerate(order):
        for anchor in group.anchors:
            spans[anchor] = (t, t)
        for anchor in group.anchors:
            for x in reads[anchor]:
                if x in spans:
                    spans[x] = (spans[x][0], t)
    return spans


def arena(
    sizes: dict[Node, int], spans: dict[Node, tuple[int, int]]
) -> tuple[dict[Node, int], int]:
    """Offsets such that buffers alive at the same time do not overlap: the largest first, each as
    low as it fits.
    """
    offsets: dict[Node, int] = {}
    starts, stops, firsts, lasts = np.zeros((4, len(sizes)), np.int64)  # of what has its place
    for k, anchor in enumerate(sorted(sizes, key=lambda a: -sizes[a])):
        size = -(-max(sizes[anchor], 1) // ALIGN) * ALIGN
        first, last = spans[anchor]
        beside = np.flatnonzero((firsts[:k] <= last) & (lasts[:k] >= first))
        at = _first_gap(starts[beside], stops[beside], size)
        starts[k], stops[k], firsts[k], lasts[k] = at, at + size, first, last
        offsets[anchor] = at
    return offsets, int(stops.max(initial=0))


def _first_gap(starts: np.ndarray, stops: np.ndarray, size: int) -> int:
    """The lowest place for `size` bytes beside intervals, which may overlap."""
    order = np.argsort(starts)
    free = np.maximum.accumulate(np.concatenate([[0], stops[order]]))  # from here to the next
    gaps = np.flatnonzero(starts[order] - free[:-1] >= size)
    return int(free[gaps[0]] if len(gaps) else free[-1])
