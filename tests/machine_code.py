"""What LLVM made of a kernel, asked in a way that holds on any processor."""

from __future__ import annotations

import re

from tracegrad.runtime.cpu import compiler


def on_vectors(module: str, *operations: str) -> bool:
    """Whether the optimised LLVM `module` does one of these operations on vectors, of any width."""
    return bool(re.search(rf"= (?:{'|'.join(operations)}) [^\n]*<(?:vscale x )?\d+ x ", module))


def print_map() -> None:
    """Print what LLVM made of the one map kernel that this process has."""
    ((_, built),) = [v for k, v in compiler._ready.items() if k.startswith("def map_")]
    print(built.get_llvm_str())
