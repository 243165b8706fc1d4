"""Who is right where torch and ours differ: difference quotients for gradients, doubles for values.

A reason that says that torch is wrong, or that a choice is open, holds only where these say that
ours is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import torch

import tracegrad

from .compare import Difference, array, attempt, dtype_of, is_tensor, numbers_differ
from .gradients import largest
from .orders import first, second, smooth, weighted
from .program import Input, Program, Statement, build, environment
from .shake import run
from .values import EPS, FLOATS, INTEGERS

STEP = {1: 1e-6, 2: 1e-5}  # of difference quotients, by order
CLOSE = 1e-3  # what they may be off by


NARROW = re.compile(r"\.(half|bfloat16|float)\(\)|T\.(float16|bfloat16|float32)\b")


def in_doubles(program: Program) -> Program:
    """The program of doubles alone; the inputs that have a gradient without gaps in memory."""

    def wide(i: Input) -> Input:
        if i.dtype not in FLOATS:
            return i
        if i.grad:
            t = eval(replace(i, grad=False).text, environment(torch))
            i = replace(i, layout="plain", values=tuple(t.double().reshape(-1).tolist()))
        return replace(i, dtype="float64")

    def widened(text: str) -> str:
        return NARROW.sub(lambda m: ".double()" if m[1] else "T.float64", text)

    def computed(s: Statement) -> Statement:
        row = replace(s.row, template=widened(s.row.template))
        return replace(s, row=row, filled=tuple((hole, widened(text)) for hole, text in s.filled))

    return replace(program, inputs=tuple(map(wide, program.inputs)),
                   statements=tuple(map(computed, program.statements)))


def ran(program: Program, library: Any) -> dict[str, Any]:
    """What its names hold at the end. torch's derivatives keep copies, which no write changes."""
    env = build(program, library)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t):
        run(env, program)
    if not all(n in env for n in program.names):  # no such hooks in torch.func
        env = build(program, library)
        run(env, program)
    return env


def terms(program: Program, outputs: list[str], order: int) -> np.ndarray:
    """What a gradient of this order is of, before it is summed: torch's, in doubles."""
    env = ran(program, torch)
    found = [env[n] for n in outputs]
    if order == 2:
        found = first(torch, found, [env[n] for n in program.leaves])
    return np.concatenate([array(t).reshape(-1) for t in weighted(torch, found)] or [np.zeros(0)])


def moved(program: Program, leaf: str, at: int, by: float) -> Program:
    def change(i: Input) -> Input:
        if i.name != leaf:
            return i
        return replace(i, values=(*i.values[:at], i.values[at] + by, *i.values[at + 1 :]))

    return replace(program, inputs=tuple(map(change, program.inputs)))


def slopes(program: Program, outputs: list[str], order: int) -> Iterator[np.ndarray]:
    """For each leaf, the difference quotients to its two sides; NaN where one is not finite."""
    wide, h = in_doubles(program), STEP[order]
    still = terms(wide, outputs, order)
    for i in wide.inputs:
        if i.grad:
            sides = np.full((2, len(i.values)), np.nan)
            for k, (side, by) in product(range(len(i.values)), enumerate((-h, h))):
                there = terms(moved(wide, i.name, k, by), outputs, order)
                if there.shape == still.shape:
                    sides[side, k] = ((there - still) / by).sum()
            yield sides.reshape(2, *i.shape)


def gradients(program: Program, library: Any, outputs: list[str], order: int) -> list:
    env = ran(program, library)
    xs = [env[n] for n in program.leaves]
    found = first(library, [env[n] for n in outputs], xs)
    found = second(library, found, xs) if order == 2 else found
    return [np.zeros(x.shape) if g is None else array(g).astype(np.float64)
            for g, x in zip(found, xs, strict=True)]


def coarsest(program: Program) -> float:
    return max(EPS.get(dtype_of(t), 0) for t in ran(program, torch).values() if is_tensor(t))


