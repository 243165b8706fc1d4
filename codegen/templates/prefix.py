"""Prefix scans: rows in parallel, each sequential along the axis.

Where the axis is the innermost one, the running value is in a register. Else each step takes whole
rows of columns, which vectorise, and the running values are in the answer itself, or in scratch
memory where they are wider than its numbers. Threads take whichever has more of them, scans or
columns.

    for k0 in range(start, stop):
        h = load_f4(p0, k0 * n1, 0)
        store_f4(p1, k0 * n1, h, 1)
        for j in range(1, n0):
            h = h + load_f4(p0, k0 * n1 + j, 0)
            store_f4(p1, k0 * n1 + j, h, 1)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

from ...ir.dtype import DType, float32, float64
from ...ir.node import Node
from ...ir.op import Scan
from ...ir.ops.band import WIDTH
from ...ir.strides import View, collapse
from ..program import Kernel
from ..schedule.lower import Lowered
from ..text import Arguments, Piece, compute_code, load, store
from .loops import Axis, nested


class _Scan:
    """The loops of one scan: those outside the axis, the axis, those inside. `together`: the inner
    ones are of one piece, not to be shared by threads.
    """

    def __init__(
        self, anchor: Node, views: list[View], outside: range | list[int], inside: range,
        together: bool = False,
    ):
        self.args = Arguments()
        self.axis = axis = anchor.params["axis"]
        self.length = self.args.integer(anchor.shape[axis], "length")
        (outer, far), (inner, near) = (
            collapse(
                tuple(anchor.shape[d] for d in axes),
                [tuple(v.strides[d] for d in axes) for v in views],
            )
            for axes in (outside, inside)
        )
        self.extents = (*outer, *inner)
        self.strides = {v.strides: (*f, *n) for v, f, n in zip(views, far, near, strict=True)}
        if together:
            split = 0 if outer else None
        else:
            columns = bool(inner) and (not outer or inner[0] > outer[0])
            split = len(outer) if columns else 0
        self.split = split if self.extents else None  # which loop is the launch's range
        loops = tuple(Axis(f"k{d}", f"range({self.span(d)})", d) for d in range(len(self.extents)))
        self.outer, self.inner = loops[: len(outer)], loops[len(outer) :]

    def span(self, d: int) -> str:
        if d == self.split:
            return "start, stop"
        return self.args.integer(self.extents[d], ("axis", d))

    def place(self, view: View, j: str, back: int = 0) -> str:
        """Where the element at position j of the axis stands, or the one `back` places before it in
        the innermost loop.
        """
        terms = [self.args.beginning(view.offset)] if view.offset else []
        loops = [(loop.name, loop.index) for loop in (*self.outer, *self.inner)]
        if back:
            loops[-1] = (f"maximum({loops[-1][0]} - {back}, 0)", loops[-1][1])
        strides = (*self.strides[view.strides], view.strides[self.axis])
        for (name, which), stride in zip([*loops, (j, "along")], strides, strict=True):
            if stride == 1:
                terms.append(name)
            elif stride:
                terms.append(f"{name} * {self.args.integer(stride, ('stride', which))}")
        return " + ".join(terms) or "0"

    def running(self, dtype: DType) -> tuple[str, str]:
        """A pointer to scratch memory with a number for each scan, and where this one's is."""
        pointer, terms, size = self.args.scratch(prod(self.extents) * dtype.itemsize, dtype), [], 1
        for loop in reversed((*self.outer, *self.inner)):
            step = "" if size == 1 else f" * {self.args.integer(size, ('scans', loop.index))}"
            terms.append(f"{loop.name}{step}")
            size *= self.extents[loop.index]
        return pointer, " + ".join(terms)

    def piece(self, first: list[str], step: list[str]) -> Piece:
        """`first` and `step` under the loops."""
        ahead = nested(self.inner, first)
        along = nested((Axis("j", f"range(1, {self.length})", -1), *self.inner), step)
        lines = nested(self.outer, [*ahead, *along])
        extent = 1 if self.split is None else self.extents[self.split]
        work = prod(self.extents) // max(extent, 1) if self.extents else 0
        source = "".join(f"    {line}\n" for line in [*self.args.lines, *lines])
        return Piece(Kernel("prefix", source), self.args, extent, work)


