"""The machine code of kernels, for another process: as objects, with the processor that they are
for, and as text to compile them again for another one.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm

from ...codegen.program import Kernel
from . import compiler, object_cache


def made_for() -> dict[str, Any]:
    """What the objects of this process need where they run, as plain data."""
    features = sorted(name for name, has in llvm.get_host_cpu_features().items() if has)
    return {
        "versions": object_cache.versions(), "triple": llvm.get_process_triple(),
        "features": features, "told": list(object_cache.other_processor()),
    }


def runs_here(needs: Any) -> bool:
    """Whether objects that need this run in this process."""
    own = made_for()
    same = all(needs[key] == own[key] for key in ("versions", "triple", "told"))
    return same and all(feature in own["features"] for feature in needs["features"])


def packed(kernel: Kernel) -> tuple[bytes, bytes, bytes]:
    """The symbol of a kernel, its object code, and its LLVM code if it is written in that."""
    text = kernel.llvm().encode() if kernel.llvm is not None else b""
    symbol, code = compiler.parts_of(kernel)
    return symbol, code, text


def unpacked(template: str, source: str, fast: bool, text: bytes) -> Kernel:
    """A kernel that can be compiled again."""
    return Kernel(template, source, text.decode if text else None, fast)
