"""Long sums in a loop nest: each block of terms has an accumulator of its own, which is added to
the sum when the block is done. So a term takes part in few additions, and a sum keeps its digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...ir.node import Node
from ...ir.ops.reduce import sum as sum_
from ..text import Arguments
from .loops import Axis, nested


def rounds(reduction: Node) -> bool:
    """Whether the order of its terms matters: whether it is a sum of floats."""
    return reduction.op is sum_ and reduction.dtype.kind == "float"


def in_blocks(
    axes: tuple[Axis, ...], extents: Sequence[int], most: int, args: Arguments,
    before: list[str], inside: Callable[[tuple[Axis, ...]], list[str]], after: list[str],
) -> list[str]:
    """The loops over `axes`, in blocks of about `most` points:
    `inside` makes those over the points of a block, `before` and `after` are done around it.
    """
    cut, count = len(axes) - 1, 1
    while cut and count * extents[cut] <= most:
        count *= extents[cut]
        cut -= 1
    axis = axes[cut]
    first, last = axis.bounds
    step = args.integer(max(most // max(count, 1), 1), ("block", axis.index))
    begin, end = f"{axis.name}_begin", f"{axis.name}_end"
    block = Axis(begin, f"range({first}, {last}, {step})", axis.index)
    part = Axis(axis.name, f"range({begin}, {end})", axis.index, axis.header)
    loops = inside((part, *axes[cut + 1 :]))
    lines = [f"{end} = minimum({begin} + {step}, {last})", *before, *loops, *after]
    return nested((*axes[:cut], block), lines)
