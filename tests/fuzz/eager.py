"""A program run statement by statement in torch and in ours, side by side.

After each statement what it made or wrote is compared, and nearly equal numbers of ours become
torch's to the bit: so each statement is judged for itself. Gradients follow at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch

import tracegrad

from . import shake
from .compare import (
    Difference,
    Differs,
    apart,
    array,
    attempt,
    builtin_class,
    dtype_of,
    is_tensor,
    numbers_differ,
    ordinary,
    same_kind,
    told,
    units,
)
from .gradients import gradients_differ, largest, precision
from .memory import adopt, same_sharing
from .orders import first, second, smooth
from .program import Program, build
from .values import EPS, FLOATS


class Sides:
    """The same program in both libraries, as far as it has run."""

    def __init__(self, program: Program):
        self.program = program
        self.theirs, self.ours = build(program, torch), build(program, tracegrad)
        self.kept: dict[str, np.ndarray] = {}  # our numbers before the last write

    def compare(self, name: str, k: int) -> None:
        """Raise Differs unless a value is torch's; then make it so to the bit."""
        mine, theirs = self.ours[name], self.theirs[name]
        same_kind(name, mine, theirs)
        if not is_tensor(theirs):
            self.ours[name] = theirs if isinstance(theirs, (int, float, list)) else mine
            return
        rounding = self.program.statements[k].row.rounding if k >= 0 else "exact"
        dtype = dtype_of(theirs)
        allowed = ordinary(array(theirs), dtype, units(rounding, dtype))
        wrong = numbers_differ(mine, theirs, allowed)
        if wrong and rounding in ("near", "rough") and allowed is not None:
            allowed = allowed + units(rounding, dtype) * self.error(k, name)
            wrong = numbers_differ(mine, theirs, allowed)
        if wrong and rounding != "exact":
            moved = shake.spread(self.program, k, name)
            allowed = moved if allowed is None else allowed + moved
            wrong = numbers_differ(mine, theirs, allowed)
        if wrong:
            raise Differs("value", f"{name}: {wrong}")
        if dtype in FLOATS:
            adopt(mine, theirs)

    def error(self, k: int, name: str) -> float:
        """A unit in the last place of the largest number that a sum of products in a statement may
        have in it, in the coarsest type.
        """
        seen = [self.theirs[n] for n in {*self.program.statements[k].names, name}]
        sizes = [largest(array(t)) for t in seen if is_tensor(t)]
        sizes += [largest(a) for a in self.kept.values()]
        coarse = [EPS.get(dtype_of(t), EPS["float32"]) for t in seen if is_tensor(t)]
        return max(coarse) * max(*sizes, *(s * s for s in sizes))

    def numbers(self) -> dict[str, np.ndarray]:
        return {n: array(t).copy() for n, t in self.ours.items() if is_tensor(t)}

    def compare_unwritten(self) -> None:
        """Raise Differs if a write of ours that was refused has begun. torch's may have: its
        numbers become ours.
        """
        for name, before in self.kept.items():
            mine, theirs = self.ours[name], self.theirs[name]
            if apart(array(mine), before, None).any():
                raise Differs("half", f"{name} was changed by what is refused")
            bits = mine.detach()._array
            if mine.shape != tuple(theirs.shape):  # torch has resized it before it refused
                raise Differs("resized", f"{name} by torch, which refuses")
            if apart(array(mine), array(theirs), None).any():
                theirs.detach().copy_(torch.tensor(bits).view(theirs.dtype))

    def step(self, k: int) -> None:
        statement = self.program.statements[k]
        self.kept = self.numbers() if statement.row.writes else {}
        refused, refusal = (attempt(statement.text, env) for env in (self.theirs, self.ours))
        if (refused is None) != (refusal is None) or (
            refused and refusal and builtin_class(refused) != builtin_class(refusal)
        ):
            raise Differs("error", f"{told(refusal)}; expected {told(refused)}")
        if refused and statement.row.writes:
            self.compare_unwritten()
        done = [n for n in self.program.until(k).names if n in self.theirs]
        new = [] if refused else list(statement.targets)
        for name in new if not (statement.row.writes or refused) else done:
            self.compare(name, k)
        tensors = [n for n in done if is_tensor(self.theirs[n])]
        for name in new:
            for other in tensors:
                if is_tensor(self.theirs[name]):
                    same_sharing(name, other, (self.ours[name], self.ours[other]),
                                 (self.theirs[name], self.theirs[other]))


def orders_of(program: Program) -> int:
    """How many gradients say something: two of ordinary numbers, one where there are NaN and
    infinities, none of numbers whose squares or inverses are no more.
    """
    values = {abs(v) for i in program.inputs for v in i.values if i.dtype in FLOATS}
    if any(0 < v < 1e-6 or 1e4 < v < np.inf for v in values):
        return 0
    return 2 if all(np.isfinite(v) for v in values) else 1


def unwritten(program: Program, orders: Callable) -> list:
    """torch's gradients, where derivatives keep copies, which no write changes."""
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t):
        env = build(program, torch)
        shake.run(env, program)
        with suppress(KeyError):  # no such hooks in torch.func
            return orders(torch, env)
    return []


def gradients(sides: Sides) -> None:
    program = sides.program
    wanted = program.leaves
    outputs = smooth(program, sides.theirs)
    highest = orders_of(program)
    if not wanted or not outputs or not highest:
        return
    eps = precision(sides.theirs)

    def orders(T: Any, env: dict) -> list:
        ys, xs = [env[n] for n in outputs], [env[n] for n in wanted]
        found: list = []
        for taken in (lambda: first(T, ys, xs), lambda: second(T, found[0], xs))[:highest]:
            try:
                found.append(taken())
            except Exception as error:
                found.append(error)
                break
        return found

    mine, theirs = orders(tracegrad, sides.ours), orders(torch, sides.theirs)
    for order in range(max(len(theirs), len(mine))):
        a, b = mine[order], theirs[order]
        if isinstance(a, Exception) or isinstance(b, Exception):
            if type(a) is list or type(b) is list or builtin_class(a) != builtin_class(b):
                said = [told(e) if isinstance(e, Exception) else "no error" for e in (a, b)]
                if type(a) is list and "modified by an inplace operation" in str(b):
                    kept = unwritten(program, orders)
                    if len(kept) > order and type(kept[order]) is list:
                        gradients_differ(program, order, a, kept[order], eps)
                raise Differs(f"grad{order + 1}-error", f"{said[0]}; expected {said[1]}")
            return
        gradients_differ(program, order, a, b, eps)


def examine(program: Program) -> Difference | None:
    """The first difference between torch and ours, run eagerly."""
    at = -1
    try:
        sides = Sides(program)
        for i in program.inputs:
            sides.compare(i.name, -1)
        for at in range(len(program.statements)):  # noqa: B007
            sides.step(at)
        at = len(program.statements)
        gradients(sides)
    except Differs as found:
        return Difference(found.kind, at, str(found))
    return None
