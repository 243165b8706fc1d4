"""`while_loop` in a trace: condition and body are recorded once.

A loop that is to be differentiated keeps a row of what backward reads for each iteration. Unless
there is a bound, the room for them grows: the loop is continued by another one, with twice the
room, as long as the condition holds; each continuation is a value that Python branches on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...ir.dtype import bool_, int64
from ...ir.ops.elementwise import cast, gt
from ...ir.ops.reduce import sum as sum_
from ...ir.ops.source import full
from ..autograd.batching import BatchTrace
from ..mode import mode, resolve
from ..tensor.tensor import Tensor
from .body import NoLoop, has_history, same
from .iterations import Operands, Tensors, While
from .loop import Body, nodes, run_loop, run_modified
from .scan import Recorded

ROOM = 32  # for the first iterations
LARGEST = 4096  # a bound up to which there is room for all


def traced_while(
    name: str, holds: Callable[[Tensors], Any], advance: Callable[[Tensors], Tensors],
    carries: Tensors, most: int | None,
) -> tuple[Tensors, Tensor | None]:
    """The last carries, and whether the condition still holds, if there is a bound."""
    carries = [resolve(x) for x in carries]
    asked: list[tuple[Any, int]] = []  # the condition, and how many checks it has made

    def iteration(inside: Tensors, _: Tensors) -> tuple[Tensors, Tensors]:
        holding = holds([same(x) for x in inside])
        asked.append((holding, len(mode.trace.checks)))
        return advance(inside), []

    recorded = Recorded(name, iteration, carries, [])
    trace, body = recorded.trace, recorded.body
    if trace.streams:
        raise NoLoop("the function draws random numbers")
    if any(c.grad is None or c.twin._grad is None for c in recorded.grads):
        raise NoLoop("whether there is a .grad depends on the number of iterations")
    ((holding, checks),) = asked
    with trace.recording():
        condition = _truth(holding)._node.node
    cond = trace.closed(nodes(body.inputs), [condition], list(trace.checks)[:checks])
    fixed = [c.tensor for c in recorded.constants]

    def run(carries: Tensors, most: int | None) -> Tensors:
        firsts = [*carries, *(c.tensor for c in recorded.values),
                  *(c.grad for c in recorded.new_grads if c.grad is not None)]
        how, operands = While(cond, len(firsts), most), Operands(firsts, [], fixed)
        trained = [c.twin for c in recorded.values if c.twin._requires_grad]
        results = (run_modified(body, operands, how, trained) if trained
                   else run_loop(body, operands, how))
        recorded.write_back(results[len(carries) :])
        return results[: len(carries)]

    if not _recorded(body, carries) or any(c.twin._requires_grad for c in recorded.values):
        carries = run(carries, most)
        return carries, None if most is None else _truth(holds(carries))
    room = most if most is not None and most <= LARGEST else ROOM
    while True:
        carries = run(carries, room)
        still = _truth(holds(carries))
        most = None if most is None else most - room
        if most == 0:
            return carries, still
        if not somewhere(still):
            return carries, None
        room = 2 * room if most is None else min(2 * room, most)


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


def _recorded(body: Body, carries: Tensors) -> bool:
    """Whether the loop is to be differentiated."""
    if not mode.grad:
        return False
    return any(has_history(x) for x in carries) or any(y._requires_grad for y in body.constants)
