"""A Trace: one call of a user's function, recorded as Nodes instead of computed.

Every concrete Tensor met on the way becomes an input, represented by a traced twin; what happens to
the twins (in-place changes, `.grad`) is what the program must do to the Tensors. Nothing concrete
is touched while tracing.
"""

from __future__ import annotations

from builtins import id  # Python's own, also while a trace has the user's calls of it watched
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import ref

import numpy as np

from ...ir.dtype import DType, bool_, float64, int64
from ...ir.interpret import value_of
from ...ir.node import Node, Site, constant, input_node, intern, is_constant, user_site
from ...ir.op import OpDef
from ...ir.ops.elementwise import may_fail, ne
from ...ir.ops.movement import reshape, slice as slice_
from ...ir.ops.random import signed
from ..autograd.graph import GradFn, edge
from ..autograd.transform import Origin
from ..mode import mode
from ..signals import untraced_handlers
from ..tensor.masked_selection import SelectionPayload
from ..tensor.tensor import Tensor, leaked_tensor_error, traced
from .scalar import Book, Scalar, UnknownValue

LOOK_OUTSIDE = "Return the tensor and look at it outside the compiled function."


@dataclass(eq=False)
class Input:
    """An input of the program: its Node, and where its value is found at each call.

    `kind` is 'argument' (key: its position among the tensors of the call), 'tensor' (a captured
    Tensor), 'place' (key: the Place where it is found, another object at each call), 'grad' (key:
    the Input whose `.grad` it is, which may be another object at each call), 'scalar' (key: the
    Scalar), 'hyper' (key: an optimizer's group and a name in it) or 'random' (key: a Generator,
    whose state it is).
    """

    node: Node
    kind: str
    key: Any
    tensor: Any  # a Tensor; None for a 'scalar', a 'hyper' and a 'random'
    twin: Tensor
    start: GradFn | None = None  # where a gradient of what it was at first arrives

    @property
    def begins(self) -> bool:
        """Whether the function made it a leaf that requires grad."""
        return self.twin._requires_grad and self.twin._grad_fn is None

    def forget(self) -> None:
        """Let go of what only the trace needed: a program holds on to captured tensors alone."""
        self.twin = self.start = None  # type: ignore[assignment]
        if self.kind != "tensor":
            self.tensor = None


class ExternalHistory(Origin):
    """The history that a tensor brings into a trace."""

    __slots__ = ("shape",)

    def __init__(self, x: Tensor):
        GradFn.__init__(self, x._grad_fn.title, ())
        self.shape = list(x.shape)

    def apply(self, g: Tensor) -> tuple[Tensor | None, ...]:
        raise RuntimeError(
            "backward() inside a compiled function reached a tensor that was computed outside of "
            f"it (shape {self.shape}); detach it, compute it inside, or call backward() outside"
        )


@dataclass(frozen=True)
class ValueGuard:
    """The trace went one way because this value was what it was."""

    node: Node
    value: bool | int | float
    site: Site | None


@dataclass(eq=False)
class Stream:
    """A generator within a trace: its state at each call is an input of the program, and the
    program uses `count` numbers from there, or of the stream of `seed` that it began itself.
    """

    generator: Any
    source: Input  # (seed, numbers used), int64
    seed: int | None = None
    count: int = 0

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """The seed and the position of the next `count` numbers."""
        start, self.count = self.count, self.count + count
        if self.seed is not None:
            seed = constant(signed(self.seed), int64)
            return traced(seed), traced(constant(start, int64))
        seed, used = (
            reshape(slice_(self.source.node, slices=((k, k + 1, 1),)), shape=()) for k in (0, 1)
        )
        return traced(seed), traced(used + constant(start, int64))

    def mark(self) -> tuple[int | None, int]:
        """Where the stream stands, for `restart`."""
        return self.seed, self.count

    def restart(self, location: Any) -> None:
        """Go on from a place that `mark` gave."""
        if not isinstance(location, tuple):
            raise RuntimeError(
                "set_state: within a compiled function a generator goes only to places that its "
                "get_state gave there"
            )
        self.seed, self.count = location


