"""The builtins of kernel source: one row per name, its meaning to Numba and in plain Python.

Generated kernels are Python over these names. The compiler takes the first column, python_executor
the second, and tests compare them. A primitive whose expression needs a new function adds a row.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ...ir.dtype import bfloat16, float16
from . import (
    arithmetic,
    intrinsics,
    lapack,
    philox,
    python_builtins as plain,
    samplers,
    squares,
    vector_angle,
    vector_error,
    vector_gamma,
    vector_math,
    vector_power,
)
from .arithmetic import llvm_function, straight
from .powers import power
from .special import external


class Builtin(NamedTuple):
    numba: Any
    python: Any


def _scipy(name: str, arity: int = 1) -> Builtin:
    """The function of scipy.special."""
    return Builtin(external(name, arity), plain.of_scipy(name))


_NUMBERS = {
    "f8": np.float64, "f4": np.float32, "i8": np.int64, "i4": np.int32, "i2": np.int16,
    "i1": np.int8, "u1": np.uint8, "b1": np.bool_,
}

BUILTINS: dict[str, Builtin] = {
    # ---- types, constants, loops, the argument block
    **{code: Builtin(kind, plain.number_of(code)) for code, kind in _NUMBERS.items()},
    "inf": Builtin(math.inf, math.inf),
    "nan": Builtin(math.nan, math.nan),
    "range": Builtin(range, range),
    "extent": Builtin(intrinsics.extent, lambda args, k: args[k]),
    "number": Builtin(intrinsics.number, lambda args, k: args[k]),
    # ---- choosing and comparing
    "select": Builtin(arithmetic.select, lambda condition, a, b: a if condition else b),
    "maximum": Builtin(arithmetic.extremum_of(">"), np.maximum),
    "minimum": Builtin(arithmetic.extremum_of("<"), np.minimum),
    "at_least": Builtin(arithmetic.limit_of("<="), np.maximum),
    "at_most": Builtin(arithmetic.limit_of(">="), np.minimum),
    # ---- one more number in the accumulator of a reduction
    "sum_up": Builtin(arithmetic.added_by(multiply=False), np.add),
    "prod_up": Builtin(arithmetic.added_by(multiply=True), np.multiply),
    "max_up": Builtin(arithmetic.extreme_of("maximum"), np.maximum),
    "min_up": Builtin(arithmetic.extreme_of("minimum"), np.minimum),
    # ---- from type to type
    "cast": Builtin(arithmetic.cast, plain.cast),
    "bits": Builtin(intrinsics.bits, plain.bits),
    "round_f2": Builtin(intrinsics.rounded_to("f2"), plain.rounded_to(float16)),
    "round_bf": Builtin(intrinsics.rounded_to("bf"), plain.rounded_to(bfloat16)),
    "apart": Builtin(intrinsics.apart, plain.apart),
    # ---- arithmetic
    "absolute": Builtin(arithmetic.absolute, np.abs),
    "sign": Builtin(arithmetic.sign, plain.sign),
    "invert": Builtin(arithmetic.invert, np.invert),
    "shift_left": Builtin(arithmetic.shift_to(left=True), np.left_shift),
    "shift_right": Builtin(arithmetic.shift_to(left=False), np.right_shift),
    "floor_div": Builtin(arithmetic.floor_div, np.floor_divide),
    "remainder": Builtin(arithmetic.remainder, plain.modulo),
    "fmod": Builtin(arithmetic.fmod, np.fmod),
    "power": Builtin(power, plain.power),
    "gcd": Builtin(math.gcd, np.gcd),
    "copysign": Builtin(arithmetic.copysign, np.copysign),
    "nextafter": Builtin(np.nextafter, np.nextafter),
    "exponent": Builtin(arithmetic.exponent, plain.exponent),
    "ldexp": Builtin(arithmetic.ldexp, plain.ldexp),
    "floor": Builtin(llvm_function("floor"), np.floor),
    "ceil": Builtin(llvm_function("ceil"), np.ceil),
    "trunc": Builtin(llvm_function("trunc"), np.trunc),
    "rint": Builtin(llvm_function("rint"), plain.rint),
    "sqrt": Builtin(llvm_function("sqrt"), np.sqrt),
    "hypot": Builtin(straight(vector_power.hypot, arity=2), np.hypot),
    # ---- elementary functions
    "exp": Builtin(straight(vector_math.exp), np.exp),
    "log": Builtin(straight(vector_math.log), np.log),
    "tanh": Builtin(straight(vector_math.tanh), np.tanh),
    "sigmoid": Builtin(straight(vector_math.sigmoid), plain.of_scipy("expit")),
    "expm1": Builtin(straight(vector_math.expm1), np.expm1),
    "log1p": Builtin(straight(vector_math.log1p), np.log1p),
    "log2": Builtin(straight(vector_math.log2), np.log2),
    "log10": Builtin(straight(vector_math.log10), np.log10),
    "sin": Builtin(straight(vector_angle.sin), np.sin),
    "cos": Builtin(straight(vector_angle.cos), np.cos),
    "tan": Builtin(straight(vector_angle.tan), np.tan),
    "asin": Builtin(straight(vector_angle.asin), np.arcsin),
    "acos": Builtin(straight(vector_angle.acos), np.arccos),
    "atan": Builtin(straight(vector_angle.atan), np.arctan),
    "atan2": Builtin(straight(vector_angle.atan2, arity=2), np.arctan2),
    "sinh": Builtin(straight(vector_math.sinh), np.sinh),
    "cosh": Builtin(straight(vector_math.cosh), np.cosh),
    "asinh": Builtin(straight(vector_math.asinh), np.arcsinh),
    "acosh": Builtin(straight(vector_math.acosh), np.arccosh),
    "atanh": Builtin(straight(vector_math.atanh), np.arctanh),
    # ---- special functions
    "erf": Builtin(straight(vector_error.erf), plain.of_scipy("erf")),
    "erfc": Builtin(straight(vector_error.erfc), plain.of_scipy("erfc")),
    "lgamma": Builtin(straight(vector_gamma.lgamma), plain.lgamma),
    "erfinv": Builtin(straight(vector_error.erfinv), plain.erfinv),
    "erfcx": Builtin(straight(vector_error.erfcx), plain.of_scipy("erfcx")),
    "ndtri": Builtin(straight(vector_error.ndtri), plain.of_scipy("ndtri")),
    "digamma": Builtin(straight(vector_gamma.digamma), plain.of_scipy("psi")),
    "hurwitz": Builtin(arithmetic.hurwitz, plain.zeta),
    "igamma": _scipy("gammainc", arity=2),
    "igammac": _scipy("gammaincc", arity=2),
    "bessel_i0": _scipy("i0"),
    "bessel_i0e": _scipy("i0e"),
    "bessel_i1": _scipy("i1"),
    "bessel_i1e": _scipy("i1e"),
    "bessel_j0": _scipy("j0"),
    "bessel_j1": _scipy("j1"),
    # ---- random bits, samplers, checks, LAPACK
    "philox": Builtin(philox.philox, philox.plain),
    **{name: Builtin(*functions) for name, functions in samplers.ROWS.items()},
    "within": Builtin(intrinsics.within, plain.within),
    "report": Builtin(intrinsics.report, plain.report),
    **{name: Builtin(*row) for name, row in lapack.ROWS.items()},
}
# ---- memory
for _code, (_memory, _) in intrinsics.STORED.items():
    BUILTINS[f"pointer_{_code}"] = Builtin(intrinsics.pointer_to(_memory), plain.pointer)
    BUILTINS[f"load_{_code}"] = Builtin(intrinsics.load_of(_code), plain.load_of(_code))
    BUILTINS[f"store_{_code}"] = Builtin(intrinsics.store_of(_code), plain.store_of(_code))
    BUILTINS[f"turn_{_code}"] = Builtin(squares.turned(_memory), squares.plain(_code))
