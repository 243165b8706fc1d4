"""The words of kernels that call LAPACK, SciPy's, by address.

SciPy publishes the C functions behind scipy.linalg in `cython_lapack` and `cython_blas`. They take
every argument by reference. As with the special functions, LLVM meets them as external symbols, so
that object code can be kept on disk; `provide` binds the symbols before such code is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import CFUNCTYPE, addressof, c_double, c_float, c_int32, c_int64, c_void_p
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic

from ...codegen.program import FACTOR

PREFIX = "tracegrad_lapack_"
# word -> its arguments: i an integer or a letter, r a number, p a pointer to numbers and q one to
# int32, each of these two with a position. The last argument of LAPACK's, `info`, is the answer.
ROUTINES = {
    "potrf": "iipi", "getrf": "iipiq", "geqrf": "iipippi", "orgqr": "iiipippi",
    "syevd": "iiipippiqi", "gesdd": "iiipippipipiq", "trsm": "iiiiiirpipi",
}
_BLAS = ("trsm",)
_TYPES = {"f4": "s", "f8": "d"}
_I32 = ir.IntType(32)


def _address(routine: str, code: str) -> int:
    module = "cython_blas" if routine in _BLAS else "cython_lapack"
    return get_cython_function_address(f"scipy.linalg.{module}", _TYPES[code] + routine)


@cache
def provide() -> None:
    """Let LLVM find the functions; it takes the time of importing scipy.linalg, so not before one
    is used.
    """
    for routine in ROUTINES:
        for code in _TYPES:
            llvm.add_symbol(f"{PREFIX}{routine}_{code}", _address(routine, code))


# ---- Numba
def _emit(routine: str, code: str, context: Any, builder: Any, signature: Any, values: Any) -> Any:
    provide()
    number = types.float32 if code == "f4" else types.float64
    given = iter(zip(values, signature.args, strict=True))

    def held(kind: Any, value: Any) -> Any:
        slot = cgutils.alloca_once(builder, kind)
        builder.store(value, slot)
        return slot

    passed = []
    for letter in ROUTINES[routine]:
        value, of = next(given)
        if letter == "i":
            passed.append(held(_I32, context.cast(builder, value, of, types.int32)))
        elif letter == "r":
            wide = context.cast(builder, value, of, number)
            passed.append(held(wide.type, wide))
        else:
            at, kind = next(given)
            passed.append(builder.gep(value, [context.cast(builder, at, kind, types.int64)]))
    info = held(_I32, ir.Constant(_I32, 0))
    if routine not in _BLAS:
        passed.append(info)
    name = f"{PREFIX}{routine}_{code}"
    kind = ir.FunctionType(ir.VoidType(), [x.type for x in passed])
    callee = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    builder.call(callee, passed)
    return builder.sext(builder.load(info), ir.IntType(64))


def _typed(routine: str, code: str) -> Callable[..., Any]:
    def signature_of(*given: Any) -> Any:
        return types.int64(*given), lambda *generating: _emit(routine, code, *generating)

    return signature_of


def _word(routine: str, code: str) -> Any:
    """An intrinsic of as many arguments as the routine has, which Numba reads off its signature."""
    names = ", ".join(
        f"x{k}" for k in range(len(ROUTINES[routine]) + sum(map(ROUTINES[routine].count, "pq")))
    )
    namespace: dict[str, Any] = {}
    exec(f"def word(typingctx, {names}): return typed({names})", {"typed": _typed(routine, code)},
         namespace)
    return intrinsic(namespace["word"])


@intrinsic
def report_factor(typingctx: Any, status: Any, info: Any, code: Any, batch: Any) -> Any:
    """Matrix number `batch` has no factor: FACTOR, info, the function that says so, batch."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        i64 = ir.IntType(64)
        block, *words = (
            v if k == 0 else context.cast(builder, v, t, types.int64)
            for k, (v, t) in enumerate(zip(values, signature.args, strict=True))
        )
        for k, word in enumerate((ir.Constant(i64, FACTOR), *words)):
            builder.store(word, builder.gep(block, [ir.Constant(i64, k)]))
        return context.get_dummy_value()

    return types.void(status, info, code, batch), codegen


# ---- plain Python
def _plain(routine: str, code: str) -> Callable[..., int]:
    number, size = (c_float, 4) if code == "f4" else (c_double, 8)

    def word(*given: Any) -> int:
        values = iter(given)
        passed: list[Any] = []  # pointers, and the numbers to be pointed to
        for letter in ROUTINES[routine]:
            value = next(values)
            if letter in "pq":
                passed.append(c_void_p(value.cell(next(values), 4 if letter == "q" else size)))
            else:
                passed.append(c_int32(int(value)) if letter == "i" else number(float(value)))
        info = c_int32(0)
        if routine not in _BLAS:
            passed.append(info)
        kind = CFUNCTYPE(None, *[c_void_p] * len(passed))
        kind(_address(routine, code))(
            *(x if isinstance(x, c_void_p) else addressof(x) for x in passed)
        )
        return info.value

    return word


def _report(status: Any, info: int, code: int, batch: int) -> None:
    for k, word in enumerate((FACTOR, int(info), int(code), int(batch))):
        c_int64.from_address(status.cell(k, 8)).value = word


# word -> its meaning to Numba, and in plain Python
ROWS: dict[str, tuple[Any, Any]] = {
    "report_factor": (report_factor, _report),
    **{f"{r}_{code}": (_word(r, code), _plain(r, code)) for r in ROUTINES for code in _TYPES},
}
