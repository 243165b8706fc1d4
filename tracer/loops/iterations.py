"""How often the body of a loop runs, and the primitive that it becomes: a known number of times, as
often as a counter says, or as long as a condition holds.

All take a body of carries, slices and constants. The rows of slices and of what is stacked belong
to iterations; without a known number there is room for `capacity` of them, the rest are zeros. A
loop that may have no iteration (`may_be_none`) may give what it was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...ir.dtype import int64
from ...ir.graph import Graph
from ...ir.node import Node, constant, input_node, intern
from ...ir.ops.elementwise import ge, lt, where
from ...ir.ops.index import index
from ...ir.ops.loop import loop, loop_while
from ...ir.ops.movement import reshape
from ...ir.ops.source import iota
from ..autograd.backward import filled
from ..mode import FixedGradMode
from ..tensor.dispatch import bind
from ..tensor.tensor import Tensor

Tensors = list[Tensor]


class Operands(NamedTuple):
    """What a loop is applied to."""

    carries: Tensors
    slices: Tensors  # with an axis of iterations
    constants: Tensors


def _results(op: Any, operands: Sequence[Tensor], count: int, params: dict) -> Tensors:
    with FixedGradMode(False):
        return [Tensor.bind(op, tuple(operands), {**params, "result": k}) for k in range(count)]


def _fresh(like: Sequence[Any]) -> list[Node]:
    return [input_node(tuple(x.shape), x.dtype) for x in like]


class Fixed:
    """A known number of iterations."""

    def __init__(self, length: int, reverse: bool):
        self.length, self.reverse = length, reverse
        self.may_be_none = length == 0

    def bind(self, graph: Graph, operands: Operands) -> Tensors:
        """The last carries, then what is stacked, without history."""
        params = {
            "body": graph, "carried": len(operands.carries), "sliced": len(operands.slices),
            "length": self.length, "reverse": self.reverse,
        }
        return _results(loop, [x for part in operands for x in part], len(graph.outputs), params)

    def tensors(self) -> Tensors:
        return []

    def with_tensors(self, _: Tensors) -> Fixed:
        return self

    def again(self) -> Fixed:
        return self

    def backwards(self) -> Fixed:
        return Fixed(self.length, not self.reverse)


class Counted:
    """As many iterations as `count` says, a 0-d tensor."""

    may_be_none = True

    def __init__(self, count: Tensor, capacity: int, reverse: bool):
        self.count, self.capacity, self.reverse = count, capacity, reverse

    def bind(self, graph: Graph, operands: Operands) -> Tensors:
        carried, sliced = len(operands.carries), len(operands.slices)
        number, count = input_node((), int64), input_node((), int64)
        wholes = _fresh(operands.slices)
        place = count - 1 - number if self.reverse else number
        rows = {x: intern(index, (whole, place), {"axes": (0,)}) for x, whole in zip(
            graph.inputs[carried : carried + sliced], wholes, strict=True)}
        body = graph.substitute(rows)
        fixed = graph.inputs[carried + sliced :]
        inputs = (number, *graph.inputs[:carried], count, *wholes, *fixed)
        body = Graph(inputs, (number + 1, *body.outputs), body.checks)
        inside = _fresh(inputs)
        cond = Graph(tuple(inside), (lt(inside[0], inside[1 + carried]),))
        stacked = len(graph.outputs) - carried
        params = {"cond": cond, "body": body, "carried": 1 + carried,
                  "capacity": self.capacity if stacked else None}
        zero = filled((), int64, 0)
        flat = [zero, *operands.carries, self.count, *operands.slices, *operands.constants]
        results = _results(loop_while, flat, len(body.outputs), params)[1:]
        if self.reverse:
            results[carried:] = [self._in_order(y) for y in results[carried:]]
        return results

    def _in_order(self, stacked: Tensor) -> Tensor:
        """Rows in the order of iterations, of which the last came first."""
        steps = bind(iota, (), {"shape": (self.capacity,), "dtype": int64})
        with FixedGradMode(False):
            places = (self.count - 1) - steps
            valid = ge(places, 0)
            rows = index(stacked, where(valid, places, 0), axes=(0,))
            mask = reshape(valid, shape=(self.capacity, *(1,) * (stacked.ndim - 1)))
            return where(mask, rows, filled((), stacked._dtype, 0))

    def tensors(self) -> Tensors:
        return [self.count]

    def with_tensors(self, tensors: Tensors) -> Counted:
        (count,) = tensors
        return Counted(count, self.capacity, self.reverse)

    def again(self) -> Counted:
        return self

    def backwards(self) -> Counted:
        return Counted(self.count, self.capacity, not self.reverse)


class While:
    """As long as `cond` holds, a graph of the inputs of the body; at most `most` times. `count`
    says afterwards how often it was.
    """

    may_be_none = True
    count: Tensor

    def __init__(self, cond: Graph, most: int | None):
        self.cond, self.most = cond, most

    def bind(self, graph: Graph, operands: Operands) -> Tensors:
        carried = len(operands.carries)
        number = input_node((), int64)
        body = Graph((number, *graph.inputs), (number + 1, *graph.outputs), graph.checks)
        inside = _fresh(body.inputs)
        places = {x: k for k, x in enumerate(graph.inputs)}
        inputs = {x: inside[1 + places[x]] for x in self.cond.inputs}
        cond = self.cond.substitute(inputs)
        holds = cond.outputs[0]
        if self.most is not None:
            holds = holds & lt(inside[0], constant(self.most, int64))
        cond = Graph(tuple(inside), (holds,), cond.checks)
        stacked = len(graph.outputs) > carried
        params = {"cond": cond, "body": body, "carried": 1 + carried,
                  "capacity": self.most if stacked else None}
        flat = [filled((), int64, 0), *operands.carries, *operands.constants]
        self.count, *results = _results(loop_while, flat, len(body.outputs), params)
        return results

    def tensors(self) -> Tensors:
        return []

    def with_tensors(self, _: Tensors) -> While:
        return While(self.cond, self.most)

    def again(self) -> Counted:
        assert self.most is not None
        return Counted(self.count, self.most, False)

    def backwards(self) -> Counted:
        return self.again().backwards()


Iterations = Fixed | Counted | While
