"""Module backward hooks: tensors pass unchanged, and their gradients through a function of the
user.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..tensor.masked_selection import settle
from ..tensor.tensor import Tensor
from .graph import GradFn, OutputGradients, OutputNode, edge
from .transform import detached_alias

Grads = tuple[Tensor | None, ...]


class BackwardHookNode(GradFn):
    """The autograd node. `function` takes the gradients of all tensors, None where there is none.
    """

    __slots__ = ("function",)

    def __init__(self, edges: tuple[GradFn | None, ...], function: Callable[[Grads], Grads]):
        super().__init__("BackwardHookFunctionBackward", edges)
        self.function = function

    def run_prehooks(self, g: Any) -> Any:
        return g

    def apply(self, g: OutputGradients) -> Grads:  # type: ignore[override]
        return self.function(tuple(g.by_output.get(k) for k in range(len(self.edges))))


def with_backward_hook(
    values: Sequence[Any], function: Callable[[Grads], Grads]
) -> list[Any] | None:
    """The values, tensors among them, behind such a node. None if no tensor requires grad."""
    edges = tuple(edge(settle(v)) if isinstance(v, Tensor) else None for v in values)
    if all(e is None for e in edges):
        return None
    node = BackwardHookNode(edges, function)
    results = list(values)
    for k, e in enumerate(edges):
        if e is not None:
            y = results[k] = detached_alias(settle(values[k]))
            y._grad_fn, y._requires_grad = OutputNode(node, k), True
    return results
