"""What a loop over rows keeps of a row between its passes, by cost.

A value that is computed at the points of a row, and needed in several passes over it, is either
computed in each of them, or once, and read from memory that stays in the cache. Knows nothing of
how loops are written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set as AbstractSet

from ...ir.node import Node
from ...ir.op import DIVIDE

READ_BACK = 2 * DIVIDE  # the cost from which on a value is read that is written anyway
MOST_BYTES = 1 << 17  # of all that is kept of one row; more does not stay in the cache


def kept_values(
    anchors: Sequence[Node], passes: Mapping[Node, AbstractSet[int]],
    reads: Callable[[Node], list[Node]], cost: Callable[[Node], int],
    stored: Callable[[Node], bool], points: int, keep: int,
) -> dict[Node, int]:
    """The values that are kept, and the pass in which each is computed. `anchors` are those at
    points, in order; `passes` are those that need one whatever the others do; `reads` says which
    of them one is computed from, `cost` what it takes besides; `stored` ones are written
    anyway, others from the cost `keep` on.
    """
    total: dict[Node, int] = {}
    for a in anchors:
        total[a] = cost(a) + sum(total[x] for x in reads(a))
    needed = {a: set(passes.get(a, ())) for a in anchors}
    kept: dict[Node, int] = {}
    room = MOST_BYTES
    for a in reversed(anchors):
        times = needed[a]
        nbytes = 0 if stored(a) else points * a.dtype.itemsize
        dear = total[a] >= (READ_BACK if stored(a) else keep)
        if len(times) > 1 and dear and nbytes <= room:
            room -= nbytes
            kept[a] = min(times)
            times = {kept[a]}
        for x in reads(a):
            needed[x] |= times
    return kept
