"""How the operands of a reduction lie in memory, and what follows for its loops. What has memory is
told by the lowering.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

from ...ir.node import Node
from ...ir.op import Kind
from ...ir.strides import View, collapse

TAPS = 9  # numbers in a window that is reduced without a loop
SHORT = 8  # numbers along an axis that make no loop of their own
RUN = 1024  # numbers side by side that are reduced to one in little more time than that takes


class Memory(Protocol):
    """What is asked of a Lowered."""

    def resolve(self, node: Node) -> tuple[Node, View]: ...

    def base(self, node: Node) -> Node: ...

    def is_leaf(self, node: Node) -> bool: ...

    def is_stored(self, node: Node) -> bool: ...


def is_window(low: Memory, x: Node, reduction: Node) -> bool:
    """Whether each result is made of few numbers that do not stand side by side."""
    dims = reduction.params["dims"]
    count = math.prod(x.shape[d] for d in dims)
    if count > TAPS or reduction.size < 8 * count:
        return False
    for v in leaves_under(low, x):
        view = low.resolve(v)[1]
        strides = tuple(view.strides[d] for d in dims)
        if any(strides) and len(collapse(tuple(x.shape[d] for d in dims), [strides])[0]) > 1:
            return True
    return False


def as_it_lies(low: Memory, x: Node, reduction: Node) -> tuple[int, ...] | None:
    """The order of the axes of x in which the innermost loop of its reduction runs along
    memory, if it does not as they are: kept axes stay in order, and reduced ones do.
    """
    dims = reduction.params["dims"]
    reduced = [d for d in dims if x.shape[d] > 1]
    kept = [d for d, n in enumerate(x.shape) if n > 1 and d not in dims]
    if not reduced or not kept or min(x.shape[kept[-1]], x.shape[reduced[-1]]) <= SHORT:
        return None
    rows = reduced[-1] > kept[-1]
    inner, other = (reduced[-1], kept[-1]) if rows else (kept[-1], reduced[-1])
    gain = 0
    for strides in strides_under(low, x):
        if strides[inner] and strides[other]:
            gain += (abs(strides[other]) == 1) - (abs(strides[inner]) == 1)
    if gain <= 0:
        return None
    left = [d for d in range(len(x.shape)) if d not in dims]
    return (*dims, *left) if rows else (*left, *dims)


def slow_first(x: Node, reduction: Node) -> tuple[int, ...]:
    """The axes of x that its reduction should take first, where axes that it keeps stand between
    short runs that it takes: whole runs are then combined, and each becomes one number but once.
    Sums do without: in one loop with what is computed from them, they are fast enough.
    """
    dims = reduction.params["dims"]
    last = max((d for d, n in enumerate(x.shape) if n > 1), default=-1)
    if last not in dims or not reduction.op.exact:
        return ()
    run = last
    while run and (run - 1 in dims or x.shape[run - 1] == 1):
        run -= 1
    slow = tuple(d for d in dims if d < run)
    many = math.prod(x.shape[d] for d in slow)
    length = math.prod(x.shape[run:])
    return slow if many >= SHORT < length <= RUN else ()


def strides_under(low: Memory, x: Node) -> list[tuple[int, ...]]:
    """Those of the leaves of an expression that have its shape and memory."""
    return [low.resolve(v)[1].strides for v in leaves_under(low, x) if low.is_stored(low.base(v))]


def leaves_under(low: Memory, x: Node) -> Iterator[Node]:
    """What an expression reads that has its shape."""
    below, seen = [x], set()
    while below:
        v = below.pop()
        if v in seen or v.shape != x.shape:
            continue
        seen.add(v)
        if v.op.kind is Kind.ELEMENTWISE and not low.is_leaf(v):
            below += v.inputs
        else:
            yield v
