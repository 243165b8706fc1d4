"""Tensors from outside that the function of a loop or a branch has written in place.

They are further carries of a loop, and further results of a branch, and are written after it.
"""

from __future__ import annotations

from ..mode import resolve
from ..tensor.tensor import Tensor
from ..tensor.views import base_and_path
from .body import BodyTrace, Capture, NoLoop


def written(trace: BodyTrace) -> list[Capture]:
    """The written ones. Raises NoLoop for writes that cannot be done after the loop or branch."""
    values = [c for c in trace.captures if c.changed]
    for c in values:
        if c.twin.shape != c.payload.shape or c.twin._dtype is not c.payload.dtype:
            raise NoLoop("the function changes the shape of a tensor from outside")
        if c.twin._requires_grad and c.twin._grad_fn is not c.entry_fn:
            raise NoLoop("the function writes values with a history into a tensor from outside")
    if values:
        roots = [id(_root(trace, c.tensor)) for c in trace.captures]
        if any(roots.count(id(_root(trace, c.tensor))) > 1 for c in values):
            raise NoLoop("the function writes a tensor of which it uses a view")
    return values


def _root(trace: BodyTrace, t: Tensor) -> Tensor:
    with trace.around():
        return base_and_path(resolve(t))[0]
