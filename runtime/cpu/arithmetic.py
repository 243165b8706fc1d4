"""The arithmetic of kernels on a CPU, for builtins.py: functions of numbers in registers.

Those that LLVM or libm has are passed on, the rest is a few instructions each. NaN, infinities and
integer overflow come out as NumPy and torch have them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload, register_jitable

from . import special
from .real import Real


# ---- choosing
@intrinsic
def select(typingctx: Any, condition: Any, a: Any, b: Any) -> Any:
    both = typingctx.unify_types(a, b)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        x, y = (
            context.cast(builder, v, t, both)
            for v, t in zip(values[1:], signature.args[1:], strict=True)
        )
        return builder.select(values[0], x, y)

    return both(condition, a, b), codegen


def extremum_of(sign: str) -> Any:
    @intrinsic
    def extremum(typingctx: Any, a: Any, b: Any) -> Any:
        """The larger (smaller) of two; NaN if either is, and b of two zeros, as NumPy has it."""
        both = typingctx.unify_types(a, b)

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            x, y = (
                context.cast(builder, v, t, both)
                for v, t in zip(values, signature.args, strict=True)
            )
            if isinstance(both, types.Float):
                chosen = builder.select(builder.fcmp_ordered(sign, x, y), x, y)
                return builder.select(builder.fcmp_unordered("uno", x, x), x, chosen)
            return _larger(builder, both, sign, x, y)

        return both(a, b), codegen

    return extremum


def limit_of(sign: str) -> Any:
    @intrinsic
    def limit(typingctx: Any, x: Any, y: Any) -> Any:
        """The maximum (minimum) of x and a y that is no NaN, as `maximum` has it."""

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            bound = context.cast(builder, values[1], y, x)
            return builder.select(builder.fcmp_ordered(sign, values[0], bound), bound, values[0])

        return x(x, y), codegen

    return limit


def _larger(builder: Any, kind: Any, sign: str, x: Any, y: Any) -> Any:
    signed = getattr(kind, "signed", False)
    compare = builder.icmp_signed if signed else builder.icmp_unsigned
    return builder.select(compare(sign, x, y), x, y)


# ---- one more number in the accumulator of a reduction
_REGROUPED = ("reassoc",)  # LLVM may add up in several accumulators; nothing else is free


def added_by(multiply: bool) -> Any:
    @intrinsic
    def added(typingctx: Any, acc: Any, x: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            y = context.cast(builder, values[1], x, acc)
            if isinstance(acc, types.Float):
                return (builder.fmul if multiply else builder.fadd)(values[0], y, flags=_REGROUPED)
            return (builder.mul if multiply else builder.add)(values[0], y)

        return acc(acc, x), codegen

    return added


def extreme_of(name: str) -> Any:
    @intrinsic
    def extreme(typingctx: Any, acc: Any, x: Any) -> Any:
        """The larger (smaller) so far; NaN if any was. Which zero it is depends on the order."""

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            y = context.cast(builder, values[1], x, acc)
            fn = builder.module.declare_intrinsic(
                f"llvm.{name}", [y.type], ir.FunctionType(y.type, [y.type] * 2)
            )
            return builder.call(fn, [values[0], y], fastmath=("nsz",))

        return acc(acc, x), codegen

    return extreme


@intrinsic
def cast(typingctx: Any, x: Any, like: Any) -> Any:
    """x as the type of `like`. A float becomes an integer as the processors that torch and NumPy
    run on have it: one of 32 bits or 64, the least of them where it does not fit or is NaN, of
    which a smaller type keeps the low bits. As in torch those 64 bits are meant for bytes, too.
    """

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        source, target = signature.args
        value = values[0]
        if isinstance(target, types.Boolean):
            zero = ir.Constant(value.type, 0)
            if isinstance(source, types.Float):
                return builder.fcmp_unordered("une", value, zero)
            return builder.icmp_unsigned("!=", value, zero)
        if isinstance(source, types.Float) and isinstance(target, types.Integer):
            signed, bits = target.signed, target.bitwidth  # type: ignore[attr-defined]
            # a float32 beyond 32 bits has zeros in the last byte
            bits = max(bits, 32 if signed or source is types.float32 else 64)
            wide = ir.IntType(bits)
            name = f"llvm.fptosi.sat.{wide.intrinsic_name}.{value.type.intrinsic_name}"
            fn = builder.module.globals.get(name) or ir.Function(
                builder.module, ir.FunctionType(wide, [value.type]), name
            )
            above = builder.fcmp_unordered(">=", value, ir.Constant(value.type, 2.0 ** (bits - 1)))
            least = ir.Constant(wide, -(2 ** (bits - 1)))
            whole = builder.select(above, least, builder.call(fn, [value]))
            to = context.get_value_type(target)
            return whole if to.width == bits else builder.trunc(whole, to)
        return context.cast(builder, value, source, target)

    return like(x, like), codegen


# ---- functions of one number that LLVM has
def llvm_function(name: str) -> Any:
    @intrinsic
    def unary(typingctx: Any, x: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            (v,) = values
            if name == "sqrt":
                # else 1 / sqrt(x) becomes an estimate and a Newton step, which give NaN for 0 and
                # infinity; llvmlite's `add` refuses attributes that it does not know
                set.add(builder.function.attributes, '"reciprocal-estimates"="none"')
            fn = builder.module.declare_intrinsic(
                f"llvm.{name}", [v.type], ir.FunctionType(v.type, [v.type])
            )
            return builder.call(fn, [v])

        return (x(x), codegen) if isinstance(x, types.Float) else (x(x), lambda c, b, s, v: v[0])

    return unary


@intrinsic
def absolute(typingctx: Any, x: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        (v,) = values
        if isinstance(x, types.Float):
            fn = builder.module.declare_intrinsic(
                "llvm.fabs", [v.type], ir.FunctionType(v.type, [v.type])
            )
            return builder.call(fn, [v])
        if not getattr(x, "signed", False):
            return v
        return builder.select(
            builder.icmp_signed("<", v, ir.Constant(v.type, 0)), builder.neg(v), v
        )

    return x(x), codegen


@intrinsic
def sign(typingctx: Any, x: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        (v,) = values
        zero, one = ir.Constant(v.type, 0), ir.Constant(v.type, 1)
        if isinstance(x, types.Float):
            below = builder.select(
                builder.fcmp_ordered("<", v, zero), ir.Constant(v.type, -1.0), zero
            )  # NaN: 0
            return builder.select(builder.fcmp_ordered(">", v, zero), one, below)
        if not getattr(x, "signed", False):
            return (
                builder.zext(builder.icmp_unsigned("!=", v, zero), v.type)
                if v.type.width > 1
                else v
            )
        below = builder.select(builder.icmp_signed("<", v, zero), ir.Constant(v.type, -1), zero)
        return builder.select(builder.icmp_signed(">", v, zero), one, below)

    return x(x), codegen


@intrinsic
def invert(typingctx: Any, x: Any) -> Any:
    return x(x), lambda context, builder, signature, values: builder.not_(values[0])


# ---- the rarer ones, as small functions that LLVM inlines
def shift_to(left: bool) -> Any:
    @intrinsic
    def shift(typingctx: Any, a: Any, b: Any) -> Any:
        """As torch has it: a distance outside the width of the type shifts everything out."""

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            x, by = values[0], context.cast(builder, values[1], b, a)
            signed = getattr(a, "signed", False)
            width = ir.Constant(x.type, x.type.width)
            last = ir.Constant(x.type, x.type.width - 1)
            within = builder.icmp_unsigned("<", by, width)
            by = builder.select(within, by, last)
            if not left and signed:
                return builder.ashr(x, by)
            moved = (builder.shl if left else builder.lshr)(x, by)
            return builder.select(within, moved, ir.Constant(x.type, 0))

        return a(a, b), codegen

    return shift


def _division(of_integers: Callable) -> Any:
    """A word for the quotient of integers or the rest, built from the dividend, the divisor, and
    quotient and rest as the processor has them. The divisor is 1 for it where it would trap: for 0,
    and for -1, by which the least number has no quotient. Of 0 the answer is 0.
    """

    @intrinsic
    def division(typingctx: Any, a: Any, b: Any) -> Any:
        both = typingctx.unify_types(a, b)

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            x, y = (
                context.cast(builder, v, t, both)
                for v, t in zip(values, signature.args, strict=True)
            )
            signed = getattr(both, "signed", False)
            zero = builder.icmp_unsigned("==", y, y.type(0))
            trap = builder.icmp_unsigned("<=", builder.add(y, y.type(1)), y.type(1))
            safe = builder.select(trap if signed else zero, y.type(1), y)
            divide, rest = (builder.sdiv, builder.srem) if signed else (builder.udiv, builder.urem)
            found = of_integers(builder, x, y, divide(x, safe), rest(x, safe), signed)
            return builder.select(zero, y.type(0), found)

        return both(a, b), codegen

    return division


def _by_kind(of_floats: Callable, of_integers: Any) -> Callable:
    """A word that is one function of floats and another of integers."""

    def word(a: Any, b: Any) -> Any:
        raise NotImplementedError("a word of kernels")

    whole = lambda a, b: of_integers(a, b)  # noqa: E731 (Numba compares names and annotations)
    overload(word)(lambda a, b: of_floats if isinstance(a, types.Float) else whole)
    return word


def _off(builder: Any, y: Any, rest: Any) -> Any:
    """Whether the quotient was rounded up: there is a rest, and its sign is not the divisor's."""
    zero = rest.type(0)
    apart = builder.icmp_signed("<", builder.xor(rest, y), zero)
    return builder.and_(builder.icmp_unsigned("!=", rest, zero), apart)


