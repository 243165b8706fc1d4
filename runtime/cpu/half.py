"""float16 in memory to float32 in a register and back, as LLVM: one number at a time, which LLVM
vectorises.

A processor with instructions for it uses them. On one without, LLVM would call a function of the C
compiler's library, which a process need not have; there a few integer operations do the same.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir
from numba.core.registry import cpu_target

I16, I32, FLOAT = ir.IntType(16), ir.IntType(32), ir.FloatType()
INFINITY, QUIET = 0x7C00, 0x0200  # of a float16
SHIFT = 13  # bits that the fraction of a float32 is longer
REBIAS = 112 << 23  # between the biases of the exponents
LEAST = 0x38800000  # the least normal float16 as a float32


@cache
def native() -> bool:
    """Whether the machine that kernels are compiled for has the instructions."""
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    return triple.startswith(("aarch64", "arm64")) or "+f16c" in features.split(",")


def widen(builder: Any, bits: Any) -> Any:
    """The 16 bits of a float16, as a float32."""
    if native():
        return builder.fpext(builder.bitcast(bits, ir.HalfType()), FLOAT)
    return widen_by_integers(builder, bits)


def narrow(builder: Any, value: Any) -> Any:
    """A float32 as the 16 bits of a float16, rounded to nearest, ties to even."""
    if native():
        return builder.bitcast(builder.fptrunc(value, ir.HalfType()), I16)
    return narrow_by_integers(builder, value)


def widen_by_integers(builder: Any, bits: Any) -> Any:
    b = builder
    whole = b.zext(bits, I32)
    magnitude = b.and_(whole, I32(0x7FFF))
    sign = b.shl(b.and_(whole, I32(0x8000)), I32(16))
    normal = b.add(b.shl(magnitude, I32(SHIFT)), I32(REBIAS))
    special = b.add(normal, I32(REBIAS))
    special = b.select(
        b.icmp_unsigned(">", magnitude, I32(INFINITY)), b.or_(special, I32(QUIET << SHIFT)), special
    )
    # a subnormal number counts units of 2**-24
    tiny = b.bitcast(b.fmul(b.sitofp(magnitude, FLOAT), FLOAT(2.0**-24)), I32)
    wide = b.select(b.icmp_unsigned(">=", magnitude, I32(INFINITY)), special, normal)
    wide = b.select(b.icmp_unsigned("<", magnitude, I32(0x0400)), tiny, wide)
    return b.bitcast(b.or_(wide, sign), FLOAT)


def narrow_by_integers(builder: Any, value: Any) -> Any:
    b = builder
    bits = b.bitcast(value, I32)
    magnitude = b.and_(bits, I32(0x7FFFFFFF))
    sign = b.and_(b.lshr(bits, I32(16)), I32(0x8000))
    odd = b.and_(b.lshr(magnitude, I32(SHIFT)), I32(1))
    rounded = b.add(b.add(magnitude, I32((1 << SHIFT - 1) - 1)), odd)
    normal = b.lshr(b.sub(rounded, I32(REBIAS)), I32(SHIFT))
    normal = b.select(b.icmp_unsigned(">", normal, I32(INFINITY)), I32(INFINITY), normal)
    # next to 0.5 the last place of a float32 is 2**-24: the addition rounds to such units
    half = b.bitcast(FLOAT(0.5), I32)
    tiny = b.sub(b.bitcast(b.fadd(b.bitcast(magnitude, FLOAT), FLOAT(0.5)), I32), half)
    nan = b.or_(b.and_(b.lshr(magnitude, I32(SHIFT)), I32(0x03FF)), I32(INFINITY | QUIET))
    short = b.select(b.icmp_unsigned("<", magnitude, I32(LEAST)), tiny, normal)
    short = b.select(b.icmp_unsigned(">", magnitude, I32(0x7F800000)), nan, short)
    return b.trunc(b.or_(short, sign), I16)
