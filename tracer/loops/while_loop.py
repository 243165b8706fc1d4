"""`while_loop` in a trace: condition and body are recorded once.

A loop that is to be differentiated keeps a row of what backward reads for each iteration. Unless
there is a bound, there is room for some; the loop is continued by another one without rows, and the
number of iterations decides whether all is recorded again, with more room (room.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...ir.dtype import bool_, int64
from ...ir.graph import Graph
from ...ir.ops.elementwise import cast, gt
from ...ir.ops.reduce import sum as sum_
from ...ir.ops.source import full
from ..autograd.batching import BatchTrace
from ..mode import FixedGradMode, mode, resolve
from ..tensor.tensor import Tensor
from .body import ROOM, NoLoop, has_history, same
from .iterations import Operands, Tensors, While
from .loop import Body, nodes, run_loop, run_modified
from .room import demand, with_history, with_room
from .scan import Recorded

LARGEST = 4096  # a bound up to which there is room for all


def traced_while(
    name: str, holds: Callable[[Tensors], Any], advance: Callable[[Tensors], Tensors],
    carries: Tensors, most: int | None,
) -> tuple[Tensors, Tensor | None]:
    """The last carries, and whether the condition still holds, if there is a bound."""
    carries = with_room(lambda room: _while(name, holds, advance, carries, most, room))
    return carries, None if most is None else _truth(holds(carries))


def _while(name: str, holds: Callable, advance: Callable, carries: Tensors, most: int | None,
           room: int) -> Tensors:
    carries = [resolve(x) for x in carries]
    recorded, cond = _recorded(name, holds, advance, carries, room)
    grads = [c.grad for c in recorded.new_grads if c.grad is not None]
    operands = Operands(recorded.firsts(carries, grads), [],
                        [c.tensor for c in recorded.constants])
    trained = [c.twin for c in recorded.values if c.twin._requires_grad]
    if most is not None and most <= LARGEST:
        room = most
    counts: Tensors = []
    if trained:
        results = run_modified(recorded.body, operands, While(cond, most), trained)
    elif mode.edges_only or most == room or not _differentiated(recorded.body, carries):
        results = run_loop(recorded.body, operands, While(cond, most))
    else:
        results, counts = _with_rows(recorded.body, operands, cond, most, room)
    demand([*counts, *recorded.counts(results)], room, recorded.used, results)
    recorded.write_back(results[len(carries) :])
    return results[: len(carries)]


def traced_count(name: str, holds: Callable[[Tensors], Any], advance: Callable[[Tensors], Tensors],
                 carries: Tensors, most: int | None) -> Tensor:
    """The number of iterations, up to one more than `most`. Raises NoLoop if the functions write
    tensors from outside.
    """
    with FixedGradMode(False):
        carries = [resolve(x) for x in carries]
        recorded, cond = _recorded(name, holds, advance, carries, ROOM)
        if recorded.written or recorded.grads:
            raise NoLoop("the function is run again, but writes tensors from outside")
        how = While(cond, None if most is None else most + 1)
        run_loop(recorded.body, Operands(recorded.firsts(carries, []), [],
                                         [c.tensor for c in recorded.constants]), how)
    return how.count


def _with_rows(body: Body, operands: Operands, cond: Graph, most: int | None,
               room: int) -> tuple[Tensors, Tensors]:
    """The results of a loop that has rows of as many iterations as there is room for, and the
    number of its iterations.
    """
    rows = room if most is None else min(room, most)
    first, rest = While(cond, rows), While(cond, None if most is None else most - rows)
    results = run_loop(body, operands, first)
    with FixedGradMode(False):
        lasts = run_loop(body, Operands(results, [], operands.constants), rest)
        return [with_history(y, r) for y, r in zip(lasts, results, strict=True)], [
            first.count + rest.count]


def _recorded(name: str, holds: Callable, advance: Callable, carries: Tensors,
              room: int) -> tuple[Recorded, Graph]:
    """The functions, recorded: body and condition."""
    asked: list[tuple[Any, int]] = []  # the condition, and how many checks it has made

    def iteration(inside: Tensors, _: Tensors) -> tuple[Tensors, Tensors]:
        holding = holds([same(x) for x in inside])
        trace = mode.trace
        asked.append((holding, len(trace.checks)))
        trace.needs.clear()  # what a condition computes has no derivative
        return advance(inside), []

    recorded = Recorded(name, iteration, carries, [], room)
    trace = recorded.trace
    if trace.drawn:
        raise NoLoop("the function draws random numbers")
    if any(c.grad is None or c.twin._grad is None for c in recorded.grads):
        raise NoLoop("whether there is a .grad depends on the number of iterations")
    ((holding, checks),) = asked
    with trace.recording():
        condition = _truth(holding)._node.node
    inputs = nodes(recorded.body.inputs)
    return recorded, trace.closed(inputs, [condition], list(trace.checks)[:checks])


def differs(t: Tensor) -> bool:
    """Whether a tensor has other values for other examples of a `vmap`."""
    trace = mode.trace
    return isinstance(trace, BatchTrace) and trace.value(t)[1]


def somewhere(t: Tensor) -> bool:
    """Whether a 0-d bool tensor is true, for any of the examples of a `vmap`."""
    trace = mode.trace
    if not isinstance(trace, BatchTrace):
        return bool(t)
    value, mapped = trace.value(t)
    with trace.outside():
        if mapped:
            value = gt(sum_(cast(value, dtype=int64), dims=(0,)), 0)
        return somewhere(value)


def _truth(holding: Any) -> Tensor:
    if isinstance(holding, bool):
        return Tensor.bind(full, (), {"value": holding, "shape": (), "dtype": bool_})
    return resolve(holding)


def _differentiated(body: Body, carries: Tensors) -> bool:
    """Whether the loop is to be differentiated."""
    if not mode.grad:
        return False
    return any(has_history(x) for x in carries) or any(y._requires_grad for y in body.constants)
