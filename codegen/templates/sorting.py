"""Sorting and searching: a row of the launch is one row to sort, or one number to place.

A row's positions are sorted by a stable merge sort from the bottom up, beginning with short runs
sorted by insertion, to and fro between two halves of memory that is the row's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from ...ir.dtype import int64
from ...ir.node import Node
from ...ir.strides import View, contiguous
from ..schedule.lower import Lowered
from ..text import Piece, load, store
from .buffer_parts import Loops

_RUN = 16  # sorted by insertion

Word = Callable[[str], str]  # of where a number is, the text that reads it


def _precedes(a: str, b: str, descending: bool, is_float: bool) -> str:
    """Whether a must stand before b; NaN is the greatest."""
    great, small = (a, b) if descending else (b, a)
    text = f"({small} < {great})"
    return f"({text} | (({great} != {great}) & ({small} == {small})))" if is_float else text


def _sorted_runs(n: str, key: Word, listed: Word, before: str, tmp: str) -> list[str]:
    """List `a`: the positions 0 to n, sorted within each run by insertion."""
    return [
        f"for low in range(0, {n}, {_RUN}):",
        f"    for j in range(low, minimum(low + {_RUN}, {n})):",
        f"        u = {key('j')}",
        "        i = j",
        "        while i > low:",
        f"            at = {listed('a + i - 1')}",
        f"            v = {key('at')}",
        f"            if not {before}:",
        "                break",
        f"            {store(tmp, int64, 'a + i', 'at')}",
        "            i -= 1",
        f"        {store(tmp, int64, 'a + i', 'j')}",
    ]


def _merged_runs(n: str, key: Word, listed: Word, before: str, tmp: str) -> list[str]:
    """Runs of list `a` merged into list `b`, two and two; then the lists change names."""
    return [
        f"width = {_RUN}",
        f"while width < {n}:",
        f"    for low in range(0, {n}, 2 * width):",
        f"        middle = minimum(low + width, {n})",
        f"        high = minimum(low + 2 * width, {n})",
        "        i = low",
        "        j = middle",
        "        for k in range(low, high):",
        "            right = i >= middle",
        "            if i < middle and j < high:",
        f"                u = {key(listed('a + j'))}",
        f"                v = {key(listed('a + i'))}",
        f"                right = {before}",
        "            if right:",
        f"                {store(tmp, int64, 'b + k', listed('a + j'))}",
        "                j += 1",
        "            else:",
        f"                {store(tmp, int64, 'b + k', listed('a + i'))}",
        "                i += 1",
        "    t = a",
        "    a = b",
        "    b = t",
        "    width *= 2",
    ]


def argsort(low: Lowered, anchor: Node, place: Mapping[Node, Node]) -> Iterator[Piece]:
    axis, descending = anchor.params["axis"], anchor.params["descending"]
    leaf, view = low.resolve(anchor.inputs[0])
    own = View.of(anchor.shape)
    rest = tuple(n for d, n in enumerate(anchor.shape) if d != axis)
    length = anchor.shape[axis]

    def without(v: View) -> View:
        return View(rest, tuple(s for d, s in enumerate(v.strides) if d != axis), v.offset)

    lists = View(rest, tuple(2 * length * s for s in contiguous(rest)))
    rows = [without(view), without(own), lists]
    loops = Loops(rest, [v.strides for v in rows])
    args = loops.args
    src = args.pointer(place.get(leaf, leaf), leaf.dtype)
    dst = args.pointer(place.get(anchor, anchor), int64)
    tmp = args.scratch(2 * length * math.prod(rest) * int64.itemsize)
    n = args.integer(length, "length")
    step, stride = (args.integer(v.strides[axis], name)
                    for v, name in ((view, "step"), (own, "stride")))

    def key(at: str) -> str:
        return load(src, leaf.dtype, f"x + {at} * {step}")

    def listed(at: str) -> str:
        return load(tmp, int64, at)

    before = _precedes("u", "v", descending, leaf.dtype.kind == "float")
    lines = [
        f"x = {loops.position(rows[0])}",
        f"a = {loops.position(rows[2])}",
        f"b = a + {n}",
        *_sorted_runs(n, key, listed, before, tmp),
        *_merged_runs(n, key, listed, before, tmp),
        f"o = {loops.position(rows[1])}",
        f"for j in range({n}):",
        f"    {store(dst, int64, f'o + j * {stride}', listed('a + j'))}",
    ]
    piece = loops.piece("argsort", lines)
    cost = max(piece.step_cost, 1) * length * max(length.bit_length(), 1) * 8
    yield piece._replace(step_cost=cost)


def searchsorted(low: Lowered, anchor: Node, place: Mapping[Node, Node]) -> Iterator[Piece]:
    (seq, rows), (leaf, values) = (low.resolve(x) for x in anchor.inputs)
    *lead, step = rows.strides
    per_row = (*lead, 0) if lead else (0,) * len(anchor.shape)
    base, own = View(anchor.shape, per_row, rows.offset), View.of(anchor.shape)
    loops = Loops(anchor.shape, [base.strides, values.strides, own.strides])
    args = loops.args
    src = args.pointer(place.get(seq, seq), seq.dtype)
    new = args.pointer(place.get(leaf, leaf), leaf.dtype)
    dst = args.pointer(place.get(anchor, anchor), int64)
    at = f"row + middle * {args.integer(step, 'step')}"
    sign = ">" if anchor.params["right"] else ">="
    lines = [
        f"row = {loops.position(base)}",
        f"x = {load(new, leaf.dtype, loops.position(values))}",
        "low = i8(0)",
        f"high = i8({args.integer(rows.shape[-1], 'length')})",
        "while low < high:",
        "    middle = (low + high) >> 1",
        f"    if {load(src, seq.dtype, at)} {sign} x:",
        "        high = middle",
        "    else:",
        "        low = middle + 1",
        store(dst, int64, loops.position(own), "low"),
    ]
    piece = loops.piece("searchsorted", lines)
    cost = max(piece.step_cost, 1) * max(rows.shape[-1].bit_length(), 1) * 8
    yield piece._replace(step_cost=cost)
