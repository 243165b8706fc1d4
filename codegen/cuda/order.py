"""Sorting for a GPU: each number finds its place by itself.

In a run of a row a thread counts the numbers that stand before its own. Then runs are merged two
and two, one launch for each time: a thread's number has its place in its own run, and moves on by
those of the other run that stand before it, found by halving. Equal numbers stay in order.

The first few are selected: the first of each run stay, and are cut into runs, until there is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from ...ir.dtype import int64
from ...ir.node import Node
from ...ir.strides import View
from ..schedule.lower import Lowered
from ..templates.loops import Axis
from ..text import Arguments, Piece, load, store
from .grid import cuda_piece, grid_of, shared
from .points import product

RUN = 1024  # numbers that are compared with each other


class _Rows:
    """A launch with a thread for each number of each row; those along the axis are side by side.
    `length` numbers are there of a row, and a list has room for `room` of each.
    """

    def __init__(
        self, low: Lowered, anchor: Node, place: Mapping[Node, Node], length: int, room: int
    ):
        self.axis, self.descending = anchor.params["axis"], anchor.params["descending"]
        self.leaf, self.view = low.resolve(anchor.inputs[0])
        self.own, self.args = View.of(anchor.shape), Arguments()
        shape = anchor.inputs[0].shape
        self.rest = [d for d, n in enumerate(shape) if d != self.axis and n != 1]
        self.extents = [*(shape[d] for d in self.rest), length]
        self.axes = (*(Axis(f"k{d}", "", d) for d in self.rest), Axis("j", "", self.axis))
        self.src = self.args.pointer(place.get(self.leaf, self.leaf), self.leaf.dtype)
        self.target = place.get(anchor, anchor)
        self.n, self.count = (self.args.integer(size, name) for size, name in
                              ((length, "length"), (anchor.shape[self.axis], "count")))
        self.size, self.room = math.prod(self.extents), room * math.prod(self.extents[:-1])

    def position(self, view: View, at: str) -> str:
        terms = [self.args.beginning(view.offset)] if view.offset else []
        for d in self.rest:
            terms += product(f"k{d}", view.strides[d], self.args, ("stride", view.strides, d))
        step = view.strides[self.axis]
        return " + ".join([*terms, *product(at, step, self.args, ("along", step))]) or "0"

    def key(self, at: str) -> str:
        return load(self.src, self.leaf.dtype, self.position(self.view, at))

    def before(self, a: str, b: str) -> str:
        """Whether a must stand before b; NaN is the greatest."""
        great, small = (a, b) if self.descending else (b, a)
        if self.leaf.dtype.kind != "float":
            return f"({small} < {great})"
        return f"(({small} < {great}) | (({great} != {great}) & ({small} == {small})))"

    def lists(self, half: int) -> tuple[str, str]:
        """Scratch memory for two lists of positions, and where one of them begins."""
        pointer = self.args.scratch(2 * self.room * int64.itemsize, int64)
        return pointer, self.args.integer(half * self.room, ("list", half))

    def listed(self, half: int | None, at: str) -> str:
        """An entry of this row's list; all positions are one if there is no list."""
        if half is None:
            return at
        pointer, begin = self.lists(half)
        return load(pointer, int64, f"i - j + {begin} + {at}")

    def keep(self, last: bool, half: int, rank: str, value: str) -> list[str]:
        """Write a position where it belongs, in the result or in a list."""
        if last:
            dst = self.args.pointer(self.target, int64)
            result = store(dst, int64, self.position(self.own, rank), value)
            return [f"if {rank} < {self.count}:", f"    {result}"]
        pointer, begin = self.lists(half)
        return [store(pointer, int64, f"i - j + {begin} + {rank}", value)]

    def piece(self, name: str, lines: list[str]) -> Piece:
        whole = (Axis("i", "", -1),) if len(self.axes) == 1 else self.axes
        head = ["j = i"] if len(self.axes) == 1 else []
        text = shared(whole, self.extents, self.args, [*head, *lines])
        source = [*self.args.lines, *text]
        return cuda_piece(name, source, self.args, grid_of(self.size))


def argsort(low: Lowered, anchor: Node, place: Mapping[Node, Node]) -> Iterator[Piece]:
    """Of the first numbers alone, too: those of a row that the result has room for."""
    length, count = (x.shape[anchor.params["axis"]] for x in (anchor.inputs[0], anchor))
    if length > RUN >= 2 * count:
        yield from _selected(low, anchor, place, length, count)
        return
    r = _Rows(low, anchor, place, length, length)
    yield _ranked(r, "argsort", None, r.keep(length <= RUN, 0, "(low + rank)", "at"))
    width, half = RUN, 0
    while width < length:
        r = _Rows(low, anchor, place, length, length)
        yield _merged(r, width, half, 2 * width >= length)
        width, half = 2 * width, 1 - half


def _ranked(r: _Rows, name: str, source: int | None, kept: list[str]) -> Piece:
    """A launch in which each number finds its rank in its run. `source`: which list says
    where the numbers are; None if all of the row are there.
    """
    lines = [
        f"low = j & {-RUN}",
        f"high = minimum(low + {RUN}, {r.n})",
        f"at = {r.listed(source, 'j')}",
        f"u = {r.key('at')}",
        "rank = 0",
        "for k in range(low, high):",
        f"    other = {r.listed(source, 'k')}",
        f"    v = {r.key('other')}",
        f"    if {r.before('v', 'u')} or (k < j and not {r.before('u', 'v')}):",
        "        rank += 1",
        *kept,
    ]
    return r.piece(name, lines)


def _merged(r: _Rows, width: int, half: int, last: bool) -> Piece:
    w = r.args.integer(width, "width")
    lines = [
        f"at = {r.listed(half, 'j')}",
        f"u = {r.key('at')}",
        f"run = j & -(2 * {w})",
        f"right = j >= run + {w}",
        f"first = select(right, run, minimum(run + {w}, {r.n}))",  # of the other run
        "low = first",
        f"high = select(right, run + {w}, minimum(run + 2 * {w}, {r.n}))",
        "while low < high:",
        "    middle = (low + high) >> 1",
        f"    other = {r.listed(half, 'middle')}",
        f"    v = {r.key('other')}",
        f"    if {r.before('v', 'u')} or (right and not {r.before('u', 'v')}):",
        "        low = middle + 1",
        "    else:",
        "        high = middle",
        f"rank = j + (low - first) - select(right, {w}, 0)",
        *r.keep(last, 1 - half, "rank", "at"),
    ]
    return r.piece("merge", lines)


def _selected(
    low: Lowered, anchor: Node, place: Mapping[Node, Node], length: int, count: int
) -> Iterator[Piece]:
    """The first of each run go to a list, whose runs are the next launch's. A list begins in the
    first half of scratch memory or in the second, by turns.
    """
    def left_of(length: int) -> int:
        return length // RUN * count + min(length % RUN, count)

    source: int | None = None
    half, room = 0, left_of(length)
    while length > RUN:
        left = left_of(length)
        r = _Rows(low, anchor, place, length, room)
        pointer, begin = r.lists(half)
        row = f"j_q * {r.args.integer(left, 'left')} + " if r.rest else ""
        to = f"{begin} + {row}quotient(j, {RUN}) * {r.count} + rank"
        kept = [f"if rank < {r.count}:", f"    {store(pointer, int64, to, 'at')}"]
        yield _ranked(r, "top", source, kept)
        length, source, half = left, half, 1 - half
    r = _Rows(low, anchor, place, length, room)
    yield _ranked(r, "top", source, r.keep(True, 0, "rank", "at"))
