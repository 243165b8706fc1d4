"""How the plan of an operation is made: a trace of the function, and of its derivative."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ...ir.dtype import DType
from ...ir.graph import postorder
from ...ir.node import Node, constant, input_node, intern
from ...ir.op import OpDef
from ...ir.ops.elementwise import may_fail, stop_gradient
from ...ir.ops.movement import reshape
from ..mode import FixedGradMode, mode
from ..signals import untraced_handlers
from ..tensor.device import CPU
from ..tensor.dispatch import bind
from ..tensor.memory_order import strides_of
from ..tensor.straight_line import Unsuitable, straight_line
from ..tensor.tensor import Tensor, traced
from ..tensor.views import Path, base_and_path
from .backward_pass import BackwardPass
from .graph import GradFn
from .recording import OpBackward, Saved


class _Sketch:
    """The trace of one operation."""

    made = None
    differentiated_outside = False

    def __init__(self, strides: dict[Node, tuple[int, ...]]):
        self.strides = strides
        self.checks: dict[Node, None] = {}

    def __getattr__(self, name: str) -> Any:
        raise Unsuitable  # it asks for more than shapes and dtypes

    def apply(self, op: OpDef, operands: tuple, params: dict) -> Node:
        node = intern(op, operands, params)
        if may_fail(op, params):
            self.checks[node] = None
        return node

    def number(self, value: Any, dtype: DType) -> Node:
        if type(value) not in (bool, int, float):
            raise Unsuitable
        return constant(value, dtype)

    def traced_for(self, t: Tensor) -> Tensor:
        if type(t) is not Tensor or type(t._node) is not Node:
            raise Unsuitable
        return t

    autograd_tensor = traced_for

    def detached(self, node: Node) -> Node:
        return node

    def layout(self, t: Tensor) -> tuple[int, ...] | None:
        return self.strides.get(t._node)

    def device_of(self, t: Tensor) -> Any:
        return CPU

    def placed(self, t: Tensor, where: Any) -> Tensor:
        if where != CPU:
            raise Unsuitable
        return t


class _Source(GradFn):
    """The node of an argument in a sketch."""

    __slots__ = ("number",)

    def __init__(self, number: int):
        super().__init__("", (), -1)
        self.number = number


class _Contributions(BackwardPass):
    """What arrives at the arguments, one by one: who adds them up must do it in this order, with
    what comes from elsewhere.
    """

    def __init__(self) -> None:
        super().__init__(False, False, None)
        self.arrived: list[tuple[int, Tensor]] = []

    def push(self, fn: GradFn, g: Tensor) -> None:
        if isinstance(fn, _Source):
            self.arrived.append((fn.number, g))
        else:
            super().push(fn, g)


class Plan:
    """An operation on arguments of certain kinds.

    forward: from the arrays of the tensors to the output and the intermediates that backward reads;
    backward: two functions from the gradient and what it reads to the contributions, each for the
    argument of that place in `to`; read: numbers of arguments, -1 for the output, of the values
    that backward reads ahead of the intermediates; origins: of those from which intermediates
    are computed; path: of a view of argument `base`.
    """

    def __init__(
        self, inputs: list[Node], strided: set[Node], output: Node, checks: list[Node]
    ):
        self.inputs, self.strided, self.checks = inputs, strided, checks
        self.output, self.dtype = output, output.dtype
        self.made: list[Node] = []
        self.to: tuple[int, ...] = ()
        self.read: tuple[int, ...] = ()
        self.origins: tuple[int, ...] = ()
        self.title, self.base = "", 0
        self.path: Path = ()

    def differentiate(
        self, g: Node, arrived: list[tuple[int, Node]], checks: list[Node], reads_output: bool
    ) -> None:
        """Set how gradients are computed: without the memory of the output, unless it is read."""
        memory = [self.output]
        while memory[-1].op.aliases:
            memory.append(memory[-1].inputs[0])
        known = {*self.inputs, self.output} if reads_output else {*self.inputs}
        computed = {
            n for n in postorder([self.output, *self.checks])
            if n.inputs and n not in known and (not n.op.aliases or self.may_copy(n))
            and (reads_output or n not in memory)
        }
        ends = computed | known | {g}
        gradients = [n for _, n in arrived]
        if any(n in ends - {g} or n.op is stop_gradient for n in gradients):
            raise Unsuitable  # memory that is not the gradient's own
        order = postorder([*gradients, *checks], stop=ends.__contains__)
        self.gradient, self.gradients, self.to = g, gradients, tuple(k for k, _ in arrived)
        self.order = [n for n in order if n not in ends]
        self.dtypes = tuple(n.dtype for n in gradients)
        self.made = [n for n in order if n in computed]
        places = {x: k for k, x in enumerate(self.inputs)} | {self.output: -1}
        self.read = tuple(places[n] for n in order if n in known)
        if self.output not in order and not set(memory).isdisjoint(self.made):
            self.read += (-1,)  # whose version is looked at
        reads = [self.output if k < 0 else self.inputs[k] for k in self.read]
        self.operands = [*reads, *self.made]
        made_from = postorder(self.made)
        self.origins = tuple(k for k, x in enumerate(self.inputs) if x in made_from)
        self.backward = [  # of a gradient that is not contiguous, and of one that is
            straight_line([g, *self.operands], gradients, checks, self.strided | more)
            for more in ({g}, set())
        ]

    def may_copy(self, n: Node) -> bool:
        """Whether a movement may have a copy as its result: a reshape of what has gaps."""
        x = n
        while x.op is reshape:
            x = x.inputs[0]
        return n.op is reshape and (x.op.aliases or x in self.strided)

    def finish(self) -> None:
        outputs = [self.output, *self.made]
        self.forward = straight_line(self.inputs, outputs, self.checks, self.strided)

    def replay(self, g: Tensor, values: list[Tensor], inputs: list[Tensor]) -> list[Tensor]:
        """The contributions, with a history: from the gradient, the values that are read, and, if
        intermediates are, the arguments.
        """
        env = dict(zip(self.operands, values, strict=False)) | {self.gradient: g}
        env |= {self.inputs[k]: x for k, x in zip(self.origins, inputs, strict=False)}
        for n in (*postorder(self.made, stop=env.__contains__), *self.order):
            if n not in env:
                env[n] = bind(n.op, tuple([env[x] for x in n.inputs]), n.params)
        return [env[n] for n in self.gradients]


def warn(message: str, stacklevel: int) -> None:
    """`warnings.warn`, of a function that has no plan then: it is to warn at every call."""
    if type(mode.trace) is _Sketch:
        raise Unsuitable
    warnings.warn(message, stacklevel=stacklevel + 1)


def _is_saved(y: Tensor) -> bool:
    """Whether a derivative reads the memory of `y`. If not, it may be changed."""
    stack: list[GradFn | None] = [y._grad_fn]
    seen: set[GradFn] = set()
    while stack:
        fn = stack.pop()
        if fn is not None and fn not in seen:
            seen.add(fn)
            stack += fn.edges
            saved = (fn.y, *fn.inputs) if isinstance(fn, OpBackward) else ()
            if any(isinstance(x, Saved) and x.version_counter is y._version for x in saved):
                return True
    return False


def sketched(
    function: Callable, args: tuple, kwargs: dict, tensors: list[Tensor], reads_output: bool
) -> Plan:
    """The plan, from a trace of the function. `reads_output`: the derivative may read the output,
    even if that of the function does not.
    """
    inputs = [input_node(t._array.shape, t._dtype) for t in tensors]
    strides = {
        n: strides_of(t) for n, t in zip(inputs, tensors, strict=True)
        if not t._array.flags.c_contiguous
    }
    sketch, twins = _Sketch(strides), {}
    for k, (t, n) in enumerate(zip(tensors, inputs, strict=True)):
        twins[id(t)] = twin = traced(n, t._requires_grad)
        if t._requires_grad:
            twin._grad_fn = _Source(k)

    def inside(x: Any) -> Any:
        if isinstance(x, (tuple, list)):
            return type(x)(map(inside, x))
        return twins[id(x)] if isinstance(x, Tensor) else x

    with untraced_handlers():
        mode.trace = sketch
        try:
            y = function(*map(inside, args), **{k: inside(v) for k, v in kwargs.items()})
            changed = any(t._version[0] for t in twins.values())
            if type(y) is not Tensor or y._node in inputs or changed:
                raise Unsuitable
            plan = Plan(inputs, set(strides), y._node, list(sketch.checks))
            if y._view is not None:
                root, plan.path, _ = base_and_path(y)
                plan.base = inputs.index(root._node) if root._node in inputs else -1
                if any(not isinstance(op, OpDef) for op, _ in plan.path):
                    raise Unsuitable  # eagerly it has no base
            if y._requires_grad:
                plan.title = y._grad_fn.title
                sketch.checks.clear()
                reads_output = reads_output or _is_saved(y)
                g, contributions = input_node(y._node.shape, y._dtype), _Contributions()
                with FixedGradMode(False):
                    contributions.run([(y._grad_fn, traced(g))], accumulate=False)
                arrived = [(k, t._node) for k, t in contributions.arrived]
                plan.differentiate(g, arrived, list(sketch.checks), reads_output)
        finally:
            mode.trace = None
    plan.finish()
    return plan
