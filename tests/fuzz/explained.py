"""Differences that are as they should be, each with its reason.

A row of the tables says which differences it speaks of: the kind, the statement's template, the
words. What no row explains is a fault, of ours or of the fuzzer.
"""

from __future__ import annotations

import re
from dataclasses import replace
from math import inf, isnan

from .compare import Difference
from .program import Program
from .reason import Reason, two_numbers
from .reasons import TABLE as OF_STATEMENTS
from .reasons_at_the_end import TABLE as AT_THE_END
from .reasons_of_transforms import TABLE as OF_TRANSFORMS


def template(program: Program, at: int) -> str:
    """That of a statement; after the last one, where gradients are, all of them."""
    if at < len(program.statements):
        return program.statements[at].row.template if at >= 0 else ""
    return " ".join(s.row.template for s in program.statements)


def error_of(detail: str) -> float:
    """The relative error that the words tell of."""
    mine, theirs = two_numbers(detail)
    return inf if isnan(mine) else abs(mine - theirs) / max(abs(theirs), 1e-300)


def agrees(row: Reason, program: Program, found: Difference) -> bool:
    try:
        return row.witness(program, found)
    except Exception:  # torch refuses the doubles, or has no derivative
        return False


def explained(program: Program, found: Difference) -> Difference:
    """The difference with its reason, if there is one."""
    whole = found.kind.startswith("compiled")
    of_statement = template(program, len(program.statements) if whole else found.at)
    for row in (*OF_STATEMENTS, *OF_TRANSFORMS, *AT_THE_END):
        if (re.search(row.kind, found.kind) and re.search(row.template, of_statement)
                and re.search(row.detail, found.detail)
                and (row.within == inf or error_of(found.detail) <= row.within)
                and row.when(program, found.at) and agrees(row, program, found)):
            return replace(found, reason=row.reason)
    return found
