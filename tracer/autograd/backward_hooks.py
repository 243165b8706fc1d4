"""A gate on the gradient tape: several tensors pass unchanged, and their gradients through a
function of the user's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..mode import resolve
from ..tensor.tensor import Tensor
from .graph import GradFn, OutputGradients, OutputNode, edge
from .transform import detached_alias

Grads = tuple[Tensor | None, ...]


class BackwardHookNode(GradFn):
    """The record; `function` takes the gradients of all that passed, None where there is none."""

    __slots__ = ("function",)

    def __init__(self, edges: tuple[GradFn | None, ...], function: Callable[[Grads], Grads]):
        super().__init__("BackwardHookFunctionBackward", edges)
        self.function = function

    def run_prehooks(self, g: Any) -> Any:
        return g

    def apply(self, g: OutputGradients) -> Grads:  # type: ignore[override]
        return self.function(tuple(g.parts.get(k) for k in range(len(self.edges))))


def with_backward_hook(
    values: Sequence[Any], function: Callable[[Grads], Grads]
) -> list[Any] | None:
    """The values, tensors among them, behind a gate; None where no gradient would pass it."""
    edges = tuple(edge(resolve(v)) if isinstance(v, Tensor) else None for v in values)
    if all(e is None for e in edges):
        return None
    record = BackwardHookNode(edges, function)
    passed = list(values)
    for k, e in enumerate(edges):
        if e is not None:
            y = passed[k] = detached_alias(resolve(values[k]))
            y._grad_fn, y._requires_grad = OutputNode(record, k), True
    return passed
