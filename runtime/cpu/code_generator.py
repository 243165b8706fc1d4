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


# of code whose vectors and unrolled loops are written out: LLVM's passes for those find nothing
_WRITTEN_OUT = {"opt": 1, "loop_vectorize": False, "slp_vectorize": False}


def assembled(
    name: str, text: str, libraries: Sequence[Any] = (), passes: dict[str, Any] = _WRITTEN_OUT
) -> Any:
    """Loaded machine code of an LLVM module that calls these libraries, for the machine that Numba
    compiles for. Numba itself would have each function optimised once more before the module.
    """
    codegen = cpu_target.target_context.codegen()
    with global_compiler_lock:
        made = codegen.create_library(name)
        made.enable_object_caching()
        module = made._final_module
        module.link_in(llvm.parse_assembly(text))
        for called in libraries:
            module.link_in(called._get_module_for_linking(), preserve=True)
        manager, builder = codegen._module_pass_manager(**passes)
        manager.run(module, builder)
        module.verify()
        made._finalize_final_module()
    return made


_WORDS = {name: builtin.numba for name, builtin in BUILTINS.items()}


def _symbol(kernel: Kernel) -> str:
    """The name of its function, of which a process must not load two."""
    return f"{kernel.template}_{hashlib.sha256(kernel.text.encode()).hexdigest()[:32]}"


def _assembled(kernel: Kernel, symbol: str) -> Any:
    if kernel.llvm:
        return assembled(symbol, kernel.llvm().replace('"kernel"', f'"{symbol}"'))
    text, called = translated(kernel.text, symbol, _WORDS, FAST if kernel.fast else set())
    return assembled(symbol, text, called, {})


def compiled(kernel: Kernel, origin: Iterable[Any]) -> tuple[int, Any, tuple[bytes, ...]]:
    """The address of the kernel's machine code, what keeps it alive, and its cache entry."""
    symbol = _symbol(kernel)
    try:
        made = _assembled(kernel, symbol)
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
