"""Builtins that are functions of Python to Numba: it compiles each once for the types it is called
with, and kernels call what it made, which LLVM inlines.
"""

from __future__ import annotations

from functools import cache as memo
from typing import Any

from numba import cfunc
from numba.core import config
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target


def called(builtin: Any, given: tuple[Any, ...]) -> tuple[Any, str, Any]:
    """The library, the function's name in it and its type, for arguments of these types."""
    try:
        return _compiled(builtin, given)
    except Exception as error:
        if not vars(config)["DISABLE_JIT"]:
            raise
        raise NotImplementedError(
            f"{builtin.__name__} is compiled by Numba, which NUMBA_DISABLE_JIT=1 forbids; unset "
            "it, or call this part of the program outside of compiled functions"
        ) from error


@memo
def _compiled(builtin: Any, given: tuple[Any, ...]) -> tuple[Any, str, Any]:
    typing = cpu_target.typing_context
    with global_compiler_lock:
        typing.refresh()
        to = typing.resolve_value_type(builtin).get_call_type(typing, given, {}).return_type
        names = ", ".join(f"x{k}" for k in range(len(given)))
        namespace = {"builtin": builtin}
        exec(f"def word({names}):\n    return builtin({names})", namespace)
        as_c: Any = cfunc  # its published signature knows neither the options nor the library
        built = as_c(to(*given), nopython=True, error_model="numpy")(namespace["word"])
    return built._library, built._wrapper_name, to
