"""A gate on the gradient tape: several tensors pass unchanged, and their gradients through a
function of the user's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..mode import live
from ..tensor.tensor import Tensor
from .graph import Bundle, GradFn, Part, edge
from .transform import bare

Grads = tuple[Tensor | None, ...]


class Gate(GradFn):
    """The record; `function` takes the gradients of all that passed, None where there is none."""

    __slots__ = ("function",)

    def __init__(self, edges: tuple[GradFn | None, ...], function: Callable[[Grads], Grads]):
        super().__init__("BackwardHookFunctionBackward", edges)
        self.function = function

    def arrive(self, g: Any) -> Any:
        return g

    def apply(self, g: Bundle) -> Grads:  # type: ignore[override]
        return self.function(tuple(g.parts.get(k) for k in range(len(self.edges))))


def gated(values: Sequence[Any], function: Callable[[Grads], Grads]) -> list[Any] | None:
    """The values, tensors among them, behind a gate; None where no gradient would pass it."""
    edges = tuple(edge(live(v)) if isinstance(v, Tensor) else None for v in values)
    if all(e is None for e in edges):
        return None
    record = Gate(edges, function)
    passed = list(values)
    for k, e in enumerate(edges):
        if e is not None:
            y = passed[k] = bare(live(values[k]))
            y._grad_fn, y._requires_grad = Part(record, k), True
    return passed