class Trace:
    """`placed`: places that are read at each call, and the tensors there; `book`: what was done
    with numbers that are read at each call.
    """

    def __init__(self, arguments: list[Tensor]):
        self.book = Book()
        self.placed: list[tuple[Any, Tensor]] = []
        self._places: dict[int, Any] = {}  # by id of the tensor: the first of its places
        self.inputs: list[Input] = []
        self._scalars: dict[tuple, Input] = {}
        self.asked: list[tuple[Input, str, Any]] = []  # attributes of tensors, and what they were
        self.guards: list[ValueGuard] = []
        self.checks: dict[Node, None] = {}  # what may raise, whoever reads it
        self.operands: set[Node] = set()
        self._by_id: dict[int, Input] = {}
        self._hyper: dict[tuple[int, str], Input] = {}
        self.streams: dict[int, Stream] = {}
        self._numbers: dict[Node, np.ndarray] = {}
        self._owner_of_grad: dict[int, Tensor] = {}
        self._by_twin: dict[int, Input] = {}
        self._replaced: set[int] = set()
        self.observer: Any = None  # what notes what the function reads and changes; observer.py
        self.made: list[ref] | None = None  # where somebody wants to know: tensors made in it
        self.grads_seen: set[int] = set()  # ids of tensors whose `.grad` at entry decided something
        for i, t in enumerate(arguments):
            if id(t) not in self._by_id:
                self._enter(t, "argument", i)

    def _enter(self, t: Tensor, kind: str, key: Any) -> Input:
        assert t._array is not None
        node = input_node(t._array.shape, t._dtype, kind)
        twin = traced(node, t._requires_grad)
        twin._hooks = t._hooks
        if t._grad_fn is not None:
            twin._grad_fn = ExternalHistory(t)
        found = Input(node, kind, key, t, twin, edge(twin))
        self.inputs.append(found)
        self._by_id[id(t)] = self._by_twin[id(twin)] = found
        self._numbers[node] = t._array
        if t._grad is not None:
            self._owner_of_grad[id(t._grad)] = t
            twin._grad = t._grad  # concrete until it is looked at
        return found

    def put_at(self, location: Any, t: Tensor) -> None:
        """The tensor at `place` is found there anew at each call."""
        self.placed.append((location, t))
        self._places.setdefault(id(t), location)

    # ---- what the tracer's other modules call; a BatchTrace answers to the same
    differentiated_outside = False  # all derivatives are taken in the trace

    def apply(self, op: OpDef, inputs: tuple, params: dict) -> Node:
        node = intern(op, inputs, params)
        self.operands.update(inputs)
        if may_fail(op, params):
            self.checks[node] = None
        return node

    def number(self, value: Any, dtype: DType) -> Node:
        """A number as a Node of a dtype: a constant, or an input if it is a Scalar."""
        if type(value) is not Scalar:
            return constant(value, dtype)
        found = self._scalars.get((id(value), dtype))
        if found is None:
            node = input_node((), dtype, "scalar")
            found = Input(node, "scalar", value, None, traced(node))
            self._scalars[id(value), dtype] = found
            self.inputs.append(found)
            with np.errstate(all="ignore"):
                number = np.asarray(value._value).astype(dtype.compute)
                self._numbers[node] = np.asarray(dtype.encode(number))
        return found.node

    def traced_for(self, t: Tensor) -> Tensor:
        """What stands for `t` in the trace."""
        node = t._node
        if node is None:
            return self.twin(t)
        if not isinstance(node, (Node, SelectionPayload)):
            raise leaked_tensor_error(t)
        return t

    autograd_tensor = traced_for

    def detached(self, node: Node) -> Node:
        """The same value; the autograd graph knows that it has no history."""
        return node

    def twin(self, t: Tensor) -> Tensor:
        """The traced Tensor that stands for the concrete `t`."""
        found = self._by_id.get(id(t))
        if found is None:
            owner = self.grad_of(t)
            if owner is not None:
                self.grads_seen.add(id(owner))
                found = self._enter(t, "grad", self._by_id[id(owner)])
            elif id(t) in self._places:
                found = self._enter(t, "place", self._places[id(t)])
            else:
                found = self._enter(t, "tensor", None)
        return found.twin

    def layout(self, t: Tensor) -> tuple[int, ...] | None:
        """The strides, in elements, of the tensor that `t` stands for, if it stands for one."""
        found = self._by_twin.get(id(t))
        if found is None or found.tensor is None or not found.tensor._array.size:
            return None
        array = found.tensor._array
        return tuple(s // array.itemsize for s in array.strides)

    def read_only(self, t: Tensor) -> bool:
        """Whether `t` stands for a tensor whose memory must not be written."""
        found = self._by_twin.get(id(t))
        known = found is not None and found.tensor is not None
        return known and not found.tensor._array.flags.writeable  # type: ignore[union-attr]

    def guard_attribute(self, t: Tensor, what: str, value: Any) -> None:
        """Python looks at an attribute of a tensor from outside: it must be the same at each call.
        """
        found = self._by_twin.get(id(t))
        if found is None or found.tensor is None:
            return
        if what == "offset" or t._node is found.node:
            self.asked.append((found, what, value))

    def original(self, t: Tensor) -> Tensor | None:
        """The concrete tensor that `t` stands for, if it stands for one."""
        found = self._by_twin.get(id(t))
        return None if found is None else found.tensor

    def read_grad(self, twin: Tensor) -> None:
        """The program asks for `.grad`: if it is still the one from before, its being there is part
        of the trace.
        """
        found = self._by_twin.get(id(twin))
        if found is not None and id(twin) not in self._replaced:
            self.grads_seen.add(id(found.tensor))

    def replace_grad(self, twin: Tensor) -> None:
        """The program sets `.grad`: what it was before no longer matters."""
        self._replaced.add(id(twin))

    def hyper(self, group: dict, key: str) -> Any:
        """A hyper-parameter as a 0-d value that is read again at every call."""
        value = dict.__getitem__(group, key)  # which is no reason for a guard
        if isinstance(value, Tensor) or type(value) is Scalar:
            return value
        if self.observer is not None and self.observer.has_set(group, key):
            return value
        found = self._hyper.get((id(group), key))
        if found is None:
            node = input_node((), float64, key)
            found = Input(node, "hyper", (group, key), None, traced(node))
            self._hyper[id(group), key] = found
            self.inputs.append(found)
            self._numbers[node] = np.asarray(float(value))
        return found.twin

    def concrete(self, t: Tensor, what: str, instead: str = LOOK_OUTSIDE) -> np.ndarray:
        """The value of a traced tensor where Python must know it. A truth value or an integer
        becomes a guard; another is refused, and `instead` is the way out.
        """
        if t._node is None:
            t = self.twin(t)
        node = t._node
        assert node is not None
        site = user_site()
        if what not in ("bool", "int", "index"):
            raise UnknownValue(
                f"{what}: the value of a traced tensor of shape {list(node.shape)} is not known "
                f"while the function is compiled (line {site}). {instead}"
            )
        value = value_of([node], self._numbers)[node]
        if node.size == 1 and not is_constant(node):
            found = node.dtype.decode(value).item()
            if what == "bool" and node.dtype is not bool_:  # which number it is decides nothing
                node, found = ne(node, 0), bool(found)
            self.guards.append(ValueGuard(node, found, site))
        return value

    def stream(self, generator: Any) -> Stream:
        """How far the program has gone in the numbers of a generator."""
        found = self.streams.get(id(generator))
        if found is None:
            state = np.array([signed(v) for v in generator._state], np.int64)
            node = input_node((2,), int64, "random")
            source = Input(node, "random", generator, None, traced(node))
            self.inputs.append(source)
            self._numbers[node] = state
            found = self.streams[id(generator)] = Stream(generator, source)
        return found

    def refuse_random(self, what: str) -> None:
        raise RuntimeError(
            f"{what}: where a generator stands is not known while a function is compiled (line "
            f"{user_site()}); call it outside of the compiled function."
        )

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Within it no trace is recorded in this thread."""
        mode.trace = None
        try:
            yield
        finally:
            mode.trace = self

    # ---- what the compiler asks at the end
    def input_of(self, twin: Tensor) -> Input | None:
        """The input that a traced tensor stands for."""
        return self._by_twin.get(id(twin))

    def entered(self, t: Tensor) -> Input | None:
        """The input that a concrete tensor became."""
        return self._by_id.get(id(t))

    def grad_of(self, t: Tensor) -> Tensor | None:
        """The tensor whose `.grad` a concrete one was at first."""
        return self._owner_of_grad.get(id(t))

    def twice(self, guarded: set[int]) -> Iterator[tuple[Any, Any]]:
        """The inputs that the program knows from elsewhere too, and what they must be at each call:
        a tensor that guards ask for, the ids of which are given, or at a place, another input.
        """
        for i in self.inputs:
            if i.kind != "tensor" and id(i.tensor) in guarded:
                yield i, i.tensor
        for location, t in self.placed:
            known = self.entered(t)
            if known is not None and known.key is not location:
                yield location, known

    def twice_grads(self) -> Iterator[tuple[Input, Input]]:
        """The inputs whose `.grad` the program knows from elsewhere, and as what."""
        for i in self.inputs:
            owner = self.grad_of(i.tensor)
            if owner is not None and i.kind != "grad":
                yield self._by_id[id(owner)], i

    def mutated(self) -> list[Input]:
        """Inputs that were changed in place."""
        return [i for i in self.inputs if i.twin._node is not i.node]

    def regraded(self) -> list[Input]:
        """Inputs whose `.grad` is now another tensor, or none."""
        out = []
        for i in self.inputs:
            forgotten = id(i.twin) in self._replaced and i.twin._grad is None
            if i.tensor is None or (i.twin._grad is i.tensor._grad and not forgotten):
                continue
            entered = self._by_id.get(id(i.tensor._grad)) if i.tensor._grad is not None else None
            if entered is None or i.twin._grad is not entered.twin:
                out.append(i)
        return out

    def used_grads(self) -> list[Input]:
        """Inputs whose `.grad` being there or not decided what was traced."""
        accumulated = {id(i.tensor) for i in self.regraded() if id(i.twin) not in self._replaced}
        seen = self.grads_seen | accumulated
        return [i for i in self.inputs if i.tensor is not None and id(i.tensor) in seen]


@contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    with untraced_handlers():
        before = mode.trace
        mode.trace = trace
        try:
            yield trace
        finally:
            mode.trace = before
