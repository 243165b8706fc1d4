"""Kernels to LLVM's text. This is where Numba is needed: builtins of kernels are its intrinsics.

Takes a Kernel, gives what object code is made of. Knows nothing of the cache. compiler.py imports
it when the first kernel is compiled.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache as memo
from pathlib import Path
from typing import Any

from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys

from ...codegen.program import Kernel, MachineCodeLost
from . import lapack, special
from .builtins import BUILTINS
from .object_code import Source
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


@memo
def source_folder() -> Path:
    """Where kernel source is written: TRACEGRAD_DUMP, else a folder of this process."""
    given = os.environ.get("TRACEGRAD_DUMP")
    if given:
        Path(given).mkdir(parents=True, exist_ok=True)
    return Path(given or tempfile.mkdtemp(prefix="tracegrad-"))


@memo
def _processor() -> tuple[str, str]:
    """The processor that Numba compiles for, and what it can do."""
    codegen = cpu_target.target_context.codegen()
    return codegen._get_host_cpu_name(), codegen._tm_features


def source_of(text: str, called: Sequence[Any] = (), loops: bool = False) -> Source:
    """What object code is made of an LLVM module that calls these libraries of Numba's; `loops`
    are for LLVM to make vectors of.
    """
    with global_compiler_lock:
        codes = tuple(library._get_module_for_linking().as_bitcode() for library in called)
    return Source(text, *_processor(), codes, loops)


_WORDS = {name: builtin.numba for name, builtin in BUILTINS.items()}


def symbol_of(kernel: Kernel) -> str:
    """The name of its function, of which a process must not load two."""
    return f"{kernel.template}_{hashlib.sha256(kernel.text.encode()).hexdigest()[:32]}"


def written(kernel: Kernel) -> Source:
    """What a kernel's object code is made of."""
    symbol = symbol_of(kernel)
    if kernel.llvm:
        return source_of(kernel.llvm().replace('"kernel"', f'"{symbol}"'))
    text, called = translated(kernel.text, symbol, _WORDS, FAST if kernel.fast else set())
    return source_of(text, called, loops=True)


@contextmanager
def blamed(kernel: Kernel, origin: Iterable[Any]) -> Iterator[None]:
    """Within it the kernel is compiled: whatever is wrong with it raises CompileError."""
    try:
        yield
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