def _floor_div(builder: Any, x: Any, y: Any, quotient: Any, rest: Any, signed: bool) -> Any:
    if not signed:
        return quotient
    one = builder.zext(_off(builder, y, rest), y.type)
    opposite = builder.icmp_signed("==", y, y.type(-1))
    return builder.select(opposite, builder.neg(x), builder.sub(quotient, one))


def _remainder(builder: Any, x: Any, y: Any, quotient: Any, rest: Any, signed: bool) -> Any:
    if not signed:
        return rest
    return builder.select(_off(builder, y, rest), builder.add(rest, y), rest)


@intrinsic
def _frem(typingctx: Any, a: Any, b: Any) -> Any:
    return a(a, a), lambda context, builder, signature, values: builder.frem(*values)


@register_jitable
def _modulo(a: Any, b: Any) -> Any:
    rest: Any = _frem(a, b)  # type: ignore[call-arg]
    return rest + b if rest != 0 and (rest < 0) != (b < 0) else rest


floor_div = _by_kind(lambda a, b: a // b, _division(_floor_div))
remainder = _by_kind(lambda a, b: _modulo(a, b), _division(_remainder))
fmod = _by_kind(
    lambda a, b: _frem(a, b),  # type: ignore[call-arg]
    _division(lambda builder, x, y, quotient, rest, signed: rest),
)


@intrinsic
def copysign(typingctx: Any, a: Any, b: Any) -> Any:
    both = typingctx.unify_types(a, b)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        x, y = (
            context.cast(builder, v, t, both) for v, t in zip(values, signature.args, strict=True)
        )
        fn = builder.module.declare_intrinsic(
            "llvm.copysign", [x.type], ir.FunctionType(x.type, [x.type] * 2)
        )
        return builder.call(fn, [x, y])

    return both(a, b), codegen


@register_jitable
def exponent(x: Any) -> Any:
    return math.frexp(x)[1] if math.isfinite(x) else 0


@register_jitable
def ldexp(x: Any, k: Any) -> Any:
    whole: Any = np.int32(0 if k != k else min(max(k, -4000), 4000))
    return k if k != k else math.ldexp(x, whole)


@register_jitable
def hurwitz(s: Any, q: Any) -> Any:
    return cast(special.hurwitz(np.float64(s), np.float64(q)), q)  # type: ignore[call-arg]


def straight(formula: Callable[..., Real], arity: int = 1) -> Any:
    """A function of vector_*.py as a word."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        to = signature.return_type
        kinds = zip(values, signature.args, strict=True)
        return formula(*(Real(builder, context.cast(builder, v, t, to)) for v, t in kinds)).value

    @intrinsic
    def of_one(typingctx: Any, x: Any) -> Any:
        return x(x), codegen

    @intrinsic
    def of_two(typingctx: Any, a: Any, b: Any) -> Any:
        return typingctx.unify_types(a, b)(a, b), codegen

    return of_one if arity == 1 else of_two
