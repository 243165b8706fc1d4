"""Which anchors share a loop nest: `legal` says whether two groups may, `gain` says what it is
worth.

Takes a Lowered, gives ordered Groups; loop_space.py says what the values of a group have to do with
its loops. What is asked of an anchor is worked out once (`Facts`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from ...ir.graph import siblings_key
from ...ir.node import Node
from ...ir.op import DIVIDE, Kind, Lowering
from ...ir.ops.contract import dot
from ...ir.ops.elementwise import may_fail
from ...ir.strides import View
from .candidates import Candidates
from .groups import Group, Precedence
from .loop_space import (
    Space,
    gathered,
    in_own_loop,
    kept_within,
    pointwise,
    space_of,
    strides_within,
    within,
)
from .lower import Lowered

MOST_BUFFERS = 28  # more of them in one loop cost more in registers than they save in memory
BETWEEN = "another group must run between them"
WORTH_A_THREAD = 250_000  # additions that pay for handing a piece of a loop to another thread
LEAST_ROWS = 64  # that threads share in parts, each with sums of its own
SHARE = 64  # bytes credited to two loops that could be one, for the launch saved
SCALARS = "scalars"  # loops over nothing are a pair as if they touched the same memory


def operands(low: Lowered, anchor: Node) -> list[tuple[Node, Node]]:
    """(operand, leaf under it) for every place where the expression of an anchor touches a leaf."""
    return _operands(low, anchor, expression(low, pointwise(anchor)))


def _operands(low: Lowered, anchor: Node, inlined: list[Node]) -> list[tuple[Node, Node]]:
    below = (v for n in inlined if n.op.kind is Kind.ELEMENTWISE for v in n.inputs)
    touched = ((x, low.base(x)) for x in dict.fromkeys([*pointwise(anchor), *below]))
    return [(x, base) for x, base in touched if low.is_leaf(base)]


def expression(low: Lowered, tops: Iterable[Node]) -> list[Node]:
    """The inlined operations under `tops`, operands first."""
    order: list[Node] = []
    waiting, done, anchors = [(x, False) for x in tops][::-1], set(), low.anchors
    while waiting:
        node, ready = waiting.pop()
        if ready:
            order.append(node)
        elif node not in done and node not in anchors and node.op.kind is not Kind.SOURCE:
            done.add(node)
            waiting.append((node, True))
            for x in reversed(node.inputs):
                waiting.append((x, False))
    return order


@dataclass(frozen=True)
class Facts:
    """What fusion asks of an anchor."""

    inlined: list[Node]  # operations between it and the leaves, operands first
    operands: list[tuple[Node, Node]]  # see there
    reads: set[Node]  # the anchors and inputs whose memory its computation looks at
    members: list[tuple[Node, View]]  # the anchors among them, as its own loop sees them
    space: Space  # of its own loop
    gathered: Node | None  # what it reads at computed places
    may_fail: bool


def facts(low: Lowered, anchor: Node) -> Facts:
    inlined, leaf = expression(low, pointwise(anchor)), gathered(low, anchor)
    touched = _operands(low, anchor, inlined)
    bases, members = {b for _, b in touched}, []
    if anchor.op.lowering in (Lowering.EXTERN, Lowering.BODY):
        bases = {low.base(x) for x in anchor.inputs}
    else:
        members = [(b, in_own_loop(low, x, anchor)) for x, b in touched if b in low.anchors]
    if leaf is not None:
        bases.add(leaf)
    fails = any(may_fail(n.op, n.params) for n in (anchor, *inlined))
    stored = {b for b in bases if low.is_stored(b)}
    return Facts(inlined, touched, stored, members, space_of(anchor), leaf, fails)


class Fusion:
    """The greedy merging of one Lowered graph into groups."""

    def __init__(self, low: Lowered):
        self.low = low
        self.beside = False  # rows of the backend can sum down columns, in parts
        self.notes: list[str] = []
        self.facts = {a: facts(low, a) for a in low.order if a in low.anchors}
        self.anchors = list(self.facts)
        self.rank = {a: k for k, a in enumerate(self.anchors)}
        self.readers: dict[Node, list[Node]] = {}  # of each anchor and input, in their order
        self.nbytes = {a: nbytes(a) for a in self.facts}
        self.home: dict[Node, Group] = {}
        loops: dict[Hashable, Group] = {}  # whose results are anchors of one group
        for anchor, fact in self.facts.items():
            opaque = anchor.op.lowering in (Lowering.EXTERN, Lowering.BODY)
            looped = not opaque or anchor.op is dot
            group = Group([anchor], fact.space if looped else Space(()), opaque)
            if group.loop:
                first = loops.setdefault(siblings_key(anchor), group)
                if first is not group:
                    first.anchors.append(anchor)
                    self.home[anchor] = first
                    continue
            group.reads |= fact.reads
            group.after |= {self.home[b] for b in fact.reads if b in self.home}
            self.home[anchor] = group
            for x in fact.reads:
                self.readers.setdefault(x, []).append(anchor)
                self.nbytes.setdefault(x, nbytes(x))
        self.groups = dict.fromkeys(self.home.values())
        self.precedence = Precedence(self.groups)

    def legal(self, a: Group, b: Group) -> Space | str:
        """The space that the two share if they may be one loop nest, else why not."""
        if a.opaque or b.opaque:
            return "one of them is not a loop of ours"
        if a.space.extents != b.space.extents and checks(a) != checks(b):
            return "a check comes before anything is written, and should not wait for the other"
        space = a.space if a.space == b.space else (
            a.space.join(b.space, self.beside) or b.space.join(a.space, self.beside))
        if space is None:
            return f"their spaces differ: {a.space} and {b.space}"
        members = {*a.anchors, *b.anchors}
        if space.sums and (reason := self.apart(members, space)):
            return reason
        if self.repeated(members, space):
            return "what is computed once per column would be computed at each of its points"
        if len(a.reads | b.reads | members) > MOST_BUFFERS:
            return "too many buffers for one loop"
        return self.misread(a, b, space) or (BETWEEN if self.between(a, b) else space)

    def repeated(self, members: set[Node], space: Space) -> bool:
        """Whether sums down columns would compute a costly value of each column at each point."""
        if not space.reduced or space.all[-1] in space.reduced:
            return False
        homes = {a: within(self.facts[a].space, space) for a in members}
        return any(
            here == space.kept and a.op.kind is not Kind.REDUCE and self.cost(a) >= DIVIDE
            and any(homes[b] == space.all and a in self.facts[b].reads for b in members)
            for a, here in homes.items()
        )

    def cost(self, anchor: Node) -> int:
        """Of one of its elements."""
        return sum(x.op.cost for x in (anchor, *self.facts[anchor].inlined))

    def apart(self, members: set[Node], space: Space) -> str | None:
        """Why rows and sums over them may not be one loop."""
        shared = work(members, space) >= 2 * WORTH_A_THREAD
        homes = {a: self.facts[a].space for a in members}
        late = [a for a in members if space.late(kept_within(homes[a], space))]
        columns = any(kept_within(homes[a], space) for a in late)
        if shared and not (columns and self.in_parts(late, homes, space)):
            return "threads share the rows, and sums over them would wait for each other"
        if columns and not space.short and self.row_by_row(members, space):
            return "what is computed once per row would take longer than a row"
        return None

    def in_parts(self, late: list[Node], homes: dict[Node, Space], space: Space) -> bool:
        """Whether threads may share rows in parts, each with sums of its own: if nothing follows
        from these.
        """
        return (
            self.beside and math.prod(space.along(space.kept)) >= LEAST_ROWS
            and all(a.op.kind is Kind.REDUCE and within(homes[a], space) in (space.all, space.kept)
                    for a in late)
        )

    def row_by_row(self, members: set[Node], space: Space) -> bool:
        """Whether what is computed once per row, a number at a time, takes longer than its points,
        many of which are computed at a time.
        """
        once = [a for a in members if within(self.facts[a].space, space) == space.kept]
        return sum(map(self.cost, once)) > math.prod(space.along(space.reduced))

    def misread(self, a: Group, b: Group, space: Space) -> str | None:
        """What a member of the two would read in such a loop that is not there to be read yet."""
        members = {*a.anchors, *b.anchors}
        for anchor in (*a.anchors, *b.anchors):
            fact = self.facts[anchor]
            if fact.reads.isdisjoint(members):
                continue
            if fact.gathered in members:
                return "an indexed value must be complete before it is read"
            here = within(fact.space, space)
            for base, view in fact.members:
                if base not in members:
                    continue
                own = self.facts[base].space
                strides = space.widen(view, here).strides
                if view.offset or strides != strides_within(own, space):
                    return f"{anchor.op.name} reads {base.op.name} at other points than its own"
                # equal strides: the anchor is computed along all axes that the value has
                if space.late(kept_within(own, space)) and not space.late(here):
                    return f"{anchor.op.name} needs {base.op.name} before all rows are done"
        return None

    def between(self, a: Group, b: Group) -> bool:
        """Whether some third group must run between the two."""
        return self.precedence.between(a, b) or self.precedence.between(b, a)

    def gain(self, a: Group, b: Group) -> int:
        """Bytes that need not move when the two are one: what one hands to the other, and what both
        read.
        """
        handed = a.reads.intersection(b.anchors) | b.reads.intersection(a.anchors)
        shared = (a.reads & b.reads) - handed
        size = self.nbytes.__getitem__
        worth = 2 * sum(map(size, handed)) + sum(map(size, shared))
        tiny = not a.space.extents and not b.space.extents
        return worth + SHARE if worth or tiny else 0

    def merge(self, a: Group, b: Group, space: Space) -> None:
        a.anchors = sorted([*a.anchors, *b.anchors], key=self.rank.__getitem__)
        a.reads |= b.reads
        a.space = space
        self.precedence.merge(a, b)
        del self.groups[b]
        for n in b.anchors:
            self.home[n] = a

    def touched(self, group: Group) -> set[Hashable]:
        memory: set[Hashable] = {*group.reads, *group.anchors}
        return memory if group.space.extents else memory | {SCALARS}

    def run(self) -> list[Group]:
        # Rows first: what a softmax leaves in cache is worth more than what a sum down its columns
        # reads again.
        candidates = Candidates(self.groups, self.touched, self.gain)
        for columns in (False, True):
            while self.round(candidates, columns):
                candidates.end_round()
            candidates.wait_no_longer()
        return list(self.groups)

    def round(self, candidates: Candidates, columns: bool) -> bool:
        """Go through the candidates, best first; whether any two were merged.

        A merge makes others legal: before candidates of half its worth, look again. Else small
        gains taken early stand between groups that would have saved more together.
        """
        best = 0

        def waits(group: Group) -> bool:
            return not columns and group.template == "column"

        while (pair := candidates.pop(best / 2, waits)) is not None:
            worth, a, b = pair
            verdict = self.legal(a, b)
            if isinstance(verdict, str):
                self.notes.append(f"kept apart {a} with {b}: {verdict}")
            else:
                self.notes.append(f"fused {a} with {b}: saves {worth} bytes")
                self.merge(a, b, verdict)
                candidates.merged(a, b)
                best = best or worth
        return best > 0


def checks(group: Group) -> bool:
    """Whether the group looks at indices; lowering makes every check an anchor."""
    return any(a.op.check is not None for a in group.anchors)


def work(anchors: Iterable[Node], space: Space) -> int:
    """What a loop nest has to do, in additions."""
    return math.prod(space.extents) * sum(a.op.cost for a in anchors) * 2


def shares_rows(group: Group) -> bool:
    """Whether threads share rows that are summed over: in parts, whose sums are put together."""
    return group.space.sums and work(group.anchors, group.space) >= 2 * WORTH_A_THREAD


def nbytes(x: Node) -> int:
    return math.prod(x.shape) * x.dtype.itemsize
