"""How the threads of a grid share the points of a loop, as text.

A thread takes every gridsize-th point, so a kernel is right for any grid. Points are counted across
all axes; the last axis moves first, as memory lies.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..program import Grid, Kernel
from ..templates.loops import Axis
from ..text import Arguments, Piece

THREADS = 256  # of a block; a power of two
MOST_BLOCKS = 2048  # a few for each processor of a large GPU


def grid_of(points: int, each: int = 1) -> Grid:
    """A grid with a thread for so many points, `each` of which takes so many threads."""
    blocks = -(-points * each // THREADS)
    return Grid(min(max(blocks, 1), MOST_BLOCKS), THREADS)


def indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def unravelled(axes: Sequence[Axis], extents: Sequence[int], args: Arguments, i: str) -> list[str]:
    """Where along each axis the point number `i` is, and what opens the loops over the axes."""
    lines, last = [], i
    for axis, extent in list(zip(axes, extents, strict=True))[:0:-1]:
        n = args.integer(extent, ("axis", axis.index))
        rest = f"{axis.name}_q"
        lines += [f"{rest} = quotient({last}, {n})", f"{axis.name} = {last} - {rest} * {n}"]
        last = rest
    if axes and axes[0].name != last:
        lines.append(f"{axes[0].name} = {last}")
    return lines + [line for axis in axes for line in axis.header]


def counter(axes: Sequence[Axis], name: str) -> str:
    """The variable that counts the points: with one axis its own."""
    return axes[0].name if len(axes) == 1 else name


def strided(variable: str, first: str, count: str, step: str, lines: Sequence[str]) -> list[str]:
    """A loop over every step-th number below `count`. `range` would begin with a division."""
    body = [*lines, f"{variable} += {step}"]
    return [f"{variable} = {first}", f"while {variable} < {count}:", *indented(body)]


def shared(
    axes: Sequence[Axis], extents: Sequence[int], args: Arguments, lines: Sequence[str]
) -> list[str]:
    """The statements `lines` for all points, each done by one thread."""
    total = 1
    for extent in extents:
        total *= extent
    i, count = counter(axes, "i"), args.integer(total, "points")
    inner = [*unravelled(axes, extents, args, i), *lines]
    return strided(i, "cuda.grid(1)", count, "cuda.gridsize(1)", inner)


def by_threads(piece: Piece) -> Piece:
    """A launch that was written for threads of a CPU: a thread of the grid takes one step of the
    outer loop after the other, each as a part of its own.
    """
    kernel, args, extent = piece[:3]
    count = len(args.values)
    args.values.append(extent)
    lines = ["stop = start + 1", *kernel.source.splitlines()]
    body = [lines[0], *(line.removeprefix("    ") for line in lines[1:])]
    step = f"extent(args, {count})"
    text = strided("start", "cuda.grid(1)", step, "cuda.gridsize(1)", body)
    return cuda_piece(kernel.template, text, args, grid_of(extent), kernel.fast)


def cuda_piece(
    template: str, lines: Sequence[str], args: Arguments, grid: Grid, fast: bool = False
) -> Piece:
    source = "".join(f"    {line}\n" for line in lines)
    return Piece(Kernel(template, source, fast=fast, backend="cuda"), args, 0, 0, grid)
