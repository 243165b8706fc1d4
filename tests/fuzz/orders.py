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
    found = 0.0
    for k, y in enumerate(tensors):
        weights = (T.arange(y.numel(), dtype=T.float64).reshape(y.shape) * (2 * k + 3) % 7 + 1) / 4
        found = found + (y.to(T.float64) * weights).sum()
    return found


def first(T: Any, outputs: Sequence, inputs: Sequence) -> list:
    return list(T.autograd.grad(total(T, outputs), inputs, create_graph=True, allow_unused=True))


def second(T: Any, gradients: Sequence, inputs: Sequence) -> list:
    live = [g for g in gradients if g is not None and g.requires_grad]
    if not live:
        return [None] * len(inputs)
    return list(T.autograd.grad(total(T, live), inputs, allow_unused=True))
