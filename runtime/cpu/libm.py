"""Builtins that are functions of the C library, which every process has loaded."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic


def of_libm(name: str, arity: int = 1) -> Any:
    """The function of that name; of float32 it is the one whose name ends in f."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = values[0].type
        symbol = f"{name}f" if isinstance(kind, ir.FloatType) else name
        function = cgutils.insert_pure_function(
            builder.module, ir.FunctionType(kind, [kind] * arity), symbol
        )
        return builder.call(function, values)

    @intrinsic
    def of_one(typingctx: Any, x: Any) -> Any:
        return x(x), codegen

    @intrinsic
    def of_two(typingctx: Any, a: Any, b: Any) -> Any:
        return a(a, b), codegen

    return of_one if arity == 1 else of_two
