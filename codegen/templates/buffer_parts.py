"""Launches that write part of a buffer: concat, pad, fold and index_put are made of strided copies,
fills, sums and a scatter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from ...ir.dtype import DType
from ...ir.node import Node, constant
from ...ir.ops.index import GATHER, first_axis
from ...ir.ops.movement import inner
from ...ir.ops.reduce import sum as sum_
from ...ir.strides import View, collapse
from ..program import Kernel
from ..schedule.lower import Lowered
from ..text import Arguments, Piece, load, store
from .loops import Axis, nested, part_of, rows_of_a_part


class Loops:
    """One loop nest over a shape, with strided positions; the outermost axis is the launch's
    range, or cut into parts.
    """

    def __init__(
        self, shape: tuple[int, ...], strides: list[tuple[int, ...]], serial: bool = False,
        in_parts: bool = False,
    ):
        self.args = Arguments()
        self.extents, collapsed = collapse(shape, strides)
        self.strides = {tuple(s): c for s, c in zip(strides, collapsed, strict=True)}
        self.serial = serial

        def span(d: int, n: int) -> str:
            mine = d == 0 and not serial
            return "start, stop" if mine else self.args.integer(n, ("axis", d))

        self.axes = tuple(
            Axis(f"k{d}", f"range({span(d, n)})", d) for d, n in enumerate(self.extents)
        )
        self.nest, self.parts = self.axes, self.extents[0] if self.extents else 1
        if in_parts:
            self._cut()

    def _cut(self) -> None:
        if not self.axes:
            self.nest = (Axis("part", "range(start, stop)", -1),)
            return
        rows = rows_of_a_part(self.parts)
        step, last = (self.args.integer(n, name)
                      for n, name in ((rows, "rows"), (self.parts, ("axis", 0))))
        self.nest = (*part_of(self.axes[0], step, last), *self.axes[1:])
        self.parts = -(-self.parts // rows)

    def position(self, view: View) -> str:
        terms = [self.args.beginning(view.offset)] if view.offset else []
        for axis, stride in zip(self.axes, self.strides[view.strides], strict=True):
            if stride:
                terms.append(
                    axis.name
                    if stride == 1
                    else f"{axis.name} * {self.args.integer(stride, ('stride', axis.index))}"
                )
        return " + ".join(terms) or "0"

    def piece(self, template: str, lines: list[str]) -> Piece:
        source = "".join(f"    {line}\n" for line in [*self.args.lines, *nested(self.nest, lines)])
        extent = 1 if self.serial else self.parts
        work = math.prod(self.extents) // max(extent, 1)
        step_cost = 0 if self.serial else 2 * work
        return Piece(Kernel(template, source), self.args, extent, step_cost)


def strided_copy(low: Lowered, x: Node, out: Node, view: View, place: Mapping[Node, Node]) -> Piece:
    leaf, source = low.resolve(x)
    loops = Loops(view.shape, [source.strides, view.strides])
    src = loops.args.pointer(place.get(leaf, leaf), leaf.dtype)
    dst = loops.args.pointer(place.get(out, out), out.dtype)
    value = load(src, leaf.dtype, loops.position(source))
    return loops.piece("copy", [store(dst, out.dtype, loops.position(view), value)])


def contiguous_copy(count: int, dtype: DType) -> Piece:
    """A copy of the numbers in the buffer "source" to the buffer "target"."""
    loops = Loops((count,), [(1,)])
    src, dst = (loops.args.pointer(name, dtype) for name in ("source", "target"))
    at = loops.position(View((count,), (1,)))
    return loops.piece("copy", [store(dst, dtype, at, load(src, dtype, at))])


def contiguous_fill(count: int, dtype: DType, out: Node | str = "target") -> Piece:
    """Zeros in a buffer."""
    loops = Loops((count,), [(1,)])
    dst = loops.args.pointer(out, dtype)
    zero = loops.args.constant(constant(0, dtype).params["value"], dtype)
    return loops.piece("fill", [store(dst, dtype, loops.position(View((count,), (1,))), zero)])


def fill(out: Node, place: Mapping[Node, Node]) -> Piece:
    return contiguous_fill(out.size, out.dtype, place.get(out, out))


def concat(low: Lowered, anchor: Node, place: Mapping[Node, Node]) -> Iterator[Piece]:
    axis, start = anchor.params["axis"], 0
    for x in anchor.inputs:
        stop = start + x.shape[axis]
        part = tuple(
            (start, stop, 1) if d == axis else (0, n, 1) for d, n in enumerate(anchor.shape)
        )
        if start < stop:
            yield strided_copy(low, x, anchor, View.of(anchor.shape).slice(part), place)
        start = stop


def pad(low: Lowered, anchor: Node, place: Mapping[Node, Node]) -> Iterator[Piece]:
    (x,) = anchor.inputs
    yield fill(anchor, place)
    yield strided_copy(
        low, x, anchor, View.of(anchor.shape).slice(inner(x.shape, anchor.params["pads"])), place
    )


def fold(low: Lowered, anchor: Node, place: Mapping[Node, Node]) -> Iterator[Piece]:
    """Zeros, then each tap of the windows added where it stands. Only the axis that was folded
    overlaps itself, so what lies before it may be shared among workers.
    """
    (x,) = anchor.inputs
    p, last = anchor.params, len(x.shape) - 1
    yield fill(anchor, place)
    if x.size == 0:
        return
    leaf, source = low.resolve(x)
    goal = View.of(anchor.shape).window(p["axis"], x.shape[-1], p["step"], p["dilation"])
    # taps outside the folded axis: neighbours of the inner loop do not overlap, and vectorise
    order = (*range(p["axis"]), last, *range(p["axis"], last))
    source, goal = source.permute(order), goal.permute(order)
    serial = math.prod(x.shape[: p["axis"]]) == 1
    loops = Loops(source.shape, [source.strides, goal.strides], serial)
    src = loops.args.pointer(place.get(leaf, leaf), leaf.dtype)
    dst = loops.args.pointer(place.get(anchor, anchor), anchor.dtype)
    now = load(dst, anchor.dtype, "at")
    new = f"{now} + {load(src, leaf.dtype, loops.position(source))}"
    lines = [f"at = {loops.position(goal)}", store(dst, anchor.dtype, "at", new)]
    yield loops.piece("fold", lines)


def index_put(low: Lowered, anchor: Node, place: Mapping[Node, Node]) -> Iterator[Piece]:
    """Copy, then write or combine element by element, in order: positions may repeat, so one worker
    does it, or each does its part of the axes before those that are indexed.
    """
    x, v, *indices = anchor.inputs
    rank, p = len(x.shape), anchor.params
    yield strided_copy(low, x, anchor, View.of(anchor.shape), place)
    own, shape = View.of(anchor.shape), v.shape
    goal = GATHER.base(own, shape, p)
    value_leaf, value = low.resolve(v)
    leaves = map(low.resolve, indices)
    places = [(leaf, GATHER.index(view, rank, shape, p)) for leaf, view in leaves]
    serial = math.prod(shape[: first_axis(p["axes"])]) == 1
    loops = Loops(shape, [goal.strides, value.strides, *(w.strides for _, w in places)], serial)
    dst = loops.args.pointer(place.get(anchor, anchor), anchor.dtype)
    src = loops.args.pointer(place.get(value_leaf, value_leaf), v.dtype)
    terms = [loops.position(goal)]
    steps = zip(p["axes"], GATHER.steps(own, p), strict=True)
    for (leaf, view), (axis, step) in zip(places, steps, strict=True):
        pointer = loops.args.pointer(place.get(leaf, leaf), leaf.dtype)
        i = load(pointer, leaf.dtype, loops.position(view))
        terms.append(f"{i} * {loops.args.integer(step, ('own', axis))}")
    new = load(src, v.dtype, loops.position(value))
    by = p.get("combine", sum_ if p.get("accumulate") else None)
    if by is not None:
        new = by.reduction.combine.format(load(dst, anchor.dtype, "at"), new)
    yield loops.piece("scatter", [f"at = {' + '.join(terms)}", store(dst, anchor.dtype, "at", new)])
