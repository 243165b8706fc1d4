"""The last table: marks that meant something to differentiation and mean nothing to a kernel."""

from __future__ import annotations

from typing import Any

from ..op import Kind
from ..ops.elementwise import copy, stop_gradient, to_device, to_host
from ..rewrite import Table, Var
from ..value import REGISTRY
from .wildcards import x


def _known() -> list[Any]:
    """Values that only had a derivative by their other operands."""
    rows = []
    for op in REGISTRY.values():
        if op.kind is Kind.IMPLICIT:
            others = [Var(f"o{k}") for k in range(len(op.vjp) - 1)]
            rows += [(op(x, *others, **params), x) for params in op.used_with]
    return rows


_marks = [(mark(x), x) for mark in (stop_gradient, copy, to_host, to_device)]
finish = Table("finish", [*_marks, *_known()])
