"""Kernel source to machine code, by LLVM. This is where Numba is needed: the builtins of kernels
are its intrinsics.

Takes a Kernel, gives machine code that is loaded, and the parts of a cache entry. Knows nothing of
the cache. compiler.py imports it when the first kernel is compiled.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from functools import cache as memo
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys

from ...codegen.program import Kernel, MachineCodeLost
from . import lapack, special
from .builtins import BUILTINS
from .translator import translated

# of kernels that are `fast`; NaN and infinities keep their meaning: neither nnan nor ninf. Others
# have no flags but those of single words, such as the accumulators of reductions
FAST = {"contract", "reassoc", "nsz", "arcp"}


class CompileError(RuntimeError):
    """A generated kernel was refused: a fault of this library, with all that is needed to
    report it.
    """


def provide(code: bytes) -> None:
    """Tell LLVM where Numba's own functions are, and those of SciPy that an object calls."""
    context = cpu_target.target_context
    if b"NRT_" in code:  # an error path of Numba's
        rtsys.initialize(context)
    for words in (special, lapack):
        if words.PREFIX.encode() in code:
            words.provide()


def parts_of(compiled: Any, symbol: str) -> tuple[bytes, ...]:
    """The parts of a cache entry, of a compiled library."""
    _, _, (code, _) = compiled.serialize_using_object_code()
    return symbol.encode(), bytes(code)


@memo
def source_folder() -> Path:
    """Where kernel source is written: TRACEGRAD_DUMP, else a folder of this process."""
    given = os.environ.get("TRACEGRAD_DUMP")
    if given:
        Path(given).mkdir(parents=True, exist_ok=True)
    return Path(given or tempfile.mkdtemp(prefix="tracegrad-"))


def assembled(name: str, text: str, libraries: Sequence[Any] = ()) -> Any:
    """Loaded machine code of an LLVM module that calls these libraries, by the code generator that
    Numba's own goes to.
    """
    with global_compiler_lock:
        made = cpu_target.target_context.codegen().create_library(name)
        made.enable_object_caching()
        made.add_llvm_module(llvm.parse_assembly(text))
        for called in libraries:
            made.add_linking_library(called)
        made.finalize()
    return made


_WORDS = {name: builtin.numba for name, builtin in BUILTINS.items()}


def _symbol(kernel: Kernel) -> str:
    """The name of its function, of which a process must not load two."""
    return f"{kernel.template}_{hashlib.sha256(kernel.text.encode()).hexdigest()[:32]}"


def _module(kernel: Kernel) -> tuple[str, list[Any]]:
    """A kernel as LLVM, and the libraries it calls."""
    if kernel.llvm:
        return kernel.llvm().replace('"kernel"', f'"{_symbol(kernel)}"'), []
    return translated(kernel.text, _symbol(kernel), _WORDS, FAST if kernel.fast else set())


def compiled(kernel: Kernel, origin: Iterable[Any]) -> tuple[int, Any, tuple[bytes, ...]]:
    """The address of the kernel's machine code, what keeps it alive, and its cache entry."""
    symbol = _symbol(kernel)
    try:
        made = assembled(symbol, *_module(kernel))
    except MachineCodeLost:
        raise
    except Exception as error:
        path = source_folder() / f"{kernel.name}.py"
        path.write_text("".join(f"# {line}\n" for line in origin) + kernel.text)
        operations = "\n  ".join(map(str, origin))
        told = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = " ".join([line for line in told if not line.startswith("Failed in")][:3])
        raise CompileError(
            f"kernel {kernel.name} did not compile: {type(error).__name__}: {said}\n"
            f"its source is in {path}; it comes from\n  {operations}"
        ) from error
    return made.get_pointer_to_function(symbol), made, parts_of(made, symbol)
