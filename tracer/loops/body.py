"""A BodyTrace: the function of a loop or a branch, recorded once as a graph of its own.

It lies in the trace that is being recorded. What the function uses from outside becomes an input,
represented by a twin: so a body closes over nothing. The payload of a tensor inside is a Staged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ...ir.dtype import DType, int64
from ...ir.graph import Graph, postorder
from ...ir.node import Node, constant, input_node, intern, user_site
from ...ir.op import OpDef
from ...ir.ops.elementwise import may_fail
from ...ir.ops.source import input as input_
from ...ir.value import Value
from ..autograd.batching import Batched
from ..autograd.graph import GradFn, leaf_sequence_numbers
from ..autograd.transform import Origin
from ..mode import in_trace, mode, resolve
from ..signals import untraced_handlers
from ..tensor.device import CPU, device
from ..tensor.dispatch import number
from ..tensor.tensor import Tensor, leaked_tensor_error, traced

ROOM = 32  # at first, for rows that backward reads of a loop whose length is not known


class NoLoop(RuntimeError):
    """The function needs what a body cannot have. The loop is unrolled, or the branch is Python's.
    """


class Staged(Value):
    """The payload of a tensor in a body: a node of the body's graph."""

    __slots__ = ("dtype", "node", "shape", "trace")
    inside = "the function of a loop or a branch"  # for messages

    def __init__(self, trace: BodyTrace, node: Node):
        self.trace, self.node, self.shape, self.dtype = trace, node, node.shape, node.dtype

    @classmethod
    def bind(cls, op: OpDef, inputs: tuple, params: dict) -> Staged:
        trace = next((x.trace for x in inputs if isinstance(x, Staged)), mode.trace)
        nodes = tuple(x.node if isinstance(x, Staged) else x for x in inputs)
        return trace.staged(Node.bind(op, nodes, params))


class Source(Origin):
    """Where the autograd graph of a body begins: an input. What backward() brings here belongs to
    other iterations, or to what is outside.
    """

    __slots__ = ("line",)

    def __init__(self) -> None:
        GradFn.__init__(self, "LoopInputBackward", (), next(leaf_sequence_numbers))
        self.line: Any = None  # the line that brought a gradient here

    def apply(self, g: Tensor) -> tuple:
        self.line = user_site()
        return ()

    @property
    def marked(self) -> bool:
        """Whether the function registered hooks on it: the derivative of a loop has none."""
        return bool(self.prehooks or self.retainers)


def has_history(t: Tensor) -> bool:
    """Whether a tensor may have a gradient: itself, or outside of a `vmap` it is in."""
    while not t._requires_grad:
        if not isinstance(t._node, Batched):
            return False
        t = t._node.value
    return True


def same(t: Tensor) -> Tensor:
    """Another tensor of the same value and history: a write to it leaves `t` as it is."""
    y = traced(t._node, t._requires_grad)
    y._grad_fn = t._grad_fn
    return y


class Capture:
    """A tensor from outside, with the twin that stands for it. `grad` is its `.grad` at entry."""

    def __init__(self, tensor: Tensor, twin: Tensor):
        self.tensor, self.twin, self.payload = tensor, twin, twin._node
        self.grad, self.entry_fn = twin._grad, twin._grad_fn
        self.accumulated = False  # whether `.grad` was added to before it was replaced
        self.hooks, self.requires_grad = dict(twin._hooks or {}), twin._requires_grad

    @property
    def changed(self) -> bool:
        return self.twin._node is not self.payload

    @property
    def marked(self) -> bool:
        """Whether it got hooks, or `requires_grad`: the twin has them, the tensor has not."""
        fn, twin = self.entry_fn, self.twin
        return ((twin._hooks or {}) != self.hooks or twin._requires_grad != self.requires_grad
                or isinstance(fn, Source) and fn.marked)


class Need:
    """How many iterations a loop in a body had at most, and whether a derivative is `used` that
    reads a row of each.
    """

    def __init__(self, count: Tensor, used: bool):
        self.count, self.used = count, used


