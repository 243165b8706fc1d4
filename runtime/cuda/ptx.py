"""PTX of kernels for GPUs: Numba's compiler over the text of a kernel and its builtins. No device
is needed. Imported when a kernel is compiled.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from ...codegen.program import Kernel
from ...ir.locks import lock
from . import numba_cuda
from .device_functions import FUNCTIONS
from .driver import Capability
from .exchanges import functions

TYPED_FOR: Capability = (8, 0)  # the device that Numba thinks of; the PTX is for any
_lock = lock()


def namespace_of(kernel: Kernel) -> dict[str, Any]:
    """The device functions that a kernel's text names."""
    names = {n.id for n in ast.walk(ast.parse(kernel.text)) if isinstance(n, ast.Name)}
    builtins = {name: FUNCTIONS[name] for name in names if name in FUNCTIONS}
    return {**builtins, **functions(names), "cuda": numba_cuda.cuda()}


@contextmanager
def _as_if_there(dispatcher: Any) -> Iterator[None]:
    """Within it, Numba finds a device to compile device functions for."""
    before = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=TYPED_FOR)
    try:
        yield
    finally:
        dispatcher.get_current_device = before


@lru_cache(1)  # PTX for several devices is asked for kernel by kernel
def _library(kernel: Kernel) -> Any:
    """The kernel as LLVM code, with that of its device functions."""
    cuda, namespace = numba_cuda.cuda(), namespace_of(kernel)
    exec(compile(kernel.text, f"<cuda {kernel.name}>", "exec"), namespace)
    with _lock, _as_if_there(cuda.dispatcher):
        library, _ = cuda.compiler._compile_pyfunc_with_fixup(
            namespace[kernel.name], (cuda.types.int64,), device=False, cc=TYPED_FOR, abi="numba"
        )
    library._nvvm_options["fma"] = kernel.fast
    return library


def ptx_of(kernel: Kernel, capability: Capability) -> str:
    """The PTX of a kernel, whose entry has the kernel's name. A product is fused with an addition
    only where the text says so, or if arithmetic may be regrouped.
    """
    library = _library(kernel)
    (text,) = library.get_asm_strs(cc=capability)
    return str(text).replace(library._entry_name, kernel.name)
