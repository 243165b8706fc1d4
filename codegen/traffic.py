"""What the launches of a group must move and compute, for profiles.

Bytes are counted once, however often a loop looks at them: what a launch has to bring from memory
and to bring there. What its members hand to one another within a row is not among them, nor is
scratch memory. Work is that of the table of primitives (`OpDef.cost`); a multiply-add is two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from ..ir.node import Node
from ..ir.op import Kind
from ..ir.ops.contract import dot
from ..ir.ops.elementwise import copy
from ..ir.strides import View
from .equal_groups import Bound
from .program import Traffic
from .schedule.groups import Group
from .schedule.lower import Lowered
from .schedule.schedule import Schedule


def traffic(
    s: Schedule, group: Group, stored: set[Node], operations: Iterable[Node],
    launches: Sequence[Bound],
) -> list[Traffic]:
    """That of each launch. If several look at one buffer, each has a part as long as its work."""
    reads, work = _read(s, group), sum(map(_work, operations))
    writes = {a: a.size * a.dtype.itemsize for a in group.anchors if a in stored}
    if len(launches) == 1:
        return [Traffic(sum(reads.values()), sum(writes.values()), work)]
    values = [{v for v in one.values if isinstance(v, Node)} for one in launches]
    weights = [max(one.step_cost * one.extent, 1) for one in launches]

    def parts(buffers: Iterable[Node]) -> list[Fraction]:
        """What part each launch has of what is done with these buffers together."""
        places = {s.place.get(x, x) for x in buffers}
        shares = [w if places & v else 0 for w, v in zip(weights, values, strict=True)]
        whole = sum(shares) or sum(weights)
        return [Fraction(w, whole) for w in (shares if any(shares) else weights)]

    def moved(buffers: Mapping[Node, int]) -> list[int]:
        each = [[int(nbytes * part) for part in parts([x])] for x, nbytes in buffers.items()]
        return [sum(column) for column in zip(*each, strict=True)] or [0] * len(launches)

    done = [int(work * part) for part in parts(group.anchors)]  # what only copies computes nothing
    return [Traffic(*three) for three in zip(moved(reads), moved(writes), done, strict=True)]


def _read(s: Schedule, group: Group) -> dict[Node, int]:
    """How many bytes the group reads of each buffer that it does not compute itself."""
    members, views = set(group.anchors), dict[Node, set[View]]()
    counts: dict[Node, int] = {}
    for anchor in group.anchors:
        fact = s.facts[anchor]
        for x, leaf in fact.operands:
            if s.low.is_stored(leaf) and leaf not in members and leaf is not fact.gathered:
                views.setdefault(leaf, set()).add(_view(s.low, x))
        if fact.gathered is not None:  # one number for each of the result, at most
            counts[fact.gathered] = counts.get(fact.gathered, 0) + anchor.size
    for leaf, seen in views.items():
        counts[leaf] = counts.get(leaf, 0) + sum(map(_elements, seen))
    return {x: min(count, x.size) * x.dtype.itemsize for x, count in counts.items()}


def _view(low: Lowered, x: Node) -> View:
    return low.resolve(x)[1]


def _elements(view: View) -> int:
    """How many numbers a view shows; one that it repeats counts once."""
    pairs = zip(view.shape, view.strides, strict=True)
    return 0 if 0 in view.shape else math.prod(n for n, step in pairs if step)


def _work(n: Node) -> int:
    """The additions that a primitive takes; sorting and factorisations are not counted."""
    if n.op is dot:
        return 2 * n.size * n.inputs[0].shape[-1]
    if n.op.kind is Kind.REDUCE:
        return n.inputs[0].size * n.op.cost
    return n.size * n.op.cost if n.op.kind is Kind.ELEMENTWISE and n.op is not copy else 0
