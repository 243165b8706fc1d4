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


def total(T: Any, tensors: Sequence) -> Any:
    """A weighted sum of all that has a history; the weights go by place."""
    found = 0.0
    for k, y in enumerate(tensors):
        if y is not None and y.requires_grad:
            wild = T.arange(y.numel(), dtype=T.float64).reshape(y.shape) * (2 * k + 3) % 7
            found = found + (y.to(T.float64) * ((wild + 1) / 4)).sum()
    return found


def first(T: Any, outputs: Sequence, inputs: Sequence) -> list:
    return list(T.autograd.grad(total(T, outputs), inputs, create_graph=True, allow_unused=True))


def second(T: Any, gradients: Sequence, inputs: Sequence) -> list:
    summed = total(T, gradients)
    if isinstance(summed, float):
        return [None] * len(inputs)
    return list(T.autograd.grad(summed, inputs, allow_unused=True))
