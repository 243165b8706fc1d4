"""Differences that are as they should be, each with its reason.

A row says which differences it speaks of: the kind, the statement's template, the words. What no
row explains is a fault, of ours or of the fuzzer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from .compare import Difference
from .program import Program


@dataclass(frozen=True)
class Reason:
    kind: str  # regular expressions, found anywhere
    template: str
    detail: str
    reason: str


TABLE = (
    Reason(
        "^grad[12]-error$", "", "^no error.*modified by an inplace operation",
        "which values a derivative keeps differs: ours does not need the one that was overwritten",
    ),
    Reason(
        "^grad[12]-error$", "", "^no error.*(is not implemented|not differentiable)",
        "torch has no derivative there",
    ),
    Reason(
        "^error$", "", "^RuntimeError: unsupported operation: more than one.*expected no error",
        "torch sees overlap in what is written only by strides of zero; ours always",
    ),
    Reason(
        "^requires_grad$", "unique", "False$", "torch's `unique` claims a gradient and has none",
    ),
    Reason(
        "^error$", "logical_|eq_|lt_", "^RuntimeError: a leaf Variable",
        "torch lets a leaf be overwritten by what has no derivative; ours never",
    ),
    Reason(
        "^compiled refused$", "", "is not known while the function is compiled",
        "values are not known while a function is traced: refused, and said in the README",
    ),
    Reason(
        "^compiled refused$", "", "needs to run the function again, and this one (changes|draws)",
        "no second derivative through a compiled function that writes: refused, in the README",
    ),
)  # fmt: skip


def template(program: Program, at: int) -> str:
    return program.statements[at].row.template if 0 <= at < len(program.statements) else ""


def explained(program: Program, found: Difference) -> Difference:
    """The difference with its reason, if there is one."""
    of_statement = "" if found.kind.startswith("compiled") else template(program, found.at)
    for row in TABLE:
        if (re.search(row.kind, found.kind) and re.search(row.template, of_statement)
                and re.search(row.detail, found.detail)):  # fmt: skip
            return replace(found, reason=row.reason)
    return found
