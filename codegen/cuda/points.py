"""Launches in which each point of a shape has a thread: copies, fills, windows that are folded,
writing at computed places.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from ...ir.dtype import DType
from ...ir.node import Node, constant
from ...ir.ops.index import GATHER
from ...ir.ops.movement import inner
from ...ir.ops.reduce import sum as sum_
from ...ir.strides import View, collapse
from ..schedule.lower import Lowered
from ..templates.loops import Axis
from ..text import Arguments, Piece, load, store
from .grid import cuda_piece, grid_of, indented, shared

Placed = Mapping[Node, Node]
MANY = 4096  # threads that are worth having


class Points:
    """The points of a shape, with strided positions."""

    def __init__(self, shape: Sequence[int], views: Sequence[View]):
        self.args = Arguments()
        every = [v.strides for v in views]
        self.extents, collapsed = collapse(tuple(shape), every)
        self.strides = dict(zip(every, collapsed, strict=True))
        self.axes = tuple(Axis(f"k{d}", "", d) for d in range(len(self.extents)))

    def position(self, view: View) -> str:
        terms = [self.args.beginning(view.offset)] if view.offset else []
        for axis, stride in zip(self.axes, self.strides[view.strides], strict=True):
            terms += product(axis.name, stride, self.args, ("stride", axis.index))
        return " + ".join(terms) or "0"

    def piece(self, template: str, lines: Sequence[str]) -> Piece:
        text = shared(self.axes, self.extents, self.args, lines)
        grid = grid_of(math.prod(self.extents))
        return cuda_piece(template, [*self.args.lines, *text], self.args, grid)


def product(name: str, stride: int, args: Arguments, key: object) -> list[str]:
    """A term of a position: none if the stride is 0."""
    if stride in (0, 1):
        return [name] * stride
    return [f"{name} * {args.integer(stride, key)}"]


# ---- copies
def copied(source: Node | str, target: Node | str, dtype: DType, a: View, b: View) -> Piece:
    """What is seen of one buffer, to where it is seen of another."""
    points = Points(a.shape, [a, b])
    src, dst = (points.args.pointer(x, dtype) for x in (source, target))
    value = load(src, dtype, points.position(a))
    return points.piece("copy", [store(dst, dtype, points.position(b), value)])


def filled(count: int, dtype: DType, target: Node | str) -> Piece:
    """Zeros in a buffer."""
    view = View.of((count,))
    points = Points(view.shape, [view])
    dst = points.args.pointer(target, dtype)
    zero = points.args.constant(constant(0, dtype).params["value"], dtype)
    return points.piece("fill", [store(dst, dtype, points.position(view), zero)])


def _copy(low: Lowered, x: Node, out: Node, view: View, place: Placed) -> Piece:
    leaf, source = low.resolve(x)
    return copied(place.get(leaf, leaf), place.get(out, out), out.dtype, source, view)


def concat(low: Lowered, anchor: Node, place: Placed) -> Iterator[Piece]:
    axis, start = anchor.params["axis"], 0
    for x in anchor.inputs:
        stop = start + x.shape[axis]
        cut = [(0, n, 1) for n in anchor.shape]
        cut[axis] = (start, stop, 1)
        if start < stop:
            yield _copy(low, x, anchor, View.of(anchor.shape).slice(tuple(cut)), place)
        start = stop


def pad(low: Lowered, anchor: Node, place: Placed) -> Iterator[Piece]:
    (x,) = anchor.inputs
    middle = View.of(anchor.shape).slice(inner(x.shape, anchor.params["pads"]))
    yield filled(anchor.size, anchor.dtype, place.get(anchor, anchor))
    if x.size:
        yield _copy(low, x, anchor, middle, place)


# ---- windows
def fold(low: Lowered, anchor: Node, place: Placed) -> Iterator[Piece]:
    """Each result looks for the windows that it is in, tap by tap."""
    (x,) = anchor.inputs
    p, own = anchor.params, View.of(anchor.shape)
    leaf, source = low.resolve(x)
    axis, *strides = p["axis"], *source.strides
    others = View(anchor.shape, (*strides[:axis], 0, *strides[axis + 1 : -1]), source.offset)
    along = View(anchor.shape, tuple(int(d == axis) for d in range(len(anchor.shape))))
    points = Points(anchor.shape, [own, others, along])
    args = points.args
    src = args.pointer(place.get(leaf, leaf), leaf.dtype)
    dst = args.pointer(place.get(anchor, anchor), anchor.dtype)
    size, count, step, dilation = (
        args.integer(n, name) for n, name in
        ((x.shape[-1], "size"), (x.shape[axis], "count"), (p["step"], "step"),
         (p["dilation"], "dilation"))
    )
    terms = [points.position(others), *product("w", strides[axis], args, "windows"),
             *product("tap", strides[-1], args, "taps")]
    lines = [
        f"total = {args.constant(constant(0, anchor.dtype).params['value'], anchor.dtype)}",
        f"for tap in range({size}):",
        f"    begin = {points.position(along)} - tap * {dilation}",
        f"    w = quotient(maximum(begin, 0), {step})",
        f"    if begin >= 0 and w * {step} == begin and w < {count}:",
        f"        total = total + {load(src, leaf.dtype, ' + '.join(terms))}",
        store(dst, anchor.dtype, points.position(own), "total"),
    ]
    yield points.piece("fold", lines)


# ---- writing at computed places
def index_put(low: Lowered, anchor: Node, place: Placed) -> Iterator[Piece]:
    """Copy, then write or combine in order. Positions may repeat along the axes of the index, which
    one thread therefore goes along; where that leaves few threads, several go along them, and each
    has the places whose numbers end in its own.
    """
    x, v, *indices = anchor.inputs
    own, p = View.of(anchor.shape), anchor.params
    yield _copy(low, x, anchor, own, place)
    goal = GATHER.base(own, v.shape, p)
    value_leaf, value = low.resolve(v)
    leaves = [low.resolve(i) for i in indices]
    places = [(leaf, GATHER.index(view, len(x.shape), v.shape, p)) for leaf, view in leaves]
    free, along = ([d for d, n in enumerate(v.shape) if n != 1 and (goal.strides[d] != 0) is one]
                   for one in (True, False))
    threads = math.prod(v.shape[d] for d in free)
    owners = 1
    while along and owners * threads < MANY and owners < 1024:
        owners *= 2
    args = Arguments()
    free_axes = tuple(Axis(f"k{d}", "", d) for d in free) + (Axis("mine", "", -1),)
    extents = [v.shape[d] for d in free] + [owners]

    def position(view: View) -> str:
        terms = [args.beginning(view.offset)] if view.offset else []
        for d in (*free, *along):
            terms += product(f"k{d}", view.strides[d], args, ("stride", view.strides, d))
        return " + ".join(terms) or "0"

    dst = args.pointer(place.get(anchor, anchor), anchor.dtype)
    src = args.pointer(place.get(value_leaf, value_leaf), v.dtype)
    terms = [position(goal)]
    for (leaf, view), axis, step in zip(places, p["axes"], GATHER.steps(own, p), strict=True):
        i = load(args.pointer(place.get(leaf, leaf), leaf.dtype), leaf.dtype, position(view))
        terms.append(f"{i} * {args.integer(step, ('own', axis))}")
    new = load(src, v.dtype, position(value))
    by = p.get("combine", sum_ if p.get("accumulate") else None)
    if by is not None:
        new = by.reduction.combine.format(load(dst, anchor.dtype, "at"), new)
    lines = [
        f"at = {' + '.join(terms)}", f"if at & {owners - 1} == mine:",
        f"    {store(dst, anchor.dtype, 'at', new)}",
    ]
    for d in reversed(along):
        lines = [f"for k{d} in range({args.integer(v.shape[d], ('axis', d))}):", *indented(lines)]
    text = shared(free_axes, extents, args, lines)
    yield cuda_piece("scatter", [*args.lines, *text], args, grid_of(threads * owners))