def between_slopes(program: Program, order: int) -> bool:
    """Whether our gradients lie between the slopes to both sides, where these are finite and
    torch's gradients are others.
    """
    outputs = smooth(program, ran(program, torch))
    mine = gradients(program, tracegrad, outputs, order)
    theirs = [np.full(g.shape, np.inf) for g in mine]
    with suppress(RuntimeError):
        theirs = gradients(program, torch, outputs, order)
    off = CLOSE + 64 * coarsest(program)
    with np.errstate(all="ignore"):
        for a, b, sides in zip(mine, theirs, slopes(program, outputs, order), strict=True):
            slack = off * max(1.0, largest(sides))
            inside = (a >= sides.min(0) - slack) & (a <= sides.max(0) + slack)
            judged = np.isfinite(sides).all(0) & ~np.isclose(a, b, equal_nan=True)
            if (judged & ~inside).any():
                return False
    return True


def same_for_ties(program: Program, order: int) -> bool:
    """Whether equal numbers of an input have together the gradient that torch gives them: a choice
    among them is open.
    """
    outputs = smooth(program, ran(program, torch))
    off = CLOSE + 64 * coarsest(program)
    env = ran(program, torch)
    pairs = zip(program.leaves, *(gradients(program, T, outputs, order)
                                  for T in (tracegrad, torch)), strict=True)
    for name, mine, theirs in pairs:
        x = array(env[name])
        for value in np.unique(x):
            sums = [g[x == value].sum() for g in (mine, theirs)]
            if not np.isclose(*sums, rtol=off, atol=off, equal_nan=True):
                return False
    return True


def unit(program: Program, at: int) -> float:
    """A unit in the last place of the largest number that a statement is given or makes, in its
    coarsest type.
    """
    env = ran(program.until(at + 1), torch)
    statement = program.statements[at]
    tensors = [env[n] for n in (*statement.names, *statement.targets) if is_tensor(env.get(n))]
    return max(EPS.get(dtype_of(t), 0) for t in tensors) * max(largest(array(t)) for t in tensors)


def largest_unit(program: Program) -> float:
    """A unit in the last place of the largest number in a program, in its coarsest type."""
    tensors = [t for t in ran(program, torch).values() if is_tensor(t)]
    return coarsest(program) * max(largest(array(t)) for t in tensors)


def right_in_doubles(program: Program, at: int) -> bool:
    """Whether a statement of ours gives what torch's gives of the same numbers as doubles: of the
    floats among them, or of all.
    """
    before = ran(program.until(at), torch)
    kinds = (FLOATS, (*FLOATS, *INTEGERS))
    return any(right_when_wide(program.statements[at], before, kind) for kind in kinds)


def right_when_wide(statement: Statement, before: dict[str, Any], kinds: Sequence[str]) -> bool:
    tensors = {n: t for n, t in before.items() if is_tensor(t)}
    wide = before | {
        n: t.detach().double().contiguous() for n, t in tensors.items() if dtype_of(t) in kinds}
    mine = before | environment(tracegrad) | {n: in_ours(t) for n, t in tensors.items()}
    if attempt(statement.text, wide) or attempt(statement.text, mine):
        return False
    size = max(largest(array(wide[n])) for n in statement.names if n in tensors)
    for name in statement.targets or statement.names:
        a, b = mine[name], wide[name]
        if is_tensor(a) and dtype_of(a) in FLOATS:
            allowed = 32 * EPS[dtype_of(a)] * max(size, largest(array(b)))
            if numbers_differ(a, b.to(getattr(torch, dtype_of(a))), allowed):
                return False
    return True


def in_ours(t: torch.Tensor) -> Any:
    if dtype_of(t) == "bfloat16":
        return tracegrad.from_numpy(array(t)).bfloat16()
    return tracegrad.from_numpy(t.detach().clone().numpy(force=True))


def ours_is_right(program: Program, found: Difference) -> bool:
    """What a difference of numbers needs to be excused. Errors and kinds speak for themselves."""
    if found.kind == "value":
        return right_in_doubles(program, found.at)
    if found.kind in ("grad", "grad2") or (
        found.kind.startswith("grad") and found.detail.startswith("no error")
    ):
        return between_slopes(program, order_of(found))
    return True


def as_kept(program: Program, found: Difference) -> bool:
    """Whether torch has a derivative of copies: what it is has been compared then."""
    with suppress(Exception):
        gradients(program, torch, smooth(program, ran(program, torch)), order_of(found))
        return True
    return ours_is_right(program, found)


def choice_is_open(program: Program, found: Difference) -> bool:
    order = order_of(found)
    return same_for_ties(program, order) or between_slopes(program, order)


def order_of(found: Difference) -> int:
    return 2 if found.kind.startswith("grad2") else 1
