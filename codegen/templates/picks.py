"""Sums of which all terms but one are known to be 0: `where(iota == k, x, 0)` along a row, with one
k for each row. So are the losses of labels written, and what is gathered from a row.
"""

from __future__ import annotations

from ...ir.node import Node, is_constant
from ...ir.ops.elementwise import eq, where
from ...ir.ops.reduce import sum as sum_
from ...ir.ops.source import iota
from .loop_body import POINT, Body


def picked_by(body: Body, reduction: Node) -> Node | None:
    """The k of such a sum along rows of one axis, of one row or of all; None of others."""
    space, x = body.space, reduction.inputs[0]
    if reduction.op is not sum_ or space.short or len(space.reduced) != 1:
        return None
    if body.computed(reduction) != space.all or body.known(reduction) not in (space.kept, ()):
        return None
    if x.op is not where or body.low.is_leaf(x):
        return None
    same, _, zero = x.inputs
    if same.op is not eq or body.low.is_leaf(same) or not is_constant(zero):
        return None
    if zero.params["value"] != 0 or any(a.op.check is not None for a in body.group.anchors):
        return None  # a check looks at all points
    for counter, k in (same.inputs, same.inputs[::-1]):
        if _counts(body, counter, reduction) and body.depth(k, reduction)[0] < POINT:
            return k
    return None


def _counts(body: Body, x: Node, reduction: Node) -> bool:
    """Whether x is the number of the point within its row."""
    leaf, view = body.leaf(x, reduction)
    step = tuple(int(d in body.space.reduced) for d in body.space.all)
    return leaf is not None and leaf.op is iota and (view.strides, view.offset) == (step, 0)
