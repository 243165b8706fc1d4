"""Gradients of a program, in either library: of a weighted sum of its results with respect to its
inputs, and of a weighted sum of those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .program import Program


def smooth(program: Program, env: dict[str, Any]) -> list[str]:
    """The results that have a history."""
    inputs = {i.name for i in program.inputs}
    found = []
    for name in program.names:
        if name not in inputs and getattr(env[name], "requires_grad", False):
            found.append(name)
    return found


def weighted(T: Any, tensors: Sequence) -> list:
    """Those with a history, as doubles times weights that go by place."""
    found = []
    for k, y in enumerate(tensors):
        if y is not None and y.requires_grad:
            wild = T.arange(y.numel(), dtype=T.float64).reshape(y.shape) * (2 * k + 3) % 7
            found.append(y.to(T.float64) * ((wild + 1) / 4))
    return found


def total(T: Any, tensors: Sequence) -> Any:
    """A weighted sum of all that has a history."""
    return sum((y.sum() for y in weighted(T, tensors)), 0.0)


def first(T: Any, outputs: Sequence, inputs: Sequence) -> list:
    return list(T.autograd.grad(total(T, outputs), inputs, create_graph=True, allow_unused=True))


def second(T: Any, gradients: Sequence, inputs: Sequence) -> list:
    summed = total(T, gradients)
    if isinstance(summed, float):
        return [None] * len(inputs)
    return list(T.autograd.grad(summed, inputs, allow_unused=True))
