"""`cond` in a trace: both functions are recorded, and one of them runs.

A side is one of the two. What it uses from outside are operands of the branch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ...ir.dtype import bool_, int64
from ...ir.graph import Graph
from ...ir.node import input_node
from ...ir.ops.elementwise import ne
from ...ir.ops.loop import branch
from ...ir.ops.movement import reshape
from ..autograd.backward import backpropagate, filled
from ..autograd.graph import GradFn, OutputGradients, OutputNode, edge
from ..autograd.node_classes import FREED
from ..autograd.recording import Saved
from ..mode import FixedGradMode, mode, resolve
from ..tensor.inplace import overwrite
from ..tensor.tensor import Tensor, traced
from .body import BodyTrace, Capture, NoLoop, same
from .effects import refuse_effects
from .examples import differentiated_outside, one_by_one
from .iterations import Tensors
from .loop import may_change, nodes, sources_reached
from .room import demand, largest, with_room
from .written import written


@dataclass
class Side:
    """A recorded function. `inputs` stand for the operands of the branch; None for one that this
    function does not use.
    """

    trace: BodyTrace
    inputs: list[Tensor | None]
    outputs: Tensors

    def graph(self, operands: Tensors) -> Graph:
        inputs = [input_node(tuple(x.shape), x._dtype) if t is None else t._node.node
                  for t, x in zip(self.inputs, operands, strict=True)]
        return self.trace.closed(inputs, nodes(self.outputs))


Sides = tuple[Side, Side]


def _recorded(name: str, function: Callable[[], Tensors],
              room: int) -> tuple[BodyTrace, Tensors, Tensor]:
    """The function, recorded, its outputs, and the most iterations of its loops."""
    trace = BodyTrace(name, room)
    with refuse_effects(name), trace.recording():
        outputs = [resolve(y) for y in function()]
        count = largest([filled((), int64, 0), *(n.count for n in trace.needs)])
    if trace.drawn or any(c.marked or c.twin._grad is not c.grad for c in trace.captures):
        raise NoLoop("the function draws random numbers, or sets .grad, hooks or requires_grad")
    if any(c.twin._requires_grad for c in written(trace)):
        raise NoLoop("the function writes a tensor that requires grad")
    return trace, outputs, count


def _merged(captures: list[list[Capture]]) -> tuple[Tensors, list[list[Tensor | None]]]:
    """The tensors that the functions use, and their twins in each of them."""
    tensors = {id(c.tensor): c.tensor for some in captures for c in some}
    twins = [{id(c.tensor): traced(c.payload) if c.changed else c.twin for c in some}
             for some in captures]
    return list(tensors.values()), [[own.get(key) for key in tensors] for own in twins]


def traced_cond(
    name: str, pred: Tensor, functions: tuple[Callable[[], Tensors], Callable[[], Tensors]],
    check: Callable[[], None],
) -> Tensors:
    """The outputs of the first function if `pred` holds, else those of the second; `check` raises
    if these do not go together.
    """
    pred = resolve(pred)

    def attempt(room: int) -> Tensors:
        (then, ys, count), (other, zs, rows) = (_recorded(name, f, room) for f in functions)
        check()
        changed = {id(c.tensor): c.tensor for c in (*written(then), *written(other))}
        ys, zs = ([*outputs, *_finals(trace, changed.values())]
                  for trace, outputs in ((then, ys), (other, zs)))
        operands, (some, more) = _merged([then.captures, other.captures])
        # copies: what is written into them later does not matter
        operands = [same(resolve(x)) if id(x) in changed else x for x in operands]
        with FixedGradMode(False):
            truth = reshape(pred if pred._dtype is bool_ else ne(pred, 0), shape=())
        needs = [*then.needs, *other.needs]
        used = any(n.used for n in needs)
        if needs:
            ys, zs = [*ys, count], [*zs, rows]
        results = run_branch(truth, (Side(then, some, ys), Side(other, more, zs)), operands)
        if needs:
            demand([results.pop()], room, used, results)
        with FixedGradMode(False):
            for t in reversed(changed.values()):
                overwrite(t, results.pop(), "CopyBackwards")
        return results

    return with_room(attempt)


def _finals(trace: BodyTrace, tensors: Iterable[Tensor]) -> Tensors:
    """What tensors from outside are at the end of a function."""
    with trace.recording():
        return [resolve(trace.twin(t)) for t in tensors]


def run_branch(pred: Tensor, sides: Sides, operands: Tensors) -> Tensors:
    """The results, with their history."""
    operands = [resolve(x) for x in operands]
    then, other = (side.graph(operands) for side in sides)
    with FixedGradMode(False):
        results = [
            Tensor.bind(branch, (pred, *operands), {"then": then, "other": other, "result": k})
            for k in range(len(then.outputs))
        ]
    if not mode.grad:
        return results
    if differentiated_outside():
        results = one_by_one(
            lambda xs: run_branch(xs[0], sides, xs[1:]), [pred, *operands]) or results
    wanted = [x._requires_grad and x._dtype.is_floating_point for x in operands]
    reached = [sources_reached(side.inputs, side.outputs) for side in sides]
    active = [any(wanted[j] for j in r | more) for r, more in zip(*reached, strict=True)]
    if any(active):
        node = BranchBackward(pred, sides, operands, wanted, results)
        for k, (y, yes) in enumerate(zip(results, active, strict=True)):
            if yes:
                y._grad_fn, y._requires_grad = OutputNode(node, k), True
    return results


class BranchBackward(GradFn):
    """The autograd node of a branch. Its backward is a branch, which computes forward again."""

    __slots__ = ("need", "pred", "saved", "sides", "types", "wanted")

    def __init__(self, pred: Tensor, sides: Sides, operands: Tensors, wanted: list[bool],
                 results: Tensors):
        super().__init__("CondBackward", tuple(
            edge(x) if want else None for x, want in zip(operands, wanted, strict=True)
        ))
        self.pred, self.sides, self.wanted = pred, sides, wanted
        self.need: Any = None  # a Need, if inner loops have rows
        self.saved: Any = [(Saved(x), edge(x) if x._requires_grad else None) for x in operands]
        free = (may_change(side.inputs, side.outputs) for side in sides)
        for (value, _), *yes in zip(self.saved, *free, strict=True):
            if all(yes):
                value.copy_value()
        self.types = [(tuple(y.shape), y._dtype) for y in results]

    def run_prehooks(self, g: Any) -> Any:
        return g if isinstance(g, OutputGradients) else super().run_prehooks(g)

    def apply(self, g: Any) -> tuple[Tensor | None, ...]:
        if self.saved is None:
            raise RuntimeError(FREED)
        if self.need is not None:
            self.need.used = True
        parts = g.by_output if isinstance(g, OutputGradients) else {0: g}
        history = bool(mode.grad)
        operands = [s.unpack(fn if history else None, fn) for s, fn in self.saved]
        backs = [self._pulled_back(side, list(parts), history) for side in self.sides]
        more, twins = _merged([captures for _, captures in backs])
        for (side, _), inputs in zip(backs, twins, strict=True):
            side.inputs += inputs
        first, second = (side for side, _ in backs)
        results = iter(run_branch(
            self.pred, (first, second), [*operands, *parts.values(), *more]))
        return tuple(next(results) if want else None for want in self.wanted)

    def _pulled_back(self, side: Side, outputs: list[int],
                     create: bool) -> tuple[Side, list[Capture]]:
        """What gives the gradients of the operands, and what it uses from outside besides."""
        trace = side.trace
        with trace.recording():
            gs = [trace.input(*self.types[k], True) for k in outputs]
            ends = [(edge(side.outputs[k]), g) for k, g in zip(outputs, gs, strict=True)
                    if side.outputs[k]._requires_grad]
            sources = [edge(t) if t is not None and t._requires_grad else None
                       for t in side.inputs]
            own = backpropagate([(fn, g) for fn, g in ends if fn is not None], sources, True,
                                create, stop=True)
            grads = [
                filled(saved.node.shape, saved.dtype, 0.0) if g is None else g
                for g, (saved, _), want in zip(own, self.saved, self.wanted, strict=True) if want
            ]
        return Side(trace, [*side.inputs, *gs], grads), trace.captures_besides(side.inputs)

    def has_saved_values(self) -> bool:
        return self.saved is not None

    def release(self) -> None:
        self.saved = None
