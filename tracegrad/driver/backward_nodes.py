"""The autograd nodes that compiled calls leave, and what backward does at them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..tracer.autograd.backward_pass import add_to
from ..tracer.autograd.graph import AccumulateGrad, GradFn, OutputGradients, OutputNode, edge
from ..tracer.autograd.node_classes import FREED
from ..tracer.capture.inputs import Input
from ..tracer.change_counter import tensor_changed
from ..tracer.mode import mode, sequence_numbers
from ..tracer.tensor.data_changes import changed_since
from ..tracer.tensor.device_memory import contiguous
from ..tracer.tensor.gradient_layout import to_layout
from ..tracer.tensor.inplace import take_history
from ..tracer.tensor.tensor import RemovableHandle, Tensor, wrap
from .backward_programs import Derivative, reachable_nodes
from .places import address

TITLE = "CompiledFunctionBackward"
_USER = "a compiled function"
_NONE: frozenset[int] = frozenset()
copied: Callable[[list], list] = list.copy
NO_GRAPH = (
    "{what} of a result of a compiled function: another result of the same call was computed from "
    "it, and between the two there is no graph. Compute the other outside of the compiled "
    "function, or take the gradient inside of it"
)


class FreedOutput(GradFn):
    """The autograd node of an output, computed from `inputs`, that backward cannot go through."""

    __slots__ = ("why",)

    def __init__(self, title: str, why: str, inputs: list[Tensor]):
        super().__init__(title, tuple(map(edge, inputs)))
        self.why = why

    def apply(self, g: Tensor) -> tuple[Any, ...]:
        raise RuntimeError(self.why)


def is_freed(fn: GradFn | None) -> bool:
    """Whether backward went through here already and freed the saved values."""
    stack, seen = [fn], set()
    while stack:
        f = stack.pop()
        if f is None or f in seen:
            continue
        seen.add(f)
        if getattr(f, "freed", False):
            return True
        stack.extend(f.edges)
    return False


class Output(OutputNode):
    """The autograd node of one of several outputs of a compiled call.

    Gradients of other outputs that were computed from this one inside the call do not pass here.
    So hooks and `retain_grad()` are refused then.
    """

    __slots__ = ()

    @property
    def users(self) -> frozenset[int]:
        whole: Any = self.edges[0]
        return whole.derivative.users[self.index]

    def check_target(self, roots: Iterable[GradFn]) -> None:
        if self.users:
            below = (f for f in reachable_nodes(*roots) if isinstance(f, Output))
            if any(f.edges == self.edges and f.index in self.users for f in below):
                raise RuntimeError(NO_GRAPH.format(what="the gradient"))

    def register_gradient_hook(self, hook: Callable) -> RemovableHandle:
        if self.users:
            raise RuntimeError(NO_GRAPH.format(what="a hook"))
        return super().register_gradient_hook(hook)

    def register_hook(self, hook: Callable) -> RemovableHandle:
        if self.users:
            raise RuntimeError(NO_GRAPH.format(what="a hook"))
        return super().register_hook(hook)

    def retain(self, t: Tensor) -> None:
        if self.users:
            raise RuntimeError(NO_GRAPH.format(what="retain_grad()"))
        super().retain(t)


def data_address(t: Tensor) -> int:
    """The address of a tensor's data."""
    if not t._ptr:
        t._ptr = address(t._array)
    return t._ptr


def stand_in(t: Tensor, array: Any) -> Tensor:
    """A copy of a tensor on another device; a later change of the tensor is noticed there."""
    new = wrap(array, t._dtype)
    new._version = t._version
    return new


def take_over(t: Tensor, node: GradFn) -> None:
    """A call has changed `t` in place: from now on its history is `node`."""
    new = wrap(t._array, t._dtype, True)
    new._grad_fn = node
    take_history(t, new)
    tensor_changed(t)


