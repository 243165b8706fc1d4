"""Groups of anchors that share a loop nest, and which of them must run before which.

What runs before a group is a set of bits, one for each anchor, so that no question about it walks
the graph. Knows nothing of why groups are merged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ...ir.node import Node
from ...ir.op import Lowering
from ...ir.ops.contract import dot
from .loop_space import Space


@dataclass(eq=False)
class Group:
    anchors: list[Node]
    space: Space
    opaque: bool = False
    reads: set[Node] = field(default_factory=set)  # memory that its members look at
    after: set[Group] = field(default_factory=set)  # groups that must run before this one, directly
    before: set[Group] = field(default_factory=set)  # the other way round

    @property
    def product(self) -> bool:
        """Whether it is a matrix product, which may compute more than that."""
        return self.anchors[0].op is dot

    @property
    def loop(self) -> bool:
        """Whether it is a loop or a branch, with bodies that have groups of their own."""
        return self.anchors[0].op.lowering is Lowering.BODY

    @property
    def template(self) -> str:
        if self.opaque:
            return self.anchors[0].op.name
        if not self.space.reduced:
            return "map"
        return "row" if self.space.all[-1] in self.space.reduced else "column"

    def __repr__(self) -> str:
        names = "+".join(a.op.name for a in self.anchors[:4])
        return names + "+..." * (len(self.anchors) > 4)


class Precedence:
    """Which groups run before which, directly or not.

    A group has one bit; merged groups have all bits of their parts, and whoever runs after one has
    at least one of them.
    """

    def __init__(self, groups: Iterable[Group]):
        """Of groups in an order in which they may run."""
        self.bits: dict[Group, list[int]] = {}
        self.above: dict[Group, int] = {}  # the bits of all groups that run before one
        for k, group in enumerate(groups):
            self.bits[group] = [k]
            above = 0
            for g in group.after:
                above |= self.above[g] | 1 << self.bits[g][0]
                g.before.add(group)
            self.above[group] = above

    def precedes(self, a: Group, b: Group) -> bool:
        """Whether a runs before b."""
        above = self.above[b]
        return any(above >> k & 1 for k in self.bits[a])

    def between(self, a: Group, b: Group) -> bool:
        """Whether some third group runs after a and before b."""
        return self.precedes(a, b) and any(g is not a and self.precedes(a, g) for g in b.after)

    def put_after(self, group: Group, first: set[Group]) -> None:
        """Let a group run after others, none of which it precedes."""
        above = 0
        for g in first - group.after:
            above |= self.above[g] | self._mask(g)
            g.before.add(group)
        group.after |= first
        self._add([group], above)

    def merge(self, a: Group, b: Group) -> None:
        """Let b be part of a."""
        above = (self.above[a] | self.above.pop(b)) & ~(self._mask(a) | self._mask(b))
        self.bits[a] += self.bits.pop(b)
        self.above[a] = above
        for g in b.after:
            g.before.discard(b)
        for g in b.before:
            g.after.discard(b)
        a.after = (a.after | b.after) - {a, b}
        a.before = (a.before | b.before) - {a, b}
        for g in a.after:
            g.before.add(a)
        for g in a.before:
            g.after.add(a)
        self._add(a.before, above)

    def _mask(self, group: Group) -> int:
        return sum(1 << k for k in self.bits[group])

    def _add(self, groups: Iterable[Group], above: int) -> None:
        """More bits above groups, and above all that run after them."""
        stack = list(groups)
        while stack:
            group = stack.pop()
            known = self.above[group]
            if (more := known | above) != known:
                self.above[group] = more
                stack.extend(group.before)


def sort(groups: Iterable[Group]) -> list[Group]:
    """An order in which every group runs after those it needs; the same one in every process."""
    rank = {g: i for i, g in enumerate(groups)}
    done: list[Group] = []
    placed: set[Group] = set()
    for root in rank:
        stack = [(root, False)]
        while stack:
            group, ready = stack.pop()
            if group in placed:
                continue
            if ready:
                placed.add(group)
                done.append(group)
            else:
                stack.append((group, True))
                waiting = sorted((g for g in group.after if g not in placed), key=rank.__getitem__)
                stack.extend((g, False) for g in reversed(waiting))
    return done
