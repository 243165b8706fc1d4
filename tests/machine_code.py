"""What LLVM made of a kernel, asked in a way that holds on any processor."""

from __future__ import annotations

import re

from tracegrad.codegen.program import Kernel
from tracegrad.runtime.cpu import code_generator, compiler


def on_vectors(module: str, *operations: str) -> bool:
    """Whether the optimised LLVM `module` does one of these operations on vectors, of any width."""
    return bool(re.search(rf"= (?:{'|'.join(operations)}) [^\n]*<(?:vscale x )?\d+ x ", module))


def print_map() -> None:
    """Print what LLVM made of the one map kernel that this process has."""
    (text,) = (text for text in compiler._ready if text.startswith("def map_"))
    _, made, _ = code_generator.compiled(Kernel("map", text.partition("\n")[2]), ())
    print(made.get_llvm_str())
