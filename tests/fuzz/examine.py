"""One program of a run, from its numbers to a record of what was found."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from typing import Any

import numpy as np

from . import compiled, eager
from .compare import Difference
from .draw import draw
from .explained import explained
from .program import Program
from .reproduce import standalone
from .shrink import shrink, sort_of

# differences of numbers to which any statement may have led
WHOLE = ("grad", "grad2", "compiled value", "compiled grad", "compiled grad2")
REFUSED = ("grad1-error", "grad2-error")  # the same, of which a smaller program knows more


def judge_of(index: int, compile: bool):
    def judge(program: Program) -> Difference | None:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = (compiled.examine(program, index) if compile
                     else eager.examine(program))
        return explained(program, found) if found else None

    return judge


def record(seed: int, index: int, compile: bool, seen: set) -> dict[str, Any]:
    """What a program showed. A difference of a sort that is not in `seen` is shrunk."""
    program = draw(seed, index, compile)
    judge = judge_of(index, compile)
    found = judge(program)
    if found and found.kind in (WHOLE if found.reason else REFUSED):
        # a reason that some statement gives must hold for the smallest program, too
        program = shrink(program, found, judge, 3)
        found = judge(program)
    made: dict[str, Any] = {"index": index, "compiled": compile, "difference": None,
                            "statements": len(program.statements)}
    if not found:
        return made
    made["difference"] = asdict(found)
    sort = (found.kind, found.detail[:60]) if compile else sort_of(program, found)
    made["sort"] = list(sort)
    if not found.reason and sort not in seen:
        seen.add(sort)
        small = shrink(program, found, judge)
        made["program"] = standalone(small, judge(small) or found)
    return made
