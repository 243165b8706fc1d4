"""A program as data: inputs with their numbers and places in memory, statements with operands.

What a program means stands in its text alone, which is torch's language with `T` for the library
and `F` for its nn.functional. This module knows neither library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf, nan, prod
from types import CodeType, ModuleType
from typing import Any

HOLE = re.compile(r"\{(\w+)\}")
NAME = re.compile(r"\b[pxv]\d+\b")  # Python numbers, inputs, results


@dataclass(frozen=True)
class Row:
    """One line of a table: a template, and what may be asked of it."""

    template: str
    rounding: str  # "exact"; "correct": exact, but torch may be a unit off; "near": elementwise,
    # within a few units; "rough": sums and products
    writes: bool = False
    eager: bool = False  # has no compiled form: its shape depends on values

    @property
    def holes(self) -> list[str]:
        return list(dict.fromkeys(HOLE.findall(self.template)))


@dataclass(frozen=True)
class Statement:
    row: Row
    filled: tuple[tuple[str, str], ...]  # hole -> text
    targets: tuple[str, ...] = ()
    unpacks: bool = False  # a tuple of one

    @property
    def text(self) -> str:
        body = self.row.template.format(**dict(self.filled))
        if not self.targets:
            return body
        return f"{', '.join(self.targets)}{',' * self.unpacks} = {body}"

    @property
    def exact(self) -> bool:
        return self.row.rounding in ("exact", "correct")

    @property
    def names(self) -> set[str]:
        return {n for _, text in self.filled for n in NAME.findall(text)}


@dataclass(frozen=True)
class Input:
    """A tensor: `values` fill its memory, `layout` says how it looks at them. A dtype of None makes
    a Python number.
    """

    name: str
    dtype: str | None
    shape: tuple[int, ...]
    values: tuple[float, ...]
    layout: str = "plain"
    grad: bool = False

    @property
    def text(self) -> str:
        if self.dtype is None:
            return repr(self.values[0])
        strides, offset, _ = placed(self.layout, self.shape)
        text = f"T.tensor({list(self.values)}, dtype=T.{self.dtype})"
        if self.layout == "plain":
            text += f".reshape({self.shape})" if len(self.shape) != 1 else ""
        else:
            text += f".as_strided({self.shape}, {strides}, {offset})"
        return text + ".detach().requires_grad_()" * self.grad


def placed(layout: str, shape: tuple[int, ...]) -> tuple[tuple[int, ...], int, int]:
    """Strides, offset, and the numbers of memory that a layout takes."""
    plain = tuple(prod(shape[k + 1 :]) for k in range(len(shape)))
    if 0 in shape or not shape:
        return plain, 0, prod(shape)
    offset = 0
    match layout:
        case "transposed":
            plain = tuple(prod(shape[:k]) for k in range(len(shape)))
        case "strided":
            plain, offset = tuple(2 * s for s in plain), 1
        case "expanded":
            keep = len(shape) // 2
            shorter = (*shape[:keep], 1, *shape[keep + 1 :])
            plain = tuple(prod(shorter[k + 1 :]) for k in range(len(shape)))
            plain = (*plain[:keep], 0, *plain[keep + 1 :])
        case "overlapping":
            plain = (1,) * len(shape)
    return plain, offset, offset + 1 + sum((n - 1) * s for n, s in zip(shape, plain, strict=True))


@dataclass(frozen=True)
class Program:
    """`mode` and `returns` are for the compiled run: what the compiled function gives back, and
    whether gradients are taken inside of it (`whole`), from its results (`outside`), or not
    (`values`).
    """

    inputs: tuple[Input, ...]
    statements: tuple[Statement, ...]
    mode: str = "values"
    returns: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """What holds a value at the end, in order."""
        return [*(i.name for i in self.inputs), *(t for s in self.statements for t in s.targets)]

    @property
    def leaves(self) -> list[str]:
        """The inputs that gradients are taken of."""
        return [i.name for i in self.inputs if i.grad]

    @property
    def text(self) -> str:
        lines = [f"{i.name} = {i.text}" for i in self.inputs]
        return "\n".join([*lines, *(s.text for s in self.statements)])

    def until(self, k: int) -> Program:
        return replace(self, statements=self.statements[:k])


@lru_cache(4096)
def code(text: str) -> CodeType:
    return compile(text, text, "exec")


def environment(library: ModuleType) -> dict[str, Any]:
    return {"T": library, "F": library.nn.functional, "inf": inf, "nan": nan}


def build(program: Program, library: ModuleType) -> dict[str, Any]:
    """What the inputs are in a library, with the names that statements use."""
    env = environment(library)
    for i in program.inputs:
        env[i.name] = eval(i.text, env)
    return env

