"""Random programs eagerly in ours, by plans and without: the same bits, places and errors.

Plans of one program serve later ones, whose arguments have the same shapes and other values.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np

import tracegrad
from tracegrad.tracer.autograd import plans, rule_lines
from tracegrad.tracer.mode import mode

from .compare import attempt
from .draw import draw
from .orders import first, smooth, total
from .program import Program, build

RUNS = 3  # by plans: the first makes those that are missing


def seen(value: Any) -> Any:
    """What a user sees of a value."""
    if isinstance(value, (list, tuple)):
        return [seen(v) for v in value]
    if not isinstance(value, tracegrad.Tensor):
        return repr(value)
    fn = value.grad_fn
    bits = value.detach()._array.tobytes()
    return (str(value.dtype), tuple(value.shape), value.stride(), bits, value.requires_grad,
            value._version, value._base is None, None if fn is None else fn.name())


def outcome(program: Program, planning: bool) -> Iterator[tuple[str, Any]]:
    """What each statement made, which results share memory, and the gradients."""
    before, mode.planning = mode.planning, planning
    try:
        tracegrad.manual_seed(0)
        env = build(program, tracegrad)
        for s in program.statements:
            error = attempt(s.text, env)
            values = [seen(env[n]) for n in program.names if n in env]
            yield s.text, values if error is None else (type(error), str(error))
        tensors = [v for v in env.values() if isinstance(v, tracegrad.Tensor)]
        yield "sharing", [np.may_share_memory(a._array, b._array) for a in tensors for b in tensors]
        with suppress(KeyError):  # a result that an error left out
            outputs = [env[n] for n in smooth(program, env)]
            inputs = [env[n] for n in program.leaves]
            yield from gradients(outputs, inputs)
    finally:
        mode.planning = before


def gradients(outputs: list, inputs: list) -> Iterator[tuple[str, Any]]:
    """The gradients, and again with a history, which by a plan may need an argument that was
    changed since.
    """
    ways = {
        "gradients": lambda: tracegrad.autograd.grad(
            total(tracegrad, outputs), inputs, retain_graph=True, allow_unused=True),
        "gradients with a history": lambda: first(tracegrad, outputs, inputs),
    }
    for name, way in ways.items() if outputs and inputs else ():
        try:
            yield name, [None if g is None else seen(g)[:5] for g in way()]
        except RuntimeError as error:
            if name == "gradients" or "modified by an inplace operation" not in str(error):
                yield name, type(error)


def faults(seed: int, indices: range) -> Iterator[str]:
    before = plans.CALLS, rule_lines.CALLS
    plans.CALLS, rule_lines.CALLS = 2, 1
    try:
        for index in indices:
            program = draw(seed, index, False)
            place = difference(program)
            if place is not None:
                yield f"{seed}:{index} differs by plans in {place}\n{program.text}"
    finally:
        plans.CALLS, rule_lines.CALLS = before


def difference(program: Program) -> str | None:
    """The first place where a run differs from the one before it."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        runs = [list(outcome(program, k > 0)) for k in range(RUNS + 1)]
    for a, b in pairwise(runs):
        for x, y in zip(a, b, strict=False):
            if x != y:
                return x[0]
    return None
