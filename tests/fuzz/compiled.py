"""A program as one compiled function beside the same function run eagerly, both ours.

It is called with other numbers, and once with another signature. Exact
statements must agree to the bit; what follows from inexact ones may differ by what rounding does.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import numpy as np

import tracegrad

from . import shake
from .compare import (
    Difference,
    Differs,
    array,
    builtin_class,
    dtype_of,
    is_tensor,
    numbers_differ,
    ordinary,
    same_kind,
    told,
)
from .gradients import gradients_differ, largest, precision
from .memory import significant
from .orders import first, second
from .program import Input, Program, environment, placed
from .values import EPS, shifted

UNITS = 32  # of the last place, for each inexact statement


def function(program: Program) -> Callable:
    """The program as a function of its inputs."""
    lines = [f"def program({', '.join(i.name for i in program.inputs)}):"]
    lines += [f"    {s.text}" for s in program.statements]
    returned = f"({''.join(f'{name}, ' for name in program.returns)})"
    if program.mode == "whole":
        lines.append(f"    gs = first(T, [y for y in {returned} if smooth(y)], "
                     f"[{', '.join(program.leaves)}])")
        lines.append(f"    return {returned}, gs, second(T, gs, [{', '.join(program.leaves)}])")
    else:
        lines.append(f"    return {returned}, [], []")
    text = "\n".join(lines)
    name = f"<fuzz {hash(text)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(True), name)
    env = environment(tracegrad) | {"first": first, "second": second, "smooth": smooth}
    exec(compile(text, name, "exec"), env)
    return env["program"]


def smooth(y: Any) -> bool:
    return getattr(y, "requires_grad", False)


def inexact(program: Program) -> set[str]:
    """The results that rounding may change: those of inexact statements and what follows."""
    rounds = [not s.exact for s in program.statements]
    if any(rounds) and any(s.row.writes for s in program.statements):
        return set(program.names)
    found: set[str] = set()
    for s, rough in zip(program.statements, rounds, strict=True):
        if rough or s.names & found:
            found |= set(s.targets)
    return found


class Outcome:
    """What a call gives: results, gradients of both orders, and the inputs after it."""

    def __init__(self, program: Program, call: Callable):
        self.error: BaseException | None = None
        env = environment(tracegrad)
        self.inputs = [eval(i.text, env) for i in program.inputs]
        self.orders: list[list] = []
        try:
            results, *orders = call(*self.inputs)
            self.results = list(results)
            if program.mode == "outside":
                xs = [x for x, i in zip(self.inputs, program.inputs, strict=True) if i.grad]
                gs = first(tracegrad, [y for y in self.results if smooth(y)], xs)
                orders = [gs, second(tracegrad, gs, xs)]
            self.orders = [list(o) for o in orders if o]
        except Exception as error:
            self.error = error


def compare(program: Program, mine: Outcome, eager: Outcome) -> None:
    """Raise Differs unless the compiled call did what the eager one did."""
    if mine.error or eager.error:
        if mine.error and eager.error and builtin_class(mine.error) == builtin_class(eager.error):
            return
        kind = "error" if eager.error else "refused"
        raise Differs(kind, f"{told(mine.error)}; expected {told(eager.error)}")
    names = [*program.returns, *(i.name for i in program.inputs)]
    ours, theirs = [*mine.results, *mine.inputs], [*eager.results, *eager.inputs]
    rough = inexact(program)
    measured: dict | None = None
    for name, a, b in zip(names, ours, theirs, strict=True):
        same_kind(name, a, b)
        if not is_tensor(b):
            continue
        count = UNITS * len(program.statements) if name in rough else 0
        allowed = ordinary(array(b), dtype_of(b), count)
        wrong = numbers_differ(a, b, allowed)
        if wrong and count:
            measured = shake.spread_of_results(program, names) if measured is None else measured
            plain = UNITS * EPS.get(dtype_of(b), 0) * largest(array(b))
            wrong = numbers_differ(a, b, plain + measured.get(name, 0.0))
        if wrong:
            raise Differs("value", f"{name}: {wrong}")
    same_places(names, ours, theirs)
    eps = precision(dict(zip(names, theirs, strict=True)))
    for order, (a, b) in enumerate(zip(mine.orders, eager.orders, strict=True)):
        gradients_differ(program, order, a, b, eps)


def same_places(names: list[str], mine: list, eager: list) -> None:
    """Raise Differs unless the same results share memory, as views with the same strides."""
    tensors = [k for k, t in enumerate(eager) if is_tensor(t) and t.numel()]
    for k in tensors:
        for j in tensors[: tensors.index(k)]:
            shared = [np.shares_memory(o[k].detach()._array, o[j].detach()._array)
                      for o in (mine, eager)]
            if shared[0] != shared[1]:
                verb = "shares" if shared[0] else "does not share"
                raise Differs("alias", f"{names[k]} {verb} the memory of {names[j]}")
            alike = significant(mine[j]) == significant(eager[j])
            if shared[0] and alike and significant(mine[k]) != significant(eager[k]):
                raise Differs("strides", f"{names[k]} has strides {mine[k].stride()}, expected "
                                         f"{eager[k].stride()}")


def other_numbers(program: Program) -> Program:
    return replace(program, inputs=tuple(
        replace(i, values=shifted(i.values, i.dtype)) for i in program.inputs))


def other_shapes(program: Program) -> Program:
    """Every extent of two and more is one larger."""

    def grown(i: Input) -> Input:
        shape = tuple(n + (n > 1) for n in i.shape)
        count = placed(i.layout, shape)[2] if i.dtype else 1
        return replace(i, shape=shape, values=tuple(islice(cycle(i.values), count)))

    return replace(program, inputs=tuple(map(grown, program.inputs)))


def other_types(program: Program) -> Program:
    """Floats are doubles and doubles are floats."""
    other = {"float32": "float64", "float64": "float32"}
    return replace(program, inputs=tuple(
        replace(i, dtype=other.get(i.dtype or "", i.dtype)) for i in program.inputs))


def no_gradients(program: Program) -> Program:
    return replace(program, inputs=tuple(replace(i, grad=False) for i in program.inputs))


# further signatures of the same function, by the number of the program
OTHERWISE = (other_shapes, other_types, no_gradients)


def examine(program: Program, index: int = 0) -> Difference | None:
    """The first difference between the compiled function and the eager one, in four calls: two of
    one signature, one of another, and one of the first again.
    """
    eager = function(program)
    compiled = tracegrad.compile(function(program))
    other = OTHERWISE[index % len(OTHERWISE)](program)
    for number, called in enumerate((program, other_numbers(program), other, program)):
        expected = Outcome(called, eager)
        if called is other and expected.error:
            continue  # the text knows the old shapes
        try:
            compare(called, Outcome(called, compiled), expected)
        except Differs as found:
            return Difference(f"compiled {found.kind}", number, str(found))
    return None
