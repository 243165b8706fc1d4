"""`while_loop` in a trace: condition and body are recorded once.

A loop that is to be differentiated keeps a row of what backward reads for each iteration. Unless
there is a bound, the room for them grows: the loop is continued by another one, with twice the
room, as long as the condition holds; each continuation is a value that Python branches on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...ir.dtype import bool_, int64
from ...ir.node import constant
from ...ir.ops.elementwise import cast, gt
from ...ir.ops.reduce import sum as sum_
from ...ir.ops.source import full
from ..autograd.batching import BatchTrace
from ..mode import mode, resolve
from ..tensor.tensor import Tensor
from .body import BodyTrace, NoLoop, has_history, same
from .effects import refuse_effects
from .iterations import Operands, Tensors, While
from .loop import Body, nodes, run_loop

ROOM = 32  # for the first iterations
LARGEST = 4096  # a bound up to which there is room for all


def traced_while(
    name: str, holds: Callable[[Tensors], Any], advance: Callable[[Tensors], Tensors],
    carries: Tensors, most: int | None,
) -> tuple[Tensors, Tensor | None]:
    """The last carries, and whether the condition still holds, if there is a bound."""
    carries = [resolve(x) for x in carries]
    trace = BodyTrace(name)
    with refuse_effects(name), trace.recording():
        inside = [trace.input(x.shape, x._dtype, bool(mode.grad)) for x in carries]
        answer = holds([same(x) for x in inside])
        condition = constant(answer, bool_) if isinstance(answer, bool) else (
            resolve(answer)._node.node)
        new = [resolve(y) for y in advance([same(x) for x in inside])]
    if trace.streams or any(c.changed or c.twin._grad is not c.grad for c in trace.captures):
        raise NoLoop("the function draws random numbers, or writes tensors from outside")
    body = Body(trace, inside, [], [c.twin for c in trace.captures], new, [])
    fixed = [c.tensor for c in trace.captures]
    cond = trace.closed(nodes(body.inputs), [condition])

    def run(carries: Tensors, most: int | None) -> Tensors:
        return run_loop(body, Operands(carries, [], fixed), While(cond, len(carries), most))

    if not _recorded(body, carries):
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


def _truth(answer: Any) -> Tensor:
    if isinstance(answer, bool):
        return Tensor.bind(full, (), {"value": answer, "shape": (), "dtype": bool_})
    return resolve(answer)


def _recorded(body: Body, carries: Tensors) -> bool:
    """Whether the loop is to be differentiated."""
    if not mode.grad:
        return False
    return any(has_history(x) for x in carries) or any(y._requires_grad for y in body.constants)