class _Stream:
    """A generator in a body: each iteration draws as many numbers, from an offset of its own on."""

    def __init__(self, trace: BodyTrace, generator: Any):
        self.generator, self.done, self.count, self.used = generator, 0, 0, False
        self.seed, self.offset = trace.input((), int64), trace.input((), int64)

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """The seed and the position of the next `count` numbers of the iteration."""
        start, self.done, self.used = self.done, self.done + count, True
        self.count = max(self.count, self.done)
        return self.seed, self.offset + start

    def mark(self) -> Any:
        return ("body", self.done)

    def restart(self, place: Any) -> None:
        if not isinstance(place, tuple) or place[0] != "body":
            raise NoLoop("a seed is set in the body")
        self.done = place[1]


class BodyTrace:
    """The recording of one function. `outer` is the trace around it."""

    made = None
    differentiated_outside = False

    def __init__(self, name: str, room: int = ROOM):
        """`room` is that for rows of inner loops."""
        self.name, self.room, self.outer, self.open = name, room, mode.trace, True
        self.needs: list[Need] = []
        self.captures: list[Capture] = []
        self.checks: dict[Node, None] = {}
        self.streams: dict[int, _Stream] = {}
        self._by_id: dict[int, Capture] = {}
        self._by_twin: dict[int, Capture] = {}
        self._numbers: dict[tuple, Tensor] = {}
        self._replaced: set[int] = set()

    @contextmanager
    def recording(self) -> Iterator[BodyTrace]:
        """Within it, operations are recorded here; also later, for a derivative."""
        self.outer, self.open = mode.trace, True
        with untraced_handlers():
            mode.trace = self
            try:
                yield self
            finally:
                mode.trace, self.open = self.outer, False

    # ---- the interface of a trace
    def staged(self, node: Node) -> Staged:
        if may_fail(node.op, node.params):
            self.checks[node] = None
        return Staged(self, node)

    def closed(self, inputs: Sequence[Node], outputs: Sequence[Node],
               among: Iterable[Node] | None = None) -> Graph:
        """The graph of these inputs and outputs, with the checks that depend on no other inputs."""
        inside = set(inputs)
        checks = [c for c in (self.checks if among is None else among)
                  if all(x in inside or x.op is not input_ for x in postorder([c]))]
        return Graph(tuple(inputs), tuple(outputs), tuple(checks))

    def apply(self, op: OpDef, operands: Any, params: dict) -> Staged:
        return self.staged(intern(op, tuple([x.node for x in operands]), params))

    def number(self, value: Any, dtype: DType) -> Any:
        if type(value) in (bool, int, float):
            return Staged(self, constant(value, dtype))
        key = id(value), dtype  # it is read at each call of the program
        if key not in self._numbers:
            with self.around():
                self._numbers[key] = number(value, dtype)
        return self.twin(self._numbers[key])._node

    def placed(self, t: Tensor, where: device) -> Tensor:
        """`t` itself: a body computes where its operands are."""
        return t

    def device_of(self, t: Tensor) -> device:
        with self.around():
            return next((c.tensor.device for c in self.captures), CPU)

    def input(self, shape: tuple[int, ...], dtype: DType, graded: bool = False) -> Tensor:
        """A fresh input; `graded`: one that may have a gradient."""
        t = traced(Staged(self, input_node(tuple(shape), dtype)))  # type: ignore[arg-type]
        if graded and dtype.is_floating_point:
            t._grad_fn, t._requires_grad = Source(), True
        return t

    def traced_for(self, t: Tensor) -> Tensor:
        """`t` itself if it is from inside, otherwise its twin."""
        payload = t._node
        if type(payload) is Staged:
            if payload.trace is self:
                return t
            if not payload.trace.open:
                raise leaked_tensor_error(t)
        return self.twin(t)

    autograd_tensor = traced_for

    def twin(self, t: Tensor) -> Tensor:
        capture = self._by_id.get(id(t))
        if capture is None:
            capture = self._by_id[id(t)] = self._enter(t)
            self._by_twin[id(capture.twin)] = capture
            self.captures.append(capture)
        return capture.twin

    def _enter(self, t: Tensor) -> Capture:
        with self.around():
            value = resolve(t)
        if value._requires_grad and value._grad_fn is None:
            twin = self.input(value.shape, value._dtype)
            twin._requires_grad = True
        else:
            twin = self.input(value.shape, value._dtype, has_history(value))
        twin._hooks, twin._grad = dict(t._hooks) if t._hooks else None, value._grad
        return Capture(t, twin)

    def detached(self, payload: Staged) -> Staged:
        return payload

    def concrete(self, t: Tensor, what: str, *instead: str) -> Any:
        source = self._same_everywhere(t, what)
        with self.around():
            return mode.trace.concrete(resolve(source), what, *instead)

    def read(self, t: Tensor, what: str) -> list[Any]:
        source = self._same_everywhere(t, what)
        with self.around():
            return mode.trace.read(resolve(source), what)

    def computed(self, function: Callable, tensors: list[Tensor], what: str,
                 instead: str) -> list[Tensor]:
        sources = [self._same_everywhere(t, what) for t in tensors]
        with self.around():
            return mode.trace.computed(function, [resolve(x) for x in sources], what, instead)

    def _same_everywhere(self, t: Tensor, what: str) -> Tensor:
        """The tensor from outside that `t` is in all iterations. Any other has no value."""
        capture = self._by_twin.get(id(t)) or self._by_id.get(id(t))
        if capture is not None and not capture.changed:
            return capture.tensor
        raise NoLoop(
            f"{self.name}: {what}: the function reads the value of a tensor of shape "
            f"{list(t.shape)} (line {user_site()}), which is not known while a function is "
            "compiled: use where() or cond()"
        )

    @property
    def drawn(self) -> list[_Stream]:
        """The generators that numbers are drawn from. Of others only the state was asked."""
        return [s for s in self.streams.values() if s.used]

    def stream(self, generator: Any) -> _Stream:
        if id(generator) not in self.streams:
            self.streams[id(generator)] = _Stream(self, generator)
        return self.streams[id(generator)]

    def refuse_random(self, what: str) -> None:
        self.outer.refuse_random(what)

    def hyper(self, group: dict, key: str) -> Any:
        with self.around():
            return mode.trace.hyper(group, key)

    def read_grad(self, twin: Tensor) -> None:
        capture = self._by_twin.get(id(twin))
        if capture is not None and id(twin) not in self._replaced:
            with self.around():
                mode.trace.read_grad(resolve(capture.tensor))

    def replace_grad(self, twin: Tensor) -> None:
        capture = self._by_twin.get(id(twin))
        if capture is not None and id(twin) not in self._replaced:
            capture.accumulated = twin._grad is not capture.grad
            self._replaced.add(id(twin))

    def captures_besides(self, twins: Sequence[Tensor | None]) -> list[Capture]:
        """Those that none of these inputs stands for. The twin of a written one is no input now."""
        these = {t._node for t in twins if t is not None}
        return [c for c in self.captures if c.payload not in these]

    def entered(self, t: Tensor) -> bool:
        """Whether the function has used a tensor from outside."""
        return id(t) in self._by_id

    def replaced(self, capture: Capture) -> bool:
        """Whether `.grad` at entry does not matter: it was replaced first."""
        return id(capture.twin) in self._replaced and not capture.accumulated

    def guard_attribute(self, t: Tensor, what: str, value: Any) -> None:
        source = self.original(t)
        if source is not None:
            with self.around():
                mode.trace.guard_attribute(resolve(source), what, value)

    def original(self, t: Tensor) -> Tensor | None:
        """The tensor from outside whose twin `t` is; None if it is no twin."""
        capture = self._by_twin.get(id(t))
        return None if capture is None else capture.tensor

    input_of = original

    def layout(self, t: Tensor) -> Any:
        source = self.original(t)
        if source is None:
            return None
        with self.around():
            return mode.trace.layout(resolve(source))

    def read_only(self, t: Tensor) -> bool:
        source = self.original(t)
        if source is None:
            return False
        with self.around():
            return mode.trace.read_only(resolve(source))

    def around(self) -> AbstractContextManager[None]:
        """Within it, operations run in the trace around this one."""
        return in_trace(self.outer)

    def outside(self) -> AbstractContextManager[None]:
        """Within it no trace is recorded in this thread."""
        return in_trace(None)
