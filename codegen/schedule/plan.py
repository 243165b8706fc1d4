"""Where values live: which buffer each kept value is stored in, when it is dead, and where in the
arena it lies.

Writing a result straight into an input's memory is allowed only where no later kernel still reads
the old value and the writing loop reads it at no other point than the one it writes; else the
result is copied there at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...ir.node import Node
from ...ir.op import Kind
from ...ir.ops.contract import dot
from ...ir.ops.elementwise import may_fail
from .fuse import Fusion, Group, expression, operands
from .loop_space import gathered, known, seen
from .lower import Lowered

ALIGN = 64


@dataclass
class Placement:
    """`place` maps an anchor to the input whose memory it is written to; `late` are the copies made
    at the end.
    """

    place: dict[Node, Node] = field(default_factory=dict)
    late: list[tuple[Node, Node]] = field(default_factory=list)  # (anchor, input)


def needed_by(group: Group) -> set[Group]:
    """All groups that must run before this one."""
    seen_: set[Group] = set()
    stack = [group]
    while stack:
        for g in stack.pop().after:
            if g not in seen_:
                seen_.add(g)
                stack.append(g)
    return seen_


def _same_points(low: Lowered, group: Group, anchor: Node, target: Node) -> bool:
    """Whether the group that computes `anchor` reads `target` only where it writes it, and before
    it does.
    """
    space, layout = group.space, low.layouts[target]
    axes = known(anchor, space)
    if space.reduced and axes == space.all and not group.opaque:  # a later pass may read it
        return False
    if group.template == "column" and anchor.op.kind is Kind.REDUCE:  # it is added up there
        return not any(base is target for m in group.anchors for _, base in operands(low, m))
    written = space.widen(layout.squeeze(), axes).strides
    for member in group.anchors[group.opaque :]:
        if gathered(low, member) is target:
            return False
        for x, base in operands(low, member):
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


def has_check(low: Lowered, anchor: Node) -> bool:
    """Whether computing the anchor may report an error."""
    return any(may_fail(n.op, n.params) for n in (anchor, *expression(low, anchor.inputs)))


def place_writes(
    low: Lowered, fusion: Fusion, writes: Mapping[int, Node], guarded: bool
) -> Placement:
    result = Placement()
    checkers = {fusion.home[a] for a in fusion.reads if has_check(low, a)}
    for i, target in writes.items():
        anchor = low.outputs[i]
        home = fusion.home[anchor]
        readers = {fusion.home[a] for a, read in fusion.reads.items() if target in read} - {home}
        read_again = any(
            anchor in read for a, read in fusion.reads.items() if fusion.home[a] is not home
        )
        direct = (
            not guarded
            and (not home.opaque or _finishes(low, home, target))
            and not (read_again and not low.layouts[target].is_identity)
            and (home.template != "column" or low.layouts[target].is_identity)
            and _same_points(low, home, anchor, target)
            and not any(home is g or home in needed_by(g) for g in readers | checkers)
        )
        if direct:
            result.place[anchor] = target
            home.after |= (
                readers | checkers
            )  # a failed check ends the walk: nothing may be written before
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
    placed: list[tuple[int, int, tuple[int, int]]] = []
    offsets: dict[Node, int] = {}
    for anchor in sorted(sizes, key=lambda a: -sizes[a]):
        size = -(-max(sizes[anchor], 1) // ALIGN) * ALIGN
        first, last = spans[anchor]
        at = 0
        for start, stop, (f, ell) in sorted(placed):
            if f <= last and first <= ell and start < at + size and at < stop:
                at = stop
        offsets[anchor] = at
        placed.append((at, at + size, (first, last)))
    return offsets, max((stop for _, stop, _ in placed), default=0)
