"""Room for the rows of a `while_loop` that backward reads, one for each iteration.

A loop keeps the rows of so many iterations as there is room for; it goes on without them. Loops and
branches around it hand on the largest number of iterations. Where it reaches the trace itself, the
number decides whether the room is enough. If not, all is recorded again, with more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ...ir.dtype import int64
from ...ir.ops.elementwise import gt, maximum
from ...ir.ops.reduce import max as max_
from ..autograd.backward import filled
from ..autograd.batching import BatchTrace
from ..autograd.batching_rules import full_batch
from ..autograd.graph import OutputNode
from ..mode import FixedGradMode, mode
from ..tensor.tensor import Tensor, traced
from .body import ROOM, BodyTrace, Need, has_history

T = TypeVar("T")


class MoreRoom(Exception):
    """Some loop had more iterations than there was room for."""

    def __init__(self, room: int):
        self.room = room


def with_room(attempt: Callable[[int], T]) -> T:
    """`attempt(room)`, with more room where MoreRoom asks for it. Until it raises that, an attempt
    must not change anything.
    """
    trace = mode.trace
    while isinstance(trace, BatchTrace):
        trace = trace.outer
    if isinstance(trace, BodyTrace):
        return attempt(trace.room)
    room, checks, asked = ROOM, len(trace.checks), trace.values.mark()
    while True:
        try:
            return attempt(room)
        except MoreRoom as more:
            room = more.room
            trace.values.undo(asked)
            for check in list(trace.checks)[checks:]:
                del trace.checks[check]


def largest(counts: Sequence[Tensor]) -> Tensor:
    with FixedGradMode(False):
        first, *others = counts
        for other in others:
            first = maximum(first, other)
        return first


def demand(counts: Sequence[Tensor], room: int, used: bool, results: Sequence[Tensor]) -> None:
    """Have at least as much room as the largest of some numbers of iterations, if the derivative of
    these results, or `used` another one, reads the rows. Raises MoreRoom.
    """
    if not counts or not (used or any(has_history(y) for y in results)):
        return
    need = _demand(largest(counts), room, used)
    if need is not None:
        for y in results:
            if isinstance(y._grad_fn, OutputNode):
                y._grad_fn.edges[0].need = need  # type: ignore[union-attr]
            elif has_history(y):  # outside of a vmap
                need.used = True


def _demand(count: Tensor, room: int, used: bool) -> Need | None:
    trace = mode.trace
    if isinstance(trace, BodyTrace):
        trace.needs.append(Need(count, used))
        return trace.needs[-1]
    if not isinstance(trace, BatchTrace):
        _ask(count, room)
        return None
    value, mapped = trace.value(count)
    with trace.outside(), FixedGradMode(False):
        if mapped:
            value = max_(value, dims=(0,)) if trace.size else filled((), int64, 0)
        return _demand(value, room, used)


def _ask(count: Tensor, room: int) -> None:
    wanted = ROOM
    while bool(gt(count, wanted)):
        wanted *= 2
    if wanted > room:
        raise MoreRoom(wanted)


def with_history(y: Tensor, like: Tensor) -> Tensor:
    """The value of `y` with the history of `like`, which has the same value wherever it is used."""
    trace, out = mode.trace, y
    if isinstance(trace, BatchTrace):
        (value, mapped), (other, differs) = trace.value(y), trace.value(like)
        with trace.outside():
            if mapped != differs:
                value = full_batch(value, mapped, trace.size)
                other = full_batch(other, differs, trace.size)
            value = with_history(value, other)
        out = trace.example(value, mapped or differs)
    new = traced(out._node, like._requires_grad)
    new._grad_fn = like._grad_fn
    return new
