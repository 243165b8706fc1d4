"""What LLVM made of a kernel, asked in a way that holds on any processor."""

from __future__ import annotations

import re

from tracegrad.codegen.program import Kernel
from tracegrad.runtime.cpu import code_generator, compiler, object_code


def on_vectors(module: str, *operations: str) -> bool:
    """Whether the optimised LLVM `module` does one of these operations on vectors, of any width."""
    return bool(re.search(rf"= (?:{'|'.join(operations)}) [^\n]*<(?:vscale x )?\d+ x ", module))


def calls(module: str) -> set[str]:
    """The functions that a `module` calls, but for LLVM's own."""
    return set(re.findall(r"= (?:\w+ )*call [^@\n]*@(?!llvm\.)([\w.]+)\(", module))


def address_of(kernel: Kernel, *origin: str) -> int:
    """The address of one kernel's machine code."""
    return compiler.addresses_of({kernel: origin})[kernel]


def print_map() -> None:
    """Print what LLVM made of the one map kernel that this process has."""
    (text,) = (text for text in compiler._ready if text.startswith("def map_"))
    with object_code.optimised(
        code_generator.written(Kernel("map", text.partition("\n")[2]))
    ) as module:
        print(module)
