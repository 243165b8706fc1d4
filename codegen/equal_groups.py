"""Equal groups are written once: those that differ only in the buffers they touch, and in where in
these their numbers begin. A loop of the user's program, traced, gives one for each iteration.

`describe` says all that a template looks at, with buffers and beginnings by their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple

from ..ir.node import Node, frozen
from ..ir.op import Kind
from .program import Grid, Kernel
from .schedule.groups import Group
from .schedule.schedule import Schedule
from .text import Piece

# Where these templates add to the beginning of a buffer, they do so in the argument block
MOVABLE = ("map", "row")


class Bound(NamedTuple):
    """One launch: a Piece with the values of its arguments."""

    kernel: Kernel
    values: list[Any]  # a Node or a name stands for the slot it will get
    scratch_bytes: int
    extent: int
    step_cost: int
    grid: Grid | None


class Nth(NamedTuple):
    """The n-th buffer of a group, or the n-th beginning."""

    which: int
    n: int


BUFFER, BEGINNING = range(2)


class EqualGroups:
    """The launches of the groups of a Schedule."""

    def __init__(
        self, s: Schedule, stored: set[Node], write: Callable[[Group], Iterable[Piece]]
    ):
        self.schedule, self.stored, self.write = s, stored, write
        self.check_rank = {c: k for k, c in enumerate(s.low.checks)}
        self.written: dict[Hashable, list[Bound]] = {}

    def launches(self, group: Group) -> list[Bound]:
        description = _Description(self, group)
        key = tuple(description.rows)
        if key not in self.written:
            self.written[key] = [description.general(piece) for piece in self.write(group)]
        return [description.bound(launch) for launch in self.written[key]]


class _Description:
    def __init__(self, equal: EqualGroups, group: Group):
        self.schedule, self.low = equal.schedule, equal.schedule.low
        self.movable = group.template in MOVABLE
        self.buffers: dict[Node, int] = {}
        self.beginnings: dict[int, int] = {}  # in elements
        self.operations: dict[Node, int] = {}
        self.rows: list[Hashable] = [group.template, group.space]
        for anchor in group.anchors:
            self.number(anchor)
        for anchor in group.anchors:
            self.add(anchor, anchor in equal.stored)
        checks = [k for k, a in enumerate(group.anchors) if a.op.check is not None]
        checks.sort(key=lambda k: equal.check_rank.get(group.anchors[k], len(equal.check_rank)))
        self.rows.append(tuple(checks))

    def number(self, buffer: Node) -> int:
        return self.buffers.setdefault(buffer, len(self.buffers))

    def add(self, anchor: Node, stored: bool) -> None:
        facts, target = self.schedule.facts[anchor], self.schedule.place.get(anchor)
        self.leaves = dict(facts.operands)
        for n in facts.inlined:
            if n.op.kind is Kind.ELEMENTWISE and n not in self.operations:
                self.rows.append(self.operation(n))
                self.operations[n] = len(self.operations)
        written = None if target is None else (self.number(target), self.view(target))
        self.rows.append((*self.operation(anchor), stored, written))

    def operation(self, n: Node) -> tuple[Hashable, ...]:
        inputs = tuple(map(self.operand, n.inputs))
        shape_below = n.inputs[0].shape if n.inputs else ()
        return n.op, n.dtype, n.shape, shape_below, frozen(n.params), inputs

    def operand(self, x: Node) -> Hashable:
        """The number of an operation; or a leaf, and how it is seen."""
        if x in self.operations and x not in self.leaves:
            return self.operations[x]
        leaf = self.low.base(x)
        if not self.low.is_stored(leaf):  # a constant or a counter
            return leaf, self.view(x)
        place = self.schedule.place.get(leaf, leaf)
        return self.number(leaf), self.number(place), leaf.dtype, self.view(x)

    def view(self, x: Node) -> Hashable:
        view = self.low.resolve(x)[1]
        begin = view.offset
        if self.movable and begin:
            begin = self.beginnings.setdefault(begin, len(self.beginnings) + 1)
        return view.shape, view.strides, begin

    def general(self, piece: Piece) -> Bound:
        """A launch of this group, as one of all that are equal."""
        values: list[Any] = [Nth(BUFFER, self.buffers[v]) if isinstance(v, Node) else v
                             for v in piece.args.values]
        if self.movable:
            for k in piece.args.beginnings:
                values[k] = Nth(BEGINNING, self.beginnings[values[k]])
        return Bound(piece.kernel, values, piece.args.scratch_bytes, *piece[2:])

    def bound(self, launch: Bound) -> Bound:
        """A launch of all that are equal, as one of this group."""
        tables = list(self.buffers), [0, *self.beginnings]
        values = [tables[v.which][v.n] if isinstance(v, Nth) else v for v in launch.values]
        return launch._replace(values=values)
