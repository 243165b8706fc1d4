"""Tensors inside `vmap`.

Inside, the payload of a Tensor is a Batched. It holds the values of all examples as one outer
tensor, with the examples along its first axis. A primitive is applied by its batching rule to the
outer tensors. So batched computation can be differentiated, traced and batched again. `no_grad` and
`detach` mean the same inside and outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from ...ir.dtype import DType, int64
from ...ir.op import OpDef
from ...ir.ops.source import iota
from ...ir.value import Value
from ..mode import in_trace, mode, resolve
from ..signals import untraced_handlers
from ..tensor.device import device
from ..tensor.device_memory import host
from ..tensor.dispatch import bind, number
from ..tensor.inplace import is_read_only, overwrite
from ..tensor.placement import placed
from ..tensor.tensor import Tensor, leaked_tensor_error, traced, wrap
from .batching_rules import apply_batched

_BRANCH = (
    "vmap: the function reads the value of a mapped tensor ({what}), which differs between the "
    "examples. Data-dependent control flow is not supported under vmap: use where() instead of "
    "`if`."
)


class Batched(Value):
    """The payload of a tensor inside `vmap`.

    It has the shape and dtype of one example. `value` holds all examples along its first axis if
    `mapped`; otherwise it is the same for all examples.
    """

    __slots__ = ("dtype", "mapped", "shape", "trace", "value")
    inside = "vmap"  # for messages

    def __init__(self, trace: BatchTrace, value: Tensor, mapped: bool):
        shape = tuple(value.shape)
        self.trace, self.value, self.mapped = trace, value, mapped
        self.shape, self.dtype = shape[1:] if mapped else shape, value._dtype

    @classmethod
    def bind(cls, op: OpDef, inputs: tuple, params: dict) -> Batched:
        trace = next((x.trace for x in inputs if isinstance(x, Batched)), mode.trace)
        operands = [x if isinstance(x, Batched) else trace.number_like(x, inputs) for x in inputs]
        return trace.apply(op, operands, params)


class _Stream:
    """A generator inside `vmap`. Examples draw different numbers, or all the same."""

    def __init__(self, trace: BatchTrace, generator: Any):
        self.trace, self.generator = trace, generator

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """The seed and the position of the next `count` numbers of one example."""
        trace = self.trace
        if trace.randomness == "error":
            raise RuntimeError(
                "vmap: called random operation while in randomness error mode. Please either use "
                "the 'same' or 'different' randomness flags on vmap or perform the randomness "
                "operation out of vmap"
            )
        different = trace.randomness == "different"
        with trace.outside():
            seed, start = self.generator.draw(count * trace.size if different else count)
            if different:
                number = bind(iota, (), {"shape": (trace.size,), "dtype": int64})
                start = start + number * count
        payloads = Batched(trace, seed, False), Batched(trace, start, different)
        return traced(payloads[0]), traced(payloads[1])  # type: ignore[arg-type]

    def mark(self) -> Any:
        """The state of the stream, for `restart`."""
        with self.trace.outside():
            return self.generator.get_state()

    def restart(self, place: Any) -> None:
        """Go on from a place that `mark` gave, or from (seed, 0)."""
        with self.trace.outside():
            if isinstance(place, tuple) and place[1] == 0 and place[0] is not None:
                self.generator.manual_seed(place[0])
            else:
                self.generator.set_state(place)


class BatchTrace:
    """One running `vmap`. `outer` is the trace around it; None if that is eager."""

    def __init__(self, size: int, randomness: str = "error"):
        self.size, self.randomness, self.outer = size, randomness, mode.trace
        self.open = True
        self.differentiated_outside = self.outer is not None and self.outer.differentiated_outside
        self.mapped: list[tuple[Tensor, Tensor, Batched]] = []
        self._twins: dict[int, tuple[Tensor, Tensor, Batched]] = {}

    # ---- the interface of a trace
    def apply(self, op: OpDef, operands: Any, params: dict) -> Batched:
        """Apply the primitive to all examples."""
        values, mapped = [x.value for x in operands], [x.mapped for x in operands]
        mode.trace = self.outer
        try:
            if any(mapped):
                return Batched(self, apply_batched(op, self.size, values, mapped, params), True)
            return Batched(self, bind(op, tuple(values), params), False)
        finally:
            mode.trace = self

    def guard_attribute(self, t: Tensor, what: str, value: Any) -> None:
        """Do nothing: batched code runs once, so attributes need no guards."""

    def original(self, t: Tensor) -> None:
        """None: no batched tensor stands for a concrete leaf."""

    def number(self, value: Any, dtype: DType) -> Batched:
        """A Python number, the same for all examples."""
        with self.outside():
            return Batched(self, number(value, dtype), False)

    def number_like(self, x: Any, inputs: tuple) -> Batched:
        """A Python number in the dtype of the other operands."""
        like = next(v for v in inputs if isinstance(v, Batched) and v.dtype.kind != "bool")
        return self.number(x, like.dtype)

    def traced_for(self, t: Tensor) -> Tensor:
        """`t` itself if it is from inside, otherwise its twin."""
        node = t._node
        if type(node) is Batched:
            if node.trace is self:
                return t
            if not node.trace.open:
                raise leaked_tensor_error(t)
        return self.twin(t)

    def twin(self, t: Tensor) -> Tensor:
        """The tensor inside for a tensor from outside, which is the same for all examples."""
        pair = self._twins.get(id(t))
        if pair is None:
            pair = self._twins[id(t)] = self._enter(t, t, False)
        return pair[1]

    def enter(self, t: Tensor, examples: Tensor) -> Tensor:
        """One example of a mapped input `t`. The first axis of `examples` counts the examples."""
        pair = self._enter(t, examples, True)
        self.mapped.append(pair)
        return pair[1]

    def _enter(self, t: Tensor, value: Tensor, mapped: bool) -> tuple[Tensor, Tensor, Batched]:
        one = self.example(value, mapped)
        return t, one, one._node

    def example(self, value: Tensor, mapped: bool) -> Tensor:
        """The tensor inside whose values for all examples are `value`."""
        with self.outside():
            value = resolve(value)
        self.differentiated_outside = self.differentiated_outside or value._requires_grad
        return traced(Batched(self, value, mapped))  # type: ignore[arg-type]

    def autograd_tensor(self, t: Tensor) -> Tensor:
        """`t` itself: a tensor from outside keeps its own autograd state."""
        return t

    def detached(self, payload: Batched) -> Batched:
        with self.outside():
            return Batched(self, payload.value.detach(), payload.mapped)

    def concrete(self, t: Tensor, what: str, *instead: str) -> np.ndarray:
        """The array of `t` for Python. It exists only if it is the same for all examples."""
        payload = self.traced_for(t)._node
        if payload.mapped:
            raise RuntimeError(_BRANCH.format(what=what))
        with self.outside():
            if mode.trace is not None:
                return mode.trace.concrete(payload.value, what, *instead)
            return host(payload.value._array)

    def read(self, t: Tensor, what: str) -> list[Any]:
        """The elements of `t` in a row, for Python."""
        payload = self.traced_for(t)._node
        with self.outside():
            if mode.trace is not None and not payload.mapped:
                return mode.trace.read(payload.value, what)
        return t._dtype.decode(self.concrete(t, what)).reshape(-1).tolist()

    def computed(
        self, function: Callable, tensors: list[Tensor], what: str, instead: str
    ) -> list[Tensor]:
        """Tensors that NumPy computes from values."""
        pairs = function(*(self.concrete(t, what, instead) for t in tensors))
        return [wrap(array, dtype) for array, dtype in pairs]

    def stream(self, generator: Any) -> _Stream:
        """The generator as it is used inside."""
        return _Stream(self, generator)

    def refuse_random(self, what: str) -> None:
        if self.outer is not None:
            self.outer.refuse_random(what)

    def hyper(self, group: dict, key: str) -> Any:
        return group[key]

    def read_grad(self, twin: Tensor) -> None:
        """Do nothing: `.grad` inside needs no guard."""

    replace_grad = read_grad

    made = None

    def layout(self, t: Tensor) -> None:
        """None: examples have no strides of their own."""

    def placed(self, t: Tensor, where: device) -> Tensor:
        """All examples of `t` on a device."""
        if self.device_of(t) == where:
            return t
        payload = self.traced_for(t)._node
        if payload.value._requires_grad:
            raise RuntimeError("vmap: move tensors to a device outside of it")
        with self.outside():
            value = placed(payload.value, where)
        return traced(Batched(self, value, payload.mapped))  # type: ignore[arg-type]

    def device_of(self, t: Tensor) -> device:
        """Where the examples of `t` are."""
        payload = t._node
        with self.outside():
            return payload.value.device if type(payload) is Batched else t.device

    def read_only(self, t: Tensor) -> bool:
        """Whether `t` stands for a tensor from outside with read-only memory."""
        outer = self.input_of(t)
        with self.outside():
            return outer is not None and is_read_only(resolve(outer))

    def input_of(self, twin: Tensor) -> Tensor | None:
        """The tensor from outside for which `twin` stands, or of which it is one example."""
        entered = (*self._twins.values(), *self.mapped)
        return next((x for x, one, _ in entered if one is twin), None)

    def outside(self) -> AbstractContextManager[None]:
        """Within it, operations run in the trace around this `vmap`."""
        return in_trace(self.outer)

    @contextmanager
    def within(self) -> Iterator[None]:
        """Within it, operations run in this `vmap`, which runs in the current trace: the function
        of a loop outside of the `vmap`, say. What is entered from there is forgotten.
        """
        outer, self.outer, twins = self.outer, mode.trace, dict(self._twins)
        mode.trace = self
        try:
            yield
        finally:
            mode.trace, self.outer, self._twins = self.outer, outer, twins

    # ---- for vmap
    def value(self, t: Tensor) -> tuple[Tensor, bool]:
        """The values of all examples of `t`, and whether they differ."""
        t = self.traced_for(t)
        if t._view is not None:
            t._view.refresh(t)
        return t._node.value, t._node.mapped

    def write_back(self) -> list[tuple[Tensor, Tensor]]:
        """Write in-place changes back to the tensors from outside.

        Returns (mapped input, its examples) for the mapped inputs that were changed; the caller
        writes these.
        """
        for t, twin, payload in self._twins.values():
            if twin._node is not payload:
                if twin._node.mapped:
                    raise RuntimeError(
                        "vmap: inplace arithmetic is not possible on a tensor of shape "
                        f"{list(t.shape)} that is not mapped, with values that differ between the "
                        "examples"
                    )
                overwrite(t, twin._node.value, "CopyBackwards")
        return [
            (t, one._node.value) for t, one, payload in self.mapped if one._node is not payload
        ]


@contextmanager
def batching(trace: BatchTrace) -> Iterator[BatchTrace]:
    """Within it, `trace` is the current trace."""
    with untraced_handlers():
        mode.trace = trace
        try:
            yield trace
        finally:
            mode.trace, trace.open = trace.outer, False
