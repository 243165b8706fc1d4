"""Differentiating a compiled call where its backward program cannot: for a gradient that is itself
to be differentiated, or that is wanted inside `vmap` or another trace.

The user's function is run again, on the autograd graph, where the operations say what `detach`,
`no_grad` and a Function's own backward mean for higher derivatives; a graph of Nodes has forgotten
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..ir.dtype import float32
from ..tracer.autograd.backward import backpropagate
from ..tracer.autograd.graph import edge
from ..tracer.capture.guards import Guard
from ..tracer.capture.signature import leaves, rebuild
from ..tracer.capture.trace import Input
from ..tracer.mode import enable_grad, mode, resolve
from ..tracer.tensor.tensor import Tensor, wrap
from .outputs import Aliased, Returned, aliased
from .scene import Scene

_HOLE = wrap(np.zeros(()), float32)  # where a tensor of the call stands


@contextmanager
def _outside() -> Iterator[None]:
    """Within it nothing is traced or mapped: so it was at the call."""
    inside, mode.trace = mode.trace, None
    try:
        yield
    finally:
        mode.trace = inside


class Rerun:
    """A traced function, to be run on the tensors of one of its calls.

    `call` is the function with its arguments, `answer` what it returns, in the terms of
    outputs.py; `scene` what a call found; `why_not` says what forbids to run it again.
    """

    def __init__(
        self, call: tuple[Callable, tuple, dict], answer: Any, scene: Scene, why_not: str
    ):
        self.function, *given = call
        self.structure, self.why_not = rebuild(tuple(given), lambda _: _HOLE), why_not
        self.scene = scene
        self.locations: dict[int, tuple[int, bool]] = {}  # of the outputs: which leaf, or its root
        for k, x in enumerate(leaves(answer)):
            if isinstance(x, Returned):
                self.locations[x.index] = k, True
            elif isinstance(x, Aliased) and isinstance(x.root, Returned):
                if all(recorded for _, recorded in x.steps):
                    self.locations.setdefault(x.root.index, (k, False))

    def gradients(
        self, call: Any, changes: Iterable[Guard], parts: dict[int, Any], wanted: Sequence[Input]
    ) -> tuple[Tensor | None, ...]:
        """The cotangents of the wanted inputs of a CompiledCall, given those of the outputs by
        number.
        """
        if self.why_not:
            raise RuntimeError(
                "a gradient through a compiled function that is differentiated again, or taken "
                f"inside vmap, needs to run the function again, and this one {self.why_not}; take "
                "the gradient inside the compiled function, or run it eagerly"
            )
        with self.scene.again(call, changes) as there, enable_grad(), _outside():
            waiting, every = iter(call.arguments), iter(call.numbers)
            args, kwargs = rebuild(self.structure, lambda _: next(waiting), lambda _: next(every))
            answer = leaves(self.function(*args, **kwargs))
            made = {k: self.made(k, answer)._grad_fn for k in parts}
        roots = [(fn, resolve(parts[k])) for k, fn in made.items() if fn is not None]
        targets = [
            edge(call.arguments[i.key] if i.kind == "argument" else there.get(i, i.tensor))
            for i in wanted
        ]
        return tuple(backpropagate(roots, targets, mode.grad, mode.grad, stop=True))

    def made(self, output: int, answer: list) -> Tensor:
        """The tensor that the program has for an output, in a new answer of the function."""
        k, itself = self.locations[output]
        y = resolve(answer[k])
        return y if itself else aliased(y)[0]
