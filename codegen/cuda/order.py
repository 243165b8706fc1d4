"""Sorting for a GPU: each number finds its place by itself.

In a run of a row a thread counts the numbers that stand before its own. Then runs are merged two
and two, one launch for each time: a thread's number has its place in its own run, and moves on by
those of the other run that stand before it, found by halving. Equal numbers stay in order.
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
    """A launch with a thread for each number of each row; those along the axis are side by side."""

    def __init__(self, low: Lowered, anchor: Node, place: Mapping[Node, Node]):
        self.axis, self.descending = anchor.params["axis"], anchor.params["descending"]
        self.leaf, self.view = low.resolve(anchor.inputs[0])
        self.own, self.args = View.of(anchor.shape), Arguments()
        shape = anchor.inputs[0].shape
        self.rest = [d for d, n in enumerate(shape) if d != self.axis and n != 1]
        self.extents = [*(shape[d] for d in self.rest), shape[self.axis]]
        self.axes = (*(Axis(f"k{d}", "", d) for d in self.rest), Axis("j", "", self.axis))
        self.src = self.args.pointer(place.get(self.leaf, self.leaf), self.leaf.dtype)
        self.target = place.get(anchor, anchor)
        self.n, self.count = (self.args.integer(x.shape[self.axis], name)
                              for x, name in ((anchor.inputs[0], "length"), (anchor, "count")))
        self.size = math.prod(self.extents)

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
        """Scratch memory for two lists of positions, and where this row's one begins."""
        pointer = self.args.scratch(2 * self.size * int64.itemsize, int64)
        begin = self.args.integer(half * self.size, ("list", half))
        return pointer, f"i - j + {begin}"

    def keep(self, last: bool, half: int, rank: str, value: str) -> list[str]:
        """Write a position where it belongs, in the result or in a list."""
        if last:
            dst = self.args.pointer(self.target, int64)
            result = store(dst, int64, self.position(self.own, rank), value)
            return [f"if {rank} < {self.count}:", f"    {result}"]
        pointer, begin = self.lists(half)
        return [store(pointer, int64, f"{begin} + {rank}", value)]

    def piece(self, name: str, lines: list[str]) -> Piece:
        whole = (Axis("i", "", -1),) if len(self.axes) == 1 else self.axes
        head = ["j = i"] if len(self.axes) == 1 else []
        text = shared(whole, self.extents, self.args, [*head, *lines])
        source = [*self.args.lines, *text]
        return cuda_piece(name, source, self.args, grid_of(self.size))


def argsort(low: Lowered, anchor: Node, place: Mapping[Node, Node]) -> Iterator[Piece]:
    """Of the first numbers alone, too: those of a row that the result has room for."""
    length = anchor.inputs[0].shape[anchor.params["axis"]]
    yield _ranked(_Rows(low, anchor, place), length <= RUN)
    width, half = RUN, 0
    while width < length:
        yield _merged(_Rows(low, anchor, place), width, half, 2 * width >= length)
        width, half = 2 * width, 1 - half


def _ranked(r: _Rows, last: bool) -> Piece:
    lines = [
        f"low = j & {-RUN}",
        f"high = minimum(low + {RUN}, {r.n})",
        f"u = {r.key('j')}",
        "rank = low",
        "for other in range(low, high):",
        f"    v = {r.key('other')}",
        f"    if {r.before('v', 'u')} or (other < j and not {r.before('u', 'v')}):",
        "        rank += 1",
        *r.keep(last, 0, "rank", "j"),
    ]
    return r.piece("argsort", lines)


def _merged(r: _Rows, width: int, half: int, last: bool) -> Piece:
    pointer, begin = r.lists(half)
    w = r.args.integer(width, "width")
    there = load(pointer, int64, f"{begin} + middle")
    lines = [
        f"at = {load(pointer, int64, f'{begin} + j')}",
        f"u = {r.key('at')}",
        f"run = j & -(2 * {w})",
        f"right = j >= run + {w}",
        f"first = select(right, run, minimum(run + {w}, {r.n}))",  # of the other run
        "low = first",
        f"high = select(right, run + {w}, minimum(run + 2 * {w}, {r.n}))",
        "while low < high:",
        "    middle = (low + high) >> 1",
        f"    other = {there}",
        f"    v = {r.key('other')}",
        f"    if {r.before('v', 'u')} or (right and not {r.before('u', 'v')}):",
        "        low = middle + 1",
        "    else:",
        "        high = middle",
        f"rank = j + (low - first) - select(right, {w}, 0)",
        *r.keep(last, 1 - half, "rank", "at"),
    ]
    return r.piece("merge", lines)
