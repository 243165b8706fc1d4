"""The launch that puts together what parts of the rows have summed up: one for each sum, written
alike for all of a type.

    for first in range(0, n0, 64):          # blocks of parts, into the first of each
        last = minimum(first + 64, n0)
        for part in range(first + 1, last):
            for k0 in range(start, stop):
                ...
    for part in range(64, n0, 64):          # the blocks, into the first part
        ...
    for k0 in range(start, stop):
        store_f4(p1, k0, load_f4(p0, n2 + k0, 0), 1)
"""

from __future__ import annotations

from ...ir.node import Node
from ...ir.strides import View, contiguous
from ..program import Kernel
from ..text import Piece, combine, load, store
from .buffer_parts import Loops
from .loop_body import Body
from .loops import nested
from .row_memory import RowMemory

BLOCK = 64  # parts


def partial_sums(row: Body, memory: RowMemory, reduction: Node) -> Piece:
    dtype = reduction.dtype
    buffer, view = row.target(reduction)
    axes = row.known(reduction)
    shape = row.space.along(axes)
    goal = View(shape, tuple(view.strides[d] for d in axes), view.offset)
    source = View(shape, contiguous(shape))
    loops = Loops(shape, [goal.strides, source.strides])
    args = loops.args
    sums = args.scratch(memory.chunk * memory.parts, dtype)
    target = args.pointer(buffer, dtype)
    size = dtype.itemsize
    count, chunk, begin = (args.integer(n, name) for n, name in (
        (memory.parts, "parts"), (memory.chunk // size, "chunk"),
        (memory.rooms[reduction, False] // size, "room")))

    def at(part: str) -> str:
        return f"{part} * {chunk} + {begin} + {loops.position(source)}"

    def added(part: str, to: str) -> list[str]:
        both = combine(reduction, load(sums, dtype, at(to)), load(sums, dtype, at(part)), row.fast)
        return nested(loops.axes, [store(sums, dtype, at(to), both)])

    lines = [
        f"for first in range(0, {count}, {BLOCK}):",
        f"    last = minimum(first + {BLOCK}, {count})",
        "    for part in range(first + 1, last):",
        *(f"        {line}" for line in added("part", "first")),
        f"for part in range({BLOCK}, {count}, {BLOCK}):",
        *(f"    {line}" for line in added("part", "0")),
        *nested(loops.axes, [
            store(target, dtype, loops.position(goal), load(sums, dtype, at("0")))]),
    ]
    source_text = "".join(f"    {line}\n" for line in [*args.lines, *lines])
    extent = loops.extents[0] if loops.extents else 1
    inner = reduction.size // max(extent, 1)
    return Piece(Kernel("sums", source_text, fast=row.fast), args, extent, memory.parts * inner * 2)