def scan_of(anchor: Node) -> Scan:
    assert anchor.op.scan is not None
    return anchor.op.scan


def wide_of(anchor: Node) -> DType:
    """The type of running values: float32 numbers are accumulated in float64, as torch does it."""
    return float64 if scan_of(anchor).wide and anchor.dtype is float32 else anchor.dtype


class _Operands:
    """What a scan reads and writes."""

    def __init__(
        self, low: Lowered, anchor: Node, place: Mapping[Node, Node], turned: tuple[Any, ...]
    ):
        self.anchor, self.at = anchor, place
        self.leaves, views = zip(*(low.resolve(x) for x in anchor.inputs), strict=True)
        views = (*views, View.of(anchor.shape))
        if anchor.params["reverse"]:
            views = tuple(view.flip(turned) for view in views)
        *self.views, self.goal_view = views

    def bind(self, scan: _Scan) -> None:
        self.scan = scan
        self.sources = [scan.args.pointer(self.at.get(x, x), x.dtype) for x in self.leaves]
        self.goal = scan.args.pointer(self.at.get(self.anchor, self.anchor), self.anchor.dtype)

    def element(self, text: str, j: str, **before: str) -> list[str]:
        """What stands at position j, by the text of a step."""
        dtype, wide = self.anchor.dtype, wide_of(self.anchor)
        operands = (
            load(p, x.dtype, self.scan.place(view, j))
            for p, x, view in zip(self.sources, self.leaves, self.views, strict=True)
        )
        now = f"{compute_code(wide)}({text.format(*operands, **before)})"
        return [f"h = {now}", store(self.goal, dtype, self.scan.place(self.goal_view, j), "h")]

    def before(self, back: int = 0) -> str:
        """The answer in the row before."""
        return load(self.goal, self.anchor.dtype, self.scan.place(self.goal_view, "(j - 1)", back))

    def piece(self, first: list[str], step: list[str]) -> Piece:
        piece = self.scan.piece(first, step)
        cost = piece.step_cost * self.anchor.shape[self.scan.axis] * 4
        return piece._replace(step_cost=cost)


def prefix(low: Lowered, anchor: Node, place: Mapping[Node, Node]) -> Iterator[Piece]:
    how, axis = scan_of(anchor), anchor.params["axis"]
    x = _Operands(low, anchor, place, (axis,))
    inside = range(axis + 1, len(anchor.shape))
    x.bind(_Scan(anchor, [*x.views, x.goal_view], range(axis), inside))
    first, step = x.element(how.first, "0"), x.element(how.step, "j", h="h")
    wide = wide_of(anchor)
    if x.scan.inner and wide is anchor.dtype:
        step.insert(0, f"h = {x.before()}")
    elif x.scan.inner:
        pointer, at = x.scan.running(wide)
        step.insert(0, f"h = {load(pointer, wide, at)}")
        for lines in (first, step):
            lines.append(store(pointer, wide, at, "h"))
    yield x.piece(first, step)


def band(low: Lowered, anchor: Node, place: Mapping[Node, Node]) -> Iterator[Piece]:
    """Threads share what is neither the axis nor the last one, along which elements look at their
    neighbours in the row before.
    """
    how, axis, last = scan_of(anchor), anchor.params["axis"], len(anchor.shape) - 1
    x = _Operands(low, anchor, place, (axis, last))
    outside = [d for d in range(last) if d != axis]
    x.bind(_Scan(anchor, [*x.views, x.goal_view], outside, range(last, last + 1), together=True))
    neighbours, none = [f"h0 = {x.before()}"], f"{compute_code(anchor.dtype)}({how.none!r})"
    for k in range(1, WIDTH):
        there = [f"{x.before(k)} if {loop.name} >= {k} else " for loop in x.scan.inner]
        neighbours.append(f"h{k} = {''.join(there)}{none}")
    names = {f"h{k}": f"h{k}" for k in range(WIDTH)}
    step = [*neighbours, *x.element(how.step, "j", **names)]
    yield x.piece(x.element(how.first, "0"), step)
