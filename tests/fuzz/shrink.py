"""A shorter program with the same difference: statements go, results become inputs, inputs become
plain, small and ordinary, as long as the difference stays of its kind and at its statement.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import torch

from . import shake
from .compare import Difference, dtype_of, is_tensor
from .explained import template
from .program import Input, Program, build, placed
from .values import FLOATS

Judge = Callable[[Program], Difference | None]


def shrink(program: Program, found: Difference, judge: Judge, seconds: float = 6) -> Program:
    """The smallest program met within the time for which `judge` finds the same."""
    sought = sort_of(program, found)
    end = time.monotonic() + seconds
    progress = True
    while progress:
        progress = False
        for candidate in simpler(program):
            if time.monotonic() > end:
                return program
            with suppress(Exception):  # a candidate that is no program
                seen = judge(candidate)
                if seen and sort_of(candidate, seen) == sought:
                    program, progress = candidate, True
                    break
    return program


def sort_of(program: Program, found: Difference) -> tuple[str, str]:
    """What a smaller program must keep: the kind of a difference and its statement's template."""
    whole = found.at >= len(program.statements) or found.kind.startswith("compiled")
    return found.kind, "" if whole else template(program, found.at)


def simpler(program: Program) -> Iterator[Program]:
    """Programs that are one step simpler, the boldest steps first."""
    for k in range(len(program.statements), 0, -1):
        yield trimmed(program.until(k - 1))
    for k in range(len(program.statements)):
        yield trimmed(without(program, k))
    for k in range(len(program.statements)):
        with suppress(Exception):
            yield trimmed(given(program, k))
    if len(program.returns) > 1:
        for name in program.returns:
            yield replace(program, returns=tuple(n for n in program.returns if n != name))
    if program.mode != "values":
        yield replace(program, mode="values")
    for i, made in enumerate(program.inputs):
        for other in simpler_inputs(made):
            yield replace(program, inputs=(*program.inputs[:i], other, *program.inputs[i + 1 :]))
    sizes = sorted({n for i in program.inputs for n in i.shape if n > 1}, reverse=True)
    for old in sizes:
        for new in range(1, min(old, 3)):
            yield resized(program, old, new)


def trimmed(program: Program) -> Program:
    """Without the inputs that nothing names, and results that are not there."""
    used = {n for s in program.statements for n in s.names} | set(program.returns)
    names = {t for s in program.statements for t in s.targets}
    return replace(
        program,
        inputs=tuple(i for i in program.inputs if i.name in used),
        returns=tuple(n for n in program.returns if n in names or n.startswith(("x", "p"))),
    )


def without(program: Program, k: int) -> Program:
    """Without a statement and what needs its results."""
    gone = set(program.statements[k].targets)
    kept = list(program.statements[:k])
    for s in program.statements[k + 1 :]:
        if s.names & gone:
            gone |= set(s.targets)
        else:
            kept.append(s)
    returns = tuple(n for n in program.returns if n not in gone)
    return replace(program, statements=tuple(kept), returns=returns)


def given(program: Program, k: int) -> Program:
    """With the results of a statement as inputs, of torch's values."""
    env = build(program, torch)
    shake.run(env, program.until(k + 1))
    inputs = list(program.inputs)
    for name in program.statements[k].targets:
        t = env[name]
        if is_tensor(t):
            values = tuple(t.detach().reshape(-1).tolist())
            made = Input(name, dtype_of(t), tuple(t.shape), values, "plain", t.requires_grad)
            inputs.append(made)
    statements = (*program.statements[:k], *program.statements[k + 1 :])
    return replace(program, inputs=tuple(inputs), statements=statements)


def simpler_inputs(i: Input) -> Iterator[Input]:
    if i.dtype is None:
        return
    if i.layout != "plain":
        values = i.values[: placed("plain", i.shape)[2]]
        if len(values) == placed("plain", i.shape)[2]:
            yield replace(i, layout="plain", values=values)
    if i.grad:
        yield replace(i, grad=False)
    one = {"bool": True, **dict.fromkeys(FLOATS, 1.0)}.get(i.dtype, 1)
    if any(v != one for v in i.values):
        yield replace(i, values=tuple(one for _ in i.values))
    if any(v not in (one, 2 * one) for v in i.values):
        yield replace(i, values=tuple(2 * one for _ in i.values))
    for k, v in enumerate(i.values):
        if v not in (one, 2 * one) and len(i.values) < 13:
            yield replace(i, values=(*i.values[:k], one, *i.values[k + 1 :]))
    if i.dtype in ("float16", "bfloat16", "float32"):
        yield replace(i, dtype="float64")


def resized(program: Program, old: int, new: int) -> Program:
    def cut(i: Input) -> Input:
        shape = tuple(new if n == old else n for n in i.shape)
        return replace(i, shape=shape, values=i.values[: placed(i.layout, shape)[2]])

    return replace(program, inputs=tuple(map(cut, program.inputs)))
