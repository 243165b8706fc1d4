"""Random programs: each statement is drawn to fit what torch computed by the ones before it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import prod
from random import Random
from typing import Any

import torch

from .forms import forms
from .holes import Holes
from .program import Input, Program, Row, Statement, code, environment, placed
from .rows import table
from .values import DTYPES, FLOATS, numbers

LARGEST = 200  # numbers in a tensor
LAYOUTS = ("transposed", "strided", "expanded", "overlapping")
WEIGHTS = {"pointwise": 10, "shapes": 5, "indexing": 5, "reduce": 5, "products": 2, "nn": 3,
           "autograd": 1}
OTHERWISE = 0.2  # the share of rows that are said in another way


@dataclass
class Drawing:
    """A program in the making, and what torch holds after each of its statements."""

    rng: Random
    compiled: bool
    known: dict[str, Any] = field(default_factory=dict)  # tensors
    env: dict[str, Any] = field(default_factory=lambda: environment(torch))
    inputs: list[Input] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        rng = self.rng
        self.floats = rng.choice((*("float32", "float64") * 3, "float16", "bfloat16"))
        self.special = rng.random() < 0.25
        self.grad = rng.random() < 0.5
        self.python = [
            self.new(None, (), values=(rng.choice((2, 0.5, -1.5, 3, 1.0)),))
            for _ in range(rng.random() < 0.3)
        ]
        for _ in range(rng.randint(1, 2)):
            dtype = self.floats if rng.random() < 0.6 else rng.choice(DTYPES)
            self.new(dtype, tuple(rng.choice((2, 3, 3, 4, 1)) for _ in range(rng.randint(0, 3))))

    def new(self, dtype: str | None, shape: tuple, values: tuple | None = None) -> str:
        rng, drawn = self.rng, values is None
        layout = "plain"
        if drawn and len(shape) and rng.random() < 0.3:
            layout = rng.choice(LAYOUTS)
        if drawn:
            values = numbers(rng, dtype, placed(layout, shape)[2], self.special)
        self.count += 1
        name = f"{'p' if dtype is None else 'x'}{self.count}"
        grad = self.grad and dtype in FLOATS and rng.random() < 0.6
        made = Input(name, dtype, shape, values, layout, grad)
        self.inputs.append(made)
        self.env[name] = eval(made.text, self.env)
        if dtype is not None:
            self.known[name] = self.env[name]
        return name

    def statement(self, row: Row) -> None:
        """One more statement of this row, if it can be had."""
        before = len(self.inputs)
        holes = Holes(self.rng, self.known, self.python, self.new, self.floats, self.special)
        drawn = Statement(row, holes.fill(row.holes))
        env = dict(self.env)
        try:
            exec(code(f"answer = {drawn.text}" if not row.writes else drawn.text), env)
        except Exception:
            if self.compiled or self.rng.random() < 0.8:
                return self.forget(before)  # most refusals say little
            self.statements.append(drawn)
            return None
        if row.writes:
            self.statements.append(drawn)
            return None
        answer = env["answer"]
        parts = list(answer) if isinstance(answer, (tuple, list)) and any(
            isinstance(a, torch.Tensor) for a in answer) else [answer]
        if not parts or not all(self.welcome(a) for a in parts):
            return self.forget(before)
        targets = []
        for a in parts:
            self.count += 1
            targets.append(f"v{self.count}")
            self.env[targets[-1]] = a
            if isinstance(a, torch.Tensor):
                self.known[targets[-1]] = a
        one = len(parts) == 1 and isinstance(answer, (tuple, list)) and parts[0] is not answer
        self.statements.append(Statement(row, drawn.filled, tuple(targets), one))
        return None

    def forget(self, before: int) -> None:
        for made in self.inputs[before:]:
            self.known.pop(made.name, None)
        del self.inputs[before:]

    def welcome(self, a: Any) -> bool:
        """Small, real, and not all NaN: such values would hide what follows."""
        if not isinstance(a, torch.Tensor):
            return not isinstance(a, tuple) or isinstance(a, torch.Size)
        if a.numel() > LARGEST or a.is_complex() or str(a.dtype).split(".")[-1] not in DTYPES:
            return False
        if not a.is_floating_point() or self.rng.random() < 0.2:
            return True
        return int(a.isfinite().sum()) * 2 >= prod(a.shape)


def choose(rng: Random, rows: dict[str, Iterable[Row]], compiled: bool) -> Row:
    group = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    fitting = [r for r in rows[group] if not (compiled and r.eager)]
    writes = [r for r in fitting if r.writes]
    if writes and rng.random() < 0.3:
        return rng.choice(writes)
    row = rng.choice([r for r in fitting if not r.writes])
    return rng.choice(forms(row)) if rng.random() < OTHERWISE else row


def draw(seed: int, index: int, compiled: bool = False) -> Program:
    """The program of that number; the same for the same numbers and the same tables."""
    rng = Random(f"{seed}:{index}:{compiled}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        drawing = Drawing(rng, compiled)
        wanted = rng.randint(2, 5) if compiled else rng.randint(2, 9)
        for _ in range(3 * wanted):
            if len(drawing.statements) >= wanted:
                break
            drawing.statement(choose(rng, table(), compiled))
    program = Program(tuple(drawing.inputs), tuple(drawing.statements))
    return returning(rng, program, drawing.env) if compiled else program


def returning(rng: Random, program: Program, env: dict[str, Any]) -> Program:
    """The program with what its compiled function gives back: what no statement reads, since that
    would not be computed at all, and some other results.
    """
    results = [t for s in program.statements for t in s.targets]
    read = {n for s in program.statements if s.targets for n in s.names}
    chosen = [t for t in results if t not in read or rng.random() < 0.3]
    smooth = any(getattr(env[t], "requires_grad", False) for t in chosen)
    mode = rng.choice(("values", "whole", "whole", "outside")) if smooth else "values"
    return replace(program, mode=mode, returns=tuple(chosen))
