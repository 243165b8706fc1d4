"""The records that compiled calls leave on the gradient tape, and what backward does at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .compile_autograd import Derivative
from .runtime.executable import address
from .tracer.mode import mode
from .tracer.tape import FREED, AccumulateGrad, Bundle, GradFn, edge
from .tracer.tensor import Tensor

TITLE = "CompiledFunctionBackward"


class Spent(GradFn):
    """The record of an output whose graph was used up inside the compiled function; shared by all
    calls.
    """

    __slots__ = ()

    def __init__(self, title: str):
        super().__init__(title, ())

    def apply(self, g: Tensor) -> tuple[Any, ...]:
        raise RuntimeError(FREED)


def spent(fn: GradFn | None) -> bool:
    """Whether backward went through here already and let the saved values go."""
    stack, looked = [fn], set()
    while stack:
        f = stack.pop()
        if f is None or f in looked:
            continue
        looked.add(f)
        if getattr(f, "freed", False):
            return True
        stack.extend(f.edges)
    return False


def located(t: Tensor) -> int:
    """The address of a tensor's data."""
    if not t._ptr:
        t._ptr = address(t._array)
    return t._ptr


class CompiledCall(GradFn):
    """The record of one compiled call: what it saved, and the tensors it came from. Where the call
    has one output to differentiate, this is that output's record.

    saved, pointers: buffers of the forward program and their addresses; kept: tensors it read;
    arguments: the tensors of the call.
    """

    __slots__ = ("arguments", "arrays", "derivative", "freed", "pointers", "versions")

    def __init__(
        self,
        derivative: Derivative,
        inputs: list[Tensor],
        saved: list[np.ndarray],
        pointers: list[int],
        kept: list[Tensor],
        arguments: Sequence[Tensor],
    ):
        super().__init__(TITLE, tuple([edge(t) for t in inputs]))
        self.arguments = arguments
        self.derivative, self.freed = derivative, False
        self.arrays = saved + [t._array for t in kept]
        self.pointers = pointers + [located(t) for t in kept]
        self.versions = [(t._version, t._version[0]) for t in kept]

    def arrive(self, g: Any) -> Any:
        return g if isinstance(g, Bundle) else super().arrive(g)

    def check(self) -> None:
        """Raise what backward raises if the saved values are gone or were changed since."""
        if self.freed:
            raise RuntimeError(FREED)
        for k, (box, version) in enumerate(self.versions, len(self.arrays) - len(self.versions)):
            if box[0] != version:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an "
                    f"inplace operation: a tensor of shape {list(self.arrays[k].shape)}, used by a "
                    f"compiled function, is at version {box[0]}; expected version {version} "
                    "instead."
                )

    def apply(self, g: Any) -> tuple[Tensor | None, ...]:
        self.check()
        d = self.derivative
        parts = g.parts if isinstance(g, Bundle) else {0: g}
        if mode.grad or mode.trace is not None:
            by_output = {d.outputs[k]: part for k, part in parts.items()}
            return d.rerun.gradients(self.arguments, by_output, d.wanted)
        seeds = []
        for k in d.used_seeds:
            part, y = parts.get(k), d.seeds[k]
            seeds.append(
                np.zeros(tuple(y.shape), y.dtype.storage)
                if part is None
                else np.ascontiguousarray(part._array)
            )
        return tuple(d.run(self.pointers + [address(seed) for seed in seeds]))

    def descend(self, keep: bool) -> bool:
        if self.prehooks or self.posthooks or self.retainers or mode.trace is not None:
            return False
        for e in self.edges:
            if type(e) is not AccumulateGrad or e.prehooks or e.retainers or e.variable._hooks:
                return False
        self.check()
        d = self.derivative
        gradients = d.run(self.pointers + d.unit[: len(d.used_seeds)])
        for e, g in zip(self.edges, gradients, strict=True):
            x = e.variable  # type: ignore[union-attr]
            if x._grad is None:
                x._grad = g
            elif x._grad._requires_grad:
                x._grad = x._grad + g
            else:
                x._grad.add_(g)
        if not keep:
            self.release()
        return True

    def release(self) -> None:
        self.freed, self.arrays, self.pointers, self.arguments = True, [], [], ()
