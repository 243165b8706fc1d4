"""Which anchors share a loop nest: `legal` says whether two groups may, `gain` says what it is
worth.

Takes a Lowered, gives ordered Groups; loop_space.py says what the values of a group have to do with
its loops.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from ...ir.node import Node
from ...ir.op import Kind, Lowering
from ...ir.ops.contract import dot
from .loop_space import Space, computed, expected, gathered, known, pointwise, seen, space_of
from .lower import Lowered, leaves

MOST_BUFFERS = 28  # more of them in one loop cost more in registers than they save in memory
BETWEEN = "another group must run between them"
WORTH_A_THREAD = 250_000  # additions that pay for handing a piece of a loop to another thread
SHARE = 64  # bytes credited to two loops that could be one, for the launch saved


@dataclass(eq=False)
class Group:
    anchors: list[Node]
    space: Space
    opaque: bool = False
    after: set[Group] = field(default_factory=set)  # groups that must run before this one, directly

    @property
    def product(self) -> bool:
        """Whether it is a matrix product, which may compute more than that."""
        return self.anchors[0].op is dot

    @property
    def template(self) -> str:
        if self.opaque:
            return self.anchors[0].op.name
        if not self.space.reduced:
            return "map"
        return "row" if self.space.all[-1] in self.space.reduced else "column"


def operands(low: Lowered, anchor: Node) -> list[tuple[Node, Node]]:
    """(operand, leaf under it) for every place where the expression of an anchor touches a leaf."""
    found = []
    tops = pointwise(anchor)
    inlined = [n for n in expression(low, tops) if n.op.kind is Kind.ELEMENTWISE]
    for x in dict.fromkeys([*tops, *(v for n in inlined for v in n.inputs)]):
        base = low.resolve(x)[0]
        if low.is_leaf(base):
            found.append((x, base))
    return found


def expression(low: Lowered, tops: Iterable[Node]) -> list[Node]:
    """The inlined operations under `tops`, operands first."""
    return [n for n in leaves(low, tops) if not low.is_leaf(n)]


def reads(low: Lowered, anchor: Node) -> set[Node]:
    """The anchors and inputs whose memory an anchor's computation looks at."""
    bases = (
        {low.resolve(x)[0] for x in anchor.inputs}
        if anchor.op.lowering is Lowering.EXTERN
        else {b for _, b in operands(low, anchor)}
    )
    if (leaf := gathered(low, anchor)) is not None:
        bases.add(leaf)
    return {b for b in bases if low.is_stored(b)}


