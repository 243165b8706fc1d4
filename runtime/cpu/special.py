"""The special functions of kernels: SciPy's own, called by address, and zeta written out.

SciPy publishes the C functions behind scipy.special in `cython_special`. LLVM meets them as
external symbols, so that object code can be kept on disk; `provide` binds the symbols before such
code is loaded. float32 is computed in float64 and rounded once.
"""

from __future__ import annotations

import ctypes
import math
import re
from functools import cache
from importlib import import_module
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.extending import get_cython_function_address, intrinsic, register_jitable
from numpy import floor

PREFIX = "tracegrad_scipy_"
_CYTHON = "scipy.special.cython_special"
_USED: dict[str, tuple[str, int]] = {}  # symbol -> the function of SciPy, and its operands


@cache
def provide() -> None:
    """Let LLVM find the functions; it takes the time of importing scipy.special, so not before one
    is used.
    """
    for symbol, used in _USED.items():
        llvm.add_symbol(symbol, get_cython_function_address(_CYTHON, _exported(*used)))


def _exported(name: str, arity: int) -> str:
    """How a function of doubles is exported. One of several types is exported once for each."""
    kind = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)
    signature = kind(("PyCapsule_GetName", ctypes.pythonapi))
    wanted = f"double ({'double, ' * arity}int".encode()
    for exported, function in import_module(_CYTHON).__pyx_capi__.items():
        alike = re.sub(r"__pyx_fuse_\d+", "", exported) == name
        if alike and signature(function).startswith(wanted):
            return exported
    raise ImportError(f"{_CYTHON} has no {name} of {arity} doubles")


def external(name: str, arity: int = 1) -> Any:
    """A builtin that calls SciPy's function of up to three doubles. In C it takes an int more,
    which is Cython's.
    """
    symbol = PREFIX + name
    _USED[symbol] = name, arity

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        provide()
        double, flag = ir.DoubleType(), ir.IntType(32)
        known = builder.module.globals.get(symbol)
        callee = known or ir.Function(
            builder.module, ir.FunctionType(double, [double] * arity + [flag]), symbol
        )
        wide = [
            context.cast(builder, v, t, types.float64)
            for v, t in zip(values, signature.args, strict=True)
        ]
        y = builder.call(callee, [*wide, ir.Constant(flag, 0)])
        return context.cast(builder, y, types.float64, signature.return_type)

    @intrinsic
    def of_one(typingctx: Any, x: Any) -> Any:
        return x(x), codegen

    @intrinsic
    def of_two(typingctx: Any, a: Any, x: Any) -> Any:
        return typingctx.unify_types(a, x)(a, x), codegen

    @intrinsic
    def of_three(typingctx: Any, a: Any, b: Any, x: Any) -> Any:
        return x(a, b, x), codegen

    return (of_one, of_two, of_three)[arity - 1]


# B(2k) / (2k)!, k = 1..12, of the Euler-Maclaurin sum
_BERNOULLI = tuple(
    b / math.factorial(2 * k + 2)
    for k, b in enumerate((1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510,
                           43867 / 798, -174611 / 330, 854513 / 138, -236364091 / 2730))
)


@register_jitable
def _summed(s: float, q: float) -> float:
    """The sum by Euler's and Maclaurin's formula.

    Johansson (2013), Rigorous high-precision computation of the Hurwitz zeta function, equation 5.
    """
    total = 0.0
    while q < 10.0 + s:  # from here on the terms of the correction fall
        last = q**-s
        total += last
        q += 1.0
        if q > 2.0 and last <= 1e-17 * math.fabs(total):
            return total
    last = q**-s
    total += last * (q / (s - 1.0) + 0.5)
    term = s * last / q
    for k in range(12):
        total += term * _BERNOULLI[k]
        term *= (s + 2 * k + 1) * (s + 2 * k + 2) / (q * q)
    return total


@register_jitable
def hurwitz(s: float, q: float) -> float:
    """zeta(s, q), the sum over n >= 0 of 1 / (n + q)**s."""
    whole = q == floor(q)
    if s == 1.0 or (q <= 0.0 and whole and not s < 1.0):
        return math.inf
    if s < 1.0 or q != q or (q <= 0.0 and s != floor(s)):
        return math.nan
    if q == math.inf:
        return 0.0 if s == s else s
    if s == math.inf and q > 1.0:
        return math.nan  # as SciPy has it
    if q < -20.0:
        f = q - floor(q)  # the terms before f, as zetas: see ir/ops/special.py
        terms = _summed(s, 1.0 - f) - _summed(s, 1.0 - q)
        return _summed(s, f) + (-terms if s % 2.0 == 1.0 else terms)
    return _summed(s, q)
