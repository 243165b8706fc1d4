"""A program as a file that stands alone: it runs in torch and in ours, eagerly and compiled."""

from __future__ import annotations

from .compare import Difference
from .program import Program

FRAME = '''\
# {said}
from math import inf, nan

import torch

import tracegrad


def inputs(T):
{inputs}
    return [{names}]


def program(T, {names}):
    F = T.nn.functional
{statements}
    return {returned}


for T in (torch, tracegrad):
    print(T.__name__, program(T, *inputs(T)))
compiled = tracegrad.compile(lambda *xs: program(tracegrad, *xs))
print("compiled", compiled(*inputs(tracegrad)))
'''


def standalone(program: Program, found: Difference | None = None) -> str:
    """The text of the file. Gradients are left to the reader: torch's `grad` of the results."""
    said = f"{found.kind} at statement {found.at}: {found.detail}" if found else "no difference"
    names = [i.name for i in program.inputs]
    results = [n for n in program.names if n not in names]
    statements = [f"    {s.text}" for s in program.statements]
    if found and 0 <= found.at < len(statements) and not found.kind.startswith("compiled"):
        statements[found.at] += f"  # {found.kind}"
    return FRAME.format(
        said=said,
        inputs="\n".join(f"    {i.name} = {i.text}" for i in program.inputs),
        names=", ".join(names),
        statements="\n".join(statements),
        returned=f"({''.join(f'{n}, ' for n in program.returns or results or names)})",
    )