class Fusion:
    """The greedy merging of one Lowered graph into groups."""

    def __init__(self, low: Lowered):
        self.low = low
        self.notes: list[str] = []
        self.refused: set[tuple[frozenset[Node], frozenset[Node]]] = set()
        self.reads = {a: reads(low, a) for a in low.order if a in low.anchors}
        self.groups: list[Group] = []
        self.home: dict[Node, Group] = {}
        for anchor in self.reads:
            opaque = anchor.op.lowering is Lowering.EXTERN
            looped = not opaque or anchor.op is dot
            group = Group([anchor], space_of(anchor) if looped else Space(()), opaque)
            self.groups.append(group)
            self.home[anchor] = group
        for anchor, read in self.reads.items():
            self.home[anchor].after |= {self.home[b] for b in read if b in self.home}

    def legal(self, a: Group, b: Group) -> Space | str:
        """The space that the two share if they may be one loop nest, else why not."""
        if a.opaque or b.opaque:
            return "one of them is not a loop of ours"
        if checks(a) != checks(b) and a.space.extents != b.space.extents:
            return "a check comes before anything is written, and should not wait for the other"
        space = a.space if a.space == b.space else a.space.join(b.space) or b.space.join(a.space)
        if space is None:
            return f"their spaces differ: {a.space} and {b.space}"
        members = set(a.anchors) | set(b.anchors)
        if space.sums and work(members, space) >= 2 * WORTH_A_THREAD:
            return "threads share the rows, and sums over them would wait for each other"
        external = {x for m in members for x in self.reads[m]} - members
        if len(external | members) > MOST_BUFFERS:
            return "too many buffers for one loop"
        for anchor in members:
            for x, base in operands(self.low, anchor):
                if base in members:
                    _, view = seen(self.low, x, anchor, space)
                    if view.offset or view.strides != expected(base, space):
                        return f"{anchor.op.name} reads {base.op.name} at other points than its own"
                    # equal strides: the anchor is computed along all axes that the value has
                    here, there = computed(anchor, space), known(base, space)
                    if space.late(there) and not space.late(here):
                        return f"{anchor.op.name} needs {base.op.name} before all rows are done"
            if gathered(self.low, anchor) in members:
                return "an indexed value must be complete before it is read"
        if self.between(a, b) or self.between(b, a):
            return BETWEEN
        return space

    def between(self, first: Group, last: Group) -> bool:
        """Whether some third group depends on `first` and `last` depends on it."""
        stack, looked = [g for g in last.after if g is not first and g is not last], set()
        while stack:
            g = stack.pop()
            if g in looked:
                continue
            looked.add(g)
            if first in g.after:
                return True
            stack.extend(x for x in g.after if x is not first)
        return False

    def gain(self, a: Group, b: Group) -> int:
        """Bytes that need not move when the two are one: what one hands to the other, and what both
        read.
        """
        ra = {x for m in a.anchors for x in self.reads[m]}
        rb = {x for m in b.anchors for x in self.reads[m]}
        handed = (ra & set(b.anchors)) | (rb & set(a.anchors))
        shared = (ra & rb) - handed
        worth = sum(2 * nbytes(x) for x in handed) + sum(nbytes(x) for x in shared)
        tiny = not a.space.extents and not b.space.extents
        return worth + SHARE if worth or tiny else 0

    def merge(self, a: Group, b: Group, space: Space) -> None:
        order = {n: i for i, n in enumerate(self.reads)}
        a.anchors = sorted([*a.anchors, *b.anchors], key=order.__getitem__)
        a.space = space
        a.after = (a.after | b.after) - {a, b}
        self.groups.remove(b)
        for n in b.anchors:
            self.home[n] = a
        for g in self.groups:
            if b in g.after:
                g.after = (g.after - {b}) | {a}

    def candidates(self) -> list[tuple[int, Group, Group]]:
        """Pairs that touch the same memory, best first."""
        touching: dict[Node, set[Group]] = {}
        for anchor, read in self.reads.items():
            for x in (*read, anchor):
                touching.setdefault(x, set()).add(self.home[anchor])
        scalars = {g for g in self.groups if not g.space.extents and not g.opaque}
        rank = {g: i for i, g in enumerate(self.groups)}
        pairs = set()
        for near in (*touching.values(), scalars):
            ordered = sorted((g for g in near if not g.opaque), key=rank.__getitem__)
            ordered = ordered[:40]  # everything reads the learning rate; it binds nobody
            pairs |= {(a, b) for i, a in enumerate(ordered) for b in ordered[i + 1 :]}
        scored = ((self.gain(a, b), a, b) for a, b in pairs)
        return sorted(
            (s for s in scored if s[0] > 0), key=lambda s: (-s[0], rank[s[1]], rank[s[2]])
        )

    def run(self) -> list[Group]:
        # Rows first: what a softmax leaves in cache is worth more than what a sum down its columns
        # reads again.
        for columns in (False, True):
            while self.round(columns):
                pass
        return self.groups

    def round(self, columns: bool) -> bool:
        """Go through the candidates, best first; whether any two were merged.

        A merge makes others legal: before candidates of half its worth, look again. Else small
        gains taken early stand between groups that would have saved more together.
        """
        best = 0
        for worth, a, b in self.candidates():
            if worth * 2 < best:
                break
            if a not in self.groups or b not in self.groups:
                continue
            if not columns and "column" in (a.template, b.template):
                continue
            key = (frozenset(a.anchors), frozenset(b.anchors))
            if key in self.refused:
                continue
            verdict = self.legal(a, b)
            pair = f"{names(a)} with {names(b)}"
            if isinstance(verdict, str):
                if verdict != BETWEEN:  # that may change when others merge
                    self.refused.add(key)
                self.notes.append(f"kept apart {pair}: {verdict}")
            else:
                self.notes.append(f"fused {pair}: saves {worth} bytes")
                self.merge(a, b, verdict)
                best = best or worth
        return best > 0


def checks(group: Group) -> bool:
    """Whether the group looks at indices; lowering makes every check an anchor."""
    return any(a.op.check is not None for a in group.anchors)


def work(anchors: Iterable[Node], space: Space) -> int:
    """What a loop nest has to do, in additions."""
    return math.prod(space.extents) * sum(a.op.cost for a in anchors) * 2


def nbytes(x: Node) -> int:
    return math.prod(x.shape) * x.dtype.itemsize


def names(group: Group) -> str:
    return "+".join(a.op.name for a in group.anchors[:4]) + (
        "+..." if len(group.anchors) > 4 else ""
    )


def sort(groups: list[Group]) -> list[Group]:
    """An order in which every group runs after those it needs; the same one in every process."""
    rank = {g: i for i, g in enumerate(groups)}
    done: list[Group] = []
    placed: set[Group] = set()
    for root in groups:
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
