"""What LLVM made of a kernel, asked in a way that holds on any processor."""

from __future__ import annotations

import re


def on_vectors(module: str, *operations: str) -> bool:
    """Whether the optimised LLVM `module` does one of these operations on vectors, of any width."""
    return bool(re.search(rf"= (?:{'|'.join(operations)}) [^\n]*<(?:vscale x )?\d+ x ", module))
