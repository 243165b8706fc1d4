"""A Trace: one call of a user's function, recorded as nodes instead of computed.

Every concrete tensor that the function uses becomes an input, represented by a traced twin. What
happens to the twins (in-place changes, `.grad`) is what the program must do to the tensors. No
concrete tensor changes during the trace.
"""

from __future__ import annotations

from builtins import id  # Python's own, also while a trace has the user's calls of it watched
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import ref

import numpy as np

from ...ir.dtype import DType, float64, int64
from ...ir.node import Node, at, constant, input_node, intern, user_site
from ...ir.op import OpDef
from ...ir.ops.elementwise import may_fail, to_device, to_host
from ...ir.ops.random import signed
from ..autograd.graph import edge
from ..mode import mode
from ..signals import untraced_handlers
from ..tensor.device import CPU, device, get_default_device
from ..tensor.device_memory import place_of
from ..tensor.dispatch import bind
from ..tensor.masked_selection import SelectionPayload, settled
from ..tensor.placement import refuse_several, refuse_users
from ..tensor.tensor import Tensor, leaked_tensor_error, traced
from . import texts
from .inputs import ExternalHistory, Input, Stream
from .scalar import Scalar, ScalarLog
from .values import LOOK_OUTSIDE, ValueLog, refusal


class Trace:
    """The trace of one call. `arguments` are its tensors."""

    def __init__(self, arguments: list[Tensor]):
        self.scalar_log = ScalarLog()
        self.tensors_at: list[tuple[Any, Tensor]] = []  # promoted locations, with their tensors
        self._location_of: dict[int, Any] = {}  # by id of such a tensor: its first location
        self.inputs: list[Input] = []
        self.device: device | None = None  # the GPU where the program computes, once it is known
        # whether eagerly a value would be on the CPU; numbers that the function makes are anywhere
        self.on_host: dict[Node, bool] = {}
        self._scalars: dict[tuple, Input] = {}
        self.attribute_guards: list[tuple[Input, str, Any]] = []  # tensor, attribute, value
        self.checks: dict[Node, None] = {}  # nodes that may raise, even if nobody reads them
        self.operands: set[Node] = set()
        self._by_id: dict[int, Input] = {}
        self._hyper: dict[tuple[int, str], Input] = {}
        self.streams: dict[int, Stream] = {}
        self._numbers: dict[Node, np.ndarray] = {}  # values at the call that is traced
        self.values = ValueLog(self._numbers, self.scalar_log)
        self._owner_of_grad: dict[int, Tensor] = {}
        self._by_twin: dict[int, Input] = {}
        self._replaced: set[int] = set()
        self.observer: Any = None  # an Observer (observer.py)
        self.made: list[ref] | None = None  # if a list: all tensors that are made in the trace
        self.grads_seen: set[int] = set()  # ids of tensors whose `.grad` at entry was read
        for i, t in enumerate(arguments):
            if id(t) not in self._by_id:
                self._enter(t, "argument", i)

    def _enter(self, t: Tensor, kind: str, key: Any) -> Input:
        assert t._array is not None
        where = place_of(t._array)
        self.place(where, t)
        node = input_node(t._array.shape, t._dtype, kind)
        self.on_host[node] = where == CPU
        twin = traced(node, t._requires_grad)
        twin._hooks = t._hooks
        if t._grad_fn is not None:
            twin._grad_fn = ExternalHistory(t)
        entered = Input(node, kind, key, t, twin, edge(twin), frozenset(t._hooks or ()))
        self.inputs.append(entered)
        self._by_id[id(t)] = self._by_twin[id(twin)] = entered
        self._numbers[node] = t._array
        if t._grad is not None:
            self._owner_of_grad[id(t._grad)] = t
            twin._grad = t._grad  # concrete until it is read
        return entered

    def place(self, where: device, t: Tensor | None = None) -> None:
        """Something is on a device: on a GPU, the program computes there."""
        if where != CPU and self.device is None:
            self.device = where
        elif self.device is not None and where not in (CPU, self.device):
            raise refuse_several(self.device, where, t)

    def placed(self, t: Tensor, where: device) -> Tensor:
        """`t` on a device, the CPU or the one where the program computes."""
        self.place(where)
        on_host = where == CPU
        here = self.on_host.get(self.traced_for(t)._node)
        if here is None:  # a number is marked only where it could be elsewhere
            elsewhere = self.device is not None if on_host else self._has_host_inputs()
            here = on_host is not elsewhere
        return t if here is on_host else bind(to_host if on_host else to_device, (t,), {})

    def _has_host_inputs(self) -> bool:
        return any(i.tensor is not None and self.on_host[i.node] for i in self.inputs)

    def device_of(self, t: Tensor) -> device:
        """Where a tensor is."""
        return CPU if self.on_host.get(t._node) else self.place_of_numbers()

    def place_of_numbers(self) -> device:
        """Where the program computes, and numbers are that the function makes."""
        if self.device is None and any(i.tensor is not None for i in self.inputs):
            return CPU
        return self.device or get_default_device()

    def is_apart(self, t: Tensor) -> bool:
        """Whether a tensor is on the CPU, and the program on a GPU."""
        return self.device is not None and self.device_of(t) == CPU

    def refuse_leaving(self, written: list[Input]) -> None:
        """Raise for a tensor of the CPU that was given a value of the GPU in place."""
        for i in written:
            if self.on_host.get(i.node) and self.on_host.get(i.twin._node) is False:
                with at(i.twin._node.site):
                    raise refuse_several(self.place_of_numbers(), CPU, i.tensor)

    def _locate(self, node: Node, op: OpDef, inputs: tuple, params: dict) -> None:
        """Note where a value would be eagerly: with its operands, or beside a number of the CPU on
        the GPU. Raises for other tensors of the CPU that a user gave together with some of a GPU.
        """
        if op in (to_host, to_device):
            self.on_host[node] = op is to_host
            return
        if params.get("carried", 0) > params.get("result", 0):  # of a loop: where it began
            inputs = inputs[params["result"]],
        sides = [(self.on_host[x], x.shape) for x in inputs if x in self.on_host]
        if sides:
            self.on_host[node] = host = all(on_host for on_host, _ in sides)
            if not host and any(on_host and shape for on_host, shape in sides):
                refuse_users([self.place_of_numbers(), CPU], self)

    def unhook(self) -> Iterator[Callable]:
        """Take off, and give, the hooks that the function has left on tensors from outside."""
        for entered in self.inputs:
            start, hooks = entered.start, entered.twin._hooks or {}
            for number in hooks.keys() - entered.hooks:
                yield hooks.pop(number)
            if type(start) is ExternalHistory:
                yield from (start.prehooks or {}).values()
                yield from (start.posthooks or {}).values()

    def put_at(self, location: Any, t: Tensor) -> None:
        """The tensor at `location` is read there at each call."""
        self.tensors_at.append((location, t))
        self._location_of.setdefault(id(t), location)

    # ---- what the other modules of tracer/ call; a BatchTrace has the same methods
    differentiated_outside = False  # all derivatives are taken in the trace

    def apply(self, op: OpDef, inputs: tuple, params: dict) -> Node:
        node = intern(op, inputs, params)
        self._locate(node, op, inputs, params)
        self.operands.update(inputs)
        if may_fail(op, params):
            self.checks[node] = None
        return node

    def number(self, value: Any, dtype: DType) -> Node:
        """A number as a node of a dtype: a constant, or an input if it is a Scalar."""
        if type(value) is not Scalar:
            return constant(value, dtype)
        entry = self._scalars.get((id(value), dtype))
        if entry is None:
            if value._stage == len(self.values.cuts):  # it must be read first
                self.values.cut()
            node = input_node((), dtype, "scalar")
            entry = Input(node, "scalar", value, None, traced(node))
            self._scalars[id(value), dtype] = entry
            self.inputs.append(entry)
            self._numbers[node] = dtype.encode(value._value)
        return entry.node

    def traced_for(self, t: Tensor) -> Tensor:
        """The tensor that represents `t` in the trace."""
        node = t._node
        if node is None:
            return self.twin(t)
        if not isinstance(node, (Node, SelectionPayload)):
            raise leaked_tensor_error(t)
        return t

    def autograd_tensor(self, t: Tensor) -> Tensor:
        """The same, with a history of its own."""
        return settled(self.traced_for(t))

    def detached(self, node: Node) -> Node:
        """The same value; the autograd graph knows that it has no history."""
        return node

    def twin(self, t: Tensor) -> Tensor:
        """The twin of a concrete tensor. The tensor becomes an input, if it is none yet."""
        entered = self._by_id.get(id(t))
        if entered is None:
            owner = self.grad_of(t)
            if owner is not None:
                self.grads_seen.add(id(owner))
                entered = self._enter(t, "grad", self._by_id[id(owner)])
            elif id(t) in self._location_of:
                entered = self._enter(t, "location", self._location_of[id(t)])
            else:
                entered = self._enter(t, "tensor", None)
        return entered.twin

    def layout(self, t: Tensor) -> tuple[int, ...] | None:
        """The strides, in elements, of the tensor whose twin `t` is; None if it is no twin."""
        source = self._by_twin.get(id(t))
        if source is None or source.tensor is None or not source.tensor._array.size:
            return None
        array = source.tensor._array
        return tuple(s // array.itemsize for s in array.strides)

    def read_only(self, t: Tensor) -> bool:
        """Whether `t` is the twin of a tensor whose memory must not be written."""
        source = self._by_twin.get(id(t))
        is_array = source is not None and source.tensor is not None
        return is_array and not source.tensor._array.flags.writeable  # type: ignore[union-attr]

    def guard_attribute(self, t: Tensor, what: str, value: Any) -> None:
        """The trace relies on an attribute of a captured tensor or argument. It must be the same at
        each call.
        """
        source = self._by_twin.get(id(t))
        if source is None or source.tensor is None:
            return
        guard = source, what, value
        if (what != "_grad_fn" or t._node is source.node) and guard not in self.attribute_guards:
            self.attribute_guards.append(guard)

    def original(self, t: Tensor) -> Tensor | None:
        """The concrete tensor whose twin `t` is; None if it is no twin."""
        source = self._by_twin.get(id(t))
        return None if source is None else source.tensor

    def read_grad(self, twin: Tensor) -> None:
        """The function reads `.grad`. If it has not replaced it, the presence of `.grad` before
        the call becomes a guard.
        """
        source = self._by_twin.get(id(twin))
        if source is not None and id(twin) not in self._replaced:
            self.grads_seen.add(id(source.tensor))

    def replace_grad(self, twin: Tensor) -> None:
        """The function sets `.grad`: the one from before the call no longer matters."""
        self._replaced.add(id(twin))

    def hyper(self, group: dict, key: str) -> Any:
        """An optimizer's setting as a 0-d tensor that is read at every call."""
        value = dict.__getitem__(group, key)  # without a guard
        if isinstance(value, Tensor) or type(value) is Scalar:
            return group[key]  # with one: it may be a number later
        if self.observer is not None and self.observer.has_set(group, key):
            return value
        setting = self._hyper.get((id(group), key))
        if setting is None:
            node = input_node((), float64, key)
            setting = Input(node, "hyper", (group, key), None, traced(node))
            self._hyper[id(group), key] = setting
            self.inputs.append(setting)
            self._numbers[node] = np.asarray(float(value))
        return setting.twin

    def concrete(self, t: Tensor, what: str, instead: str = LOOK_OUTSIDE) -> np.ndarray:
        """The array of a traced tensor, for Python: refused; `instead` says what to do."""
        raise refusal(what, self._node_of(t), instead)

    def read(self, t: Tensor, what: str) -> list[Any]:
        """The elements of a traced tensor, in a row, as numbers for Python."""
        return self.values.read(self._node_of(t), what)

    def mark(self, t: Tensor, spec: str) -> str | None:
        """What stands for a tensor in a text that is printed; None for another text."""
        return texts.mark(self.scalar_log.texts, t, spec)

    def computed(
        self, function: Callable, tensors: list[Tensor], what: str, instead: str
    ) -> list[Tensor]:
        """Tensors that NumPy computes from values, and whose shapes depend on them."""
        nodes = [self._node_of(t) for t in tensors]
        return self.values.compute(function, nodes, what, instead, self.inputs)

    def _node_of(self, t: Tensor) -> Node:
        node = (self.twin(t) if t._node is None else t)._node
        assert node is not None
        return node

    def stream(self, generator: Any) -> Stream:
        """The Stream of a generator."""
        stream = self.streams.get(id(generator))
        if stream is None:
            state = np.array([signed(v) for v in generator._state], np.int64)
            node = input_node((2,), int64, "random")
            source = Input(node, "random", generator, None, traced(node))
            self.inputs.append(source)
            self._numbers[node] = state
            stream = self.streams[id(generator)] = Stream(generator, source)
        return stream

    def refuse_random(self, what: str) -> None:
        raise RuntimeError(
            f"{what}: the state of a generator is not known while a function is compiled (line "
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

    # ---- what the driver asks at the end
    def input_of(self, twin: Tensor) -> Input | None:
        """The input whose twin this is."""
        return self._by_twin.get(id(twin))

    def entered(self, t: Tensor) -> Input | None:
        """The input that a concrete tensor became."""
        return self._by_id.get(id(t))

    def grad_of(self, t: Tensor) -> Tensor | None:
        """The tensor whose `.grad` at entry a concrete tensor is."""
        return self._owner_of_grad.get(id(t))

    def identities(self, guarded: set[int]) -> Iterator[tuple[Any, Any]]:
        """Pairs that must be one object at each call: an input and a tensor that a guard requires
        (`guarded` has their ids); a location and the input of the tensor there.
        """
        for i in self.inputs:
            if i.kind != "tensor" and id(i.tensor) in guarded:
                yield i, i.tensor
        for location, t in self.tensors_at:
            entered = self.entered(t)
            if entered is not None and entered.key is not location:
                yield location, entered

    def identical_grads(self) -> Iterator[tuple[Input, Input]]:
        """Pairs of an input and the input that is its `.grad`, though not as kind 'grad'."""
        for i in self.inputs:
            owner = self.grad_of(i.tensor)
            if owner is not None and i.kind != "grad":
                yield self._by_id[id(owner)], i

    def mutated(self) -> list[Input]:
        """Inputs that were changed in place."""
        return [i for i in self.inputs if i.twin._node is not i.node]

    def inputs_with_new_grad(self) -> list[Input]:
        """Inputs whose `.grad` is now another tensor, or None."""
        out = []
        for i in self.inputs:
            forgotten = id(i.twin) in self._replaced and i.twin._grad is None
            if i.tensor is None or (i.twin._grad is i.tensor._grad and not forgotten):
                continue
            entered = self._by_id.get(id(i.tensor._grad)) if i.tensor._grad is not None else None
            if entered is None or i.twin._grad is not entered.twin:
                out.append(i)
        return out

    def inputs_with_read_grad(self) -> list[Input]:
        """Inputs on the presence of whose `.grad` the trace depends."""
        new = (i for i in self.inputs_with_new_grad() if id(i.twin) not in self._replaced)
        accumulated = {id(i.tensor) for i in new}
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
