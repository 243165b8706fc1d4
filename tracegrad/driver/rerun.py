"""The derivative of a compiled call where its backward program is not enough: a gradient that is
itself differentiated, or that is taken inside `vmap` or another trace, or with hooks that have side
effects.

The user's function is run again, on the autograd graph. There `detach`, `no_grad` and the backward
of a Function have their meaning for higher derivatives. A graph of nodes does not keep it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..ir.dtype import float32
from ..tracer.autograd.backward import backpropagate
from ..tracer.autograd.graph import edge
from ..tracer.capture.guards import Guard
from ..tracer.capture.inputs import Input
from ..tracer.capture.signature import leaves, rebuild
from ..tracer.mode import FixedGradMode, casting, in_trace, mode, recording_mode, resolve
from ..tracer.tensor.tensor import Tensor, wrap
from .outputs import Aliased, Returned, aliased
from .snapshot import SnapshotPlan

_PLACEHOLDER = wrap(np.zeros(()), float32)  # for a tensor among the arguments


class Rerun:
    """A traced function, to be run again on the tensors of one of its calls.

    call: the function with its arguments; result: what it returns, in the classes of outputs.py;
    rerun_obstacle: why it cannot be run again, or empty.
    """

    def __init__(
        self, call: tuple[Callable, tuple, dict], result: Any, snapshot_plan: SnapshotPlan,
        rerun_obstacle: str,
    ):
        self.function, *arguments = call
        self.grad_mode, self.autocast = recording_mode(), mode.autocast
        self.structure = rebuild(tuple(arguments), lambda _: _PLACEHOLDER)
        self.snapshot_plan, self.rerun_obstacle = snapshot_plan, rerun_obstacle
        # by output: the number of a leaf of the result; whether it is the output, or a view of it
        self.locations: dict[int, tuple[int, bool]] = {}
        for k, x in enumerate(leaves(result)):
            if isinstance(x, Returned):
                self.locations[x.index] = k, True
            elif isinstance(x, Aliased) and isinstance(x.root, Returned):
                if all(recorded for _, recorded in x.steps):
                    self.locations.setdefault(x.root.index, (k, False))

    def gradients(
        self, call: Any, changes: Iterable[Guard], parts: dict[int, Any], wanted: Sequence[Input]
    ) -> tuple[Tensor | None, ...]:
        """The cotangents of the wanted inputs of a CompiledCall, from those of the outputs, by
        number.
        """
        if self.rerun_obstacle:
            raise RuntimeError(
                "a gradient through a compiled function that is differentiated again, or taken "
                "inside vmap, needs to run the function again, and this one "
                f"{self.rerun_obstacle}; take the gradient inside the compiled function, or run it "
                "eagerly"
            )
        with self.snapshot_plan.restored(call, changes) as tensors, in_trace(None), \
                FixedGradMode(self.grad_mode), casting(self.autocast):
            waiting, every = iter(call.arguments), iter(call.numbers)
            args, kwargs = rebuild(self.structure, lambda _: next(waiting), lambda _: next(every))
            results = leaves(self.function(*args, **kwargs))
            nodes = {k: self.output_in(k, results)._grad_fn for k in parts}
        roots = [(fn, resolve(parts[k])) for k, fn in nodes.items() if fn is not None]
        targets = [
            edge(call.arguments[i.key] if i.kind == "argument" else tensors.get(i, i.tensor))
            for i in wanted
        ]
        again = bool(mode.grad)
        return tuple(backpropagate(roots, targets, again, again, stop=True))

    def output_in(self, output: int, results: list) -> Tensor:
        """The tensor of an output in a new result of the function."""
        k, is_output = self.locations[output]
        y = resolve(results[k])
        return y if is_output else aliased(y)[0]