class CompiledCall(GradFn):
    """The autograd node of one compiled call: what it saved, and the tensors it came from.

    If the call has one differentiable output, this is the node of that output.

    saved, pointers: buffers of the forward program and their addresses; kept: tensors it read;
    arguments, numbers: the tensors and the numbers of the call; snapshot: see snapshot.py.
    """

    __slots__ = (
        "arguments", "arrays", "counters", "derivative", "freed", "numbers", "pointers", "snapshot",
        "versions", "walked",
    )

    def __init__(
        self,
        derivative: Derivative,
        inputs: list[Tensor],
        saved: list[np.ndarray],
        pointers: list[int],
        kept: list[Tensor],
        arguments: Sequence[Tensor],
        numbers: Sequence[Any],
        snapshot: Any,
    ):
        self.title, self.edges = TITLE, tuple([edge(t) for t in inputs])
        self.sequence, self.retainers = next(sequence_numbers), ()  # as GradFn's, without a call
        self.composite = self.prehooks = self.posthooks = self.metadata_ = None
        self.arguments, self.numbers, self.snapshot = arguments, numbers, snapshot
        self.derivative = derivative
        self.walked = self.freed = _NONE  # outputs: those of the last backward; freed ones
        self.arrays = saved + [t._array for t in kept]
        self.pointers = pointers + [t._ptr or data_address(t) for t in kept]
        self.counters = [t._version for t in kept]
        self.versions = [*map(copied, self.counters)]

    def run_prehooks(self, g: Any) -> Any:
        return g if isinstance(g, OutputGradients) else super().run_prehooks(g)

    def check(self, starts: frozenset[int]) -> None:
        """Raise what backward raises for saved values that were freed, or changed since."""
        if self.freed and not self.freed.isdisjoint(starts):
            raise RuntimeError(FREED)
        self.walked = starts
        if self.counters != self.versions:
            kept = self.arrays[len(self.arrays) - len(self.versions) :]
            for array, counter, version in zip(kept, self.counters, self.versions, strict=True):
                if counter != version:
                    raise changed_since(array.shape, counter, version, _USER)
        for t, array, version in self.snapshot[-1]:  # not kept here, but torch may have saved them
            if t._version[1:] != version[1:]:
                raise changed_since(array.shape, version[:1] + t._version[1:], version, _USER)

    def has_saved_values(self) -> bool:
        return bool(self.arrays)

    def kept(self) -> Iterable[tuple[Input, np.ndarray]]:
        """The inputs that it keeps, each with its array at the call."""
        inputs = self.derivative.kept_inputs
        return zip(inputs, self.arrays[len(self.arrays) - len(inputs) :], strict=True)

    def apply(self, g: Any) -> tuple[Tensor | None, ...]:
        d = self.derivative
        parts = g.by_output if isinstance(g, OutputGradients) else {0: g}
        starts = d.all_outputs if len(parts) == len(d.all_outputs) else frozenset(parts)
        self.check(starts)
        if not (mode.grad or mode.trace is not None or d.needs_rerun()):
            seeds = [d.bring(contiguous(parts[k]._array)) for k in sorted(starts)]
            return tuple(d.run(starts, self.pointers + [address(seed) for seed in seeds]))
        by_output = {d.outputs[k]: part for k, part in parts.items()}
        return d.rerun.gradients(self, d.changed(), by_output, d.wanted)

    def run_fast_backward(self, keep: bool) -> bool:
        if self.prehooks or self.posthooks or self.retainers:
            return False
        if mode.trace is not None or mode.anomaly or self.derivative.hooked:
            return False
        for e in self.edges:
            if type(e) is not AccumulateGrad or e.prehooks or e.retainers or e.variable._hooks:
                return False
        d = self.derivative
        self.check(d.all_outputs)
        for e, g in zip(self.edges, d.run(d.all_outputs, self.pointers + d.unit), strict=True):
            x: Any = e.variable  # type: ignore[union-attr]
            if x._grad is None:
                usual = x._array.flags.c_contiguous  # as what a program makes
                x._grad = g if usual else to_layout(g, x._array)  # type: ignore[arg-type]
            elif x._grad._requires_grad:
                x._grad = to_layout(x._grad + g, x._array)
            else:
                add_to(x._grad, g)  # type: ignore[arg-type]
        if not keep:
            self.release()
        return True

    def release(self) -> None:
        """Mark what the last backward frees. Release the memory once all outputs are freed."""
        d = self.derivative
        for k in self.walked:
            self.freed |= d.frees[k]
        if len(self.freed) == len(d.all_outputs):
            self.arrays, self.pointers, self.arguments, self.snapshot = [], [], (), None
