"""The vocabulary of kernel source on a CPU: each word of it as a few LLVM instructions.

Loads and stores carry alias scopes, one per pointer, so that LLVM knows that buffers do not overlap
and vectorises loops over many of them. Nothing here allocates, raises or calls back into Python.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

from ..codegen.vecmath import FUNCTIONS

SCOPES = 32  # pointers beyond this many in one kernel do without scopes
I64 = ir.IntType(64)
_STORED: dict[str, tuple[Any, Any]] = {  # code -> (type in memory, type in a register)
    "f8": (types.float64, types.float64), "f4": (types.float32, types.float32),
    "f2": (types.uint16, types.float32), "bf": (types.uint16, types.float32),
    "i8": (types.int64, types.int64), "i4": (types.int32, types.int32),
    "i2": (types.int16, types.int16), "i1": (types.int8, types.int8),
    "u1": (types.uint8, types.uint8), "b1": (types.uint8, types.boolean),
}  # fmt: skip


# ---- the argument block
@intrinsic
def extent(typingctx: Any, args: Any, k: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _invariant(builder, builder.gep(values[0], [values[1]]))

    return types.int64(args, k), codegen


@intrinsic
def number(typingctx: Any, args: Any, k: Any) -> Any:
    """A float64 constant whose bits stand in the argument block."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.bitcast(
            _invariant(builder, builder.gep(values[0], [values[1]])), ir.DoubleType()
        )

    return types.float64(args, k), codegen


def _invariant(builder: Any, pointer: Any) -> Any:
    value = builder.load(pointer)
    value.set_metadata("invariant.load", builder.module.add_metadata([]))
    return value


def _pointer(memory: Any) -> Any:
    @intrinsic
    def pointer(typingctx: Any, args: Any, k: Any) -> Any:
        """The argument is the address of a table entry; the entry is the pointer."""

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            entry = builder.inttoptr(
                _invariant(builder, builder.gep(values[0], [values[1]])), I64.as_pointer()
            )
            return builder.inttoptr(
                _invariant(builder, entry), context.get_value_type(memory).as_pointer()
            )

        return types.CPointer(memory)(args, k), codegen

    return pointer


# ---- memory
def _scoped(builder: Any, instruction: Any, k: int) -> None:
    if k >= SCOPES:
        return
    module = builder.module
    scopes = getattr(module, "tracegrad_scopes", None)
    if scopes is None:
        domain = module.add_metadata([ir.MetaDataString(module, "tracegrad")])
        scopes = [
            module.add_metadata([ir.MetaDataString(module, f"p{i}"), domain]) for i in range(SCOPES)
        ]
        module.tracegrad_scopes = scopes
    instruction.set_metadata("alias.scope", module.add_metadata([scopes[k]]))
    instruction.set_metadata(
        "noalias", module.add_metadata([s for i, s in enumerate(scopes) if i != k])
    )


def _decode(code: str, builder: Any, raw: Any) -> Any:
    if code == "b1":
        return builder.icmp_unsigned("!=", raw, ir.Constant(raw.type, 0))
    if code == "bf":
        wide = builder.shl(builder.zext(raw, ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
        return builder.bitcast(wide, ir.FloatType())
    if code == "f2":
        return builder.fpext(builder.bitcast(raw, ir.HalfType()), ir.FloatType())
    return raw


def _encode(code: str, builder: Any, value: Any) -> Any:
    if code == "b1":
        return builder.zext(value, ir.IntType(8))
    if code == "f2":
        return builder.bitcast(builder.fptrunc(value, ir.HalfType()), ir.IntType(16))
    if code == "bf":
        i32 = ir.IntType(32)
        bits = builder.bitcast(value, i32)
        odd = builder.and_(builder.lshr(bits, ir.Constant(i32, 16)), ir.Constant(i32, 1))
        rounded = builder.add(builder.add(bits, ir.Constant(i32, 0x7FFF)), odd)
        quiet = builder.select(
            builder.fcmp_unordered("uno", value, value), ir.Constant(i32, 0x7FC00000), rounded
        )
        return builder.trunc(builder.lshr(quiet, ir.Constant(i32, 16)), ir.IntType(16))
    return value


def _load(code: str) -> Any:
    _, register = _STORED[code]

    @intrinsic(prefer_literal=True)
    def load(typingctx: Any, pointer: Any, position: Any, scope: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            at = context.cast(builder, values[1], signature.args[1], types.int64)
            raw = builder.load(builder.gep(values[0], [at]))
            _scoped(builder, raw, scope.literal_value)
            return _decode(code, builder, raw)

        return register(pointer, position, scope), codegen

    return load


def _store(code: str) -> Any:
    _, register = _STORED[code]

    @intrinsic(prefer_literal=True)
    def store(typingctx: Any, pointer: Any, position: Any, value: Any, scope: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            at = context.cast(builder, values[1], signature.args[1], types.int64)
            number_ = context.cast(builder, values[2], signature.args[2], register)
            written = builder.store(_encode(code, builder, number_), builder.gep(values[0], [at]))
            _scoped(builder, written, scope.literal_value)
            return context.get_dummy_value()

        return types.void(pointer, position, value, scope), codegen

    return store


def _round(code: str) -> Any:
    @intrinsic
    def round_(typingctx: Any, x: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return _decode(code, builder, _encode(code, builder, values[0]))

        return types.float32(types.float32), codegen

    return round_


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


def _extremum(name: str, sign: str) -> Any:
    @intrinsic
    def extremum(typingctx: Any, a: Any, b: Any) -> Any:
        """The larger (smaller) of two; NaN if either is."""
        both = typingctx.unify_types(a, b)

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            x, y = (
                context.cast(builder, v, t, both)
                for v, t in zip(values, signature.args, strict=True)
            )
            if isinstance(both, types.Float):
                fn = builder.module.declare_intrinsic(
                    f"llvm.{name}", [x.type], ir.FunctionType(x.type, [x.type] * 2)
                )
                return builder.call(fn, [x, y])
            compare = (
                builder.icmp_signed if getattr(both, "signed", False) else builder.icmp_unsigned
            )
            return builder.select(compare(sign, x, y), x, y)

        return both(a, b), codegen

    return extremum


@intrinsic
def cast(typingctx: Any, x: Any, like: Any) -> Any:
    """x as the type of `like`; floats outside an integer's range become its nearest end, NaN
    becomes 0.
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
            to = context.get_value_type(target)
            kind = "fptosi" if target.signed else "fptoui"  # type: ignore[attr-defined]
            name = f"llvm.{kind}.sat.{to.intrinsic_name}.{value.type.intrinsic_name}"
            fn = builder.module.globals.get(name) or ir.Function(
                builder.module, ir.FunctionType(to, [value.type]), name
            )
            return builder.call(fn, [value])
        return context.cast(builder, value, source, target)

    return like(x, like), codegen


# ---- functions of one number that LLVM has
def _unary(name: str) -> Any:
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


# ---- checks: report once through the status block, and go on with a harmless value
@intrinsic
def check_index(typingctx: Any, status: Any, index: Any, size: Any, dim: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        block = values[0]
        i = context.cast(builder, values[1], index, types.int64)
        n, d = values[2], values[3]
        zero = ir.Constant(I64, 0)
        label = builder.icmp_signed("<", d, zero)  # class labels do not count from the end
        low = builder.icmp_signed("<", i, builder.select(label, zero, builder.neg(n)))
        bad = builder.or_(low, builder.icmp_signed(">=", i, n))
        with builder.if_then(bad, likely=False):
            for k, v in enumerate((ir.Constant(I64, 1), i, n, d)):
                builder.store(v, builder.gep(block, [ir.Constant(I64, k)]))
        wrapped = builder.select(builder.icmp_signed("<", i, zero), builder.add(i, n), i)
        safe = builder.select(bad, zero, wrapped)
        return context.cast(builder, safe, types.int64, index)

    return index(status, index, size, dim), codegen


# ---- the rarer ones, as small functions that LLVM inlines
@register_jitable
def floor_div(a: Any, b: Any) -> Any:
    return a // b


@register_jitable
def remainder(a: Any, b: Any) -> Any:
    return a % b


@register_jitable
def power(a: Any, b: Any) -> Any:
    return a**b


@register_jitable
def shift_left(a: Any, b: Any) -> Any:
    return a << b


@register_jitable
def shift_right(a: Any, b: Any) -> Any:
    return a >> b


_LIBM = ("expm1", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh",
         "asinh", "acosh", "atanh", "erf", "erfc", "lgamma", "atan2")  # fmt: skip
_LLVM = ("sqrt", "floor", "ceil", "trunc", "rint")


def _vectorised(emit: Callable[[Any, Any], Any]) -> Any:
    @intrinsic
    def function(typingctx: Any, x: Any) -> Any:
        return x(x), lambda context, builder, signature, values: emit(builder, values[0])

    return function


VOCABULARY: dict[str, Any] = {
    "f8": np.float64, "f4": np.float32, "i8": np.int64, "i4": np.int32, "i2": np.int16,
    "i1": np.int8, "u1": np.uint8, "b1": np.bool_, "inf": math.inf, "nan": math.nan, "range": range,
    "extent": extent, "number": number, "select": select, "cast": cast,
    "absolute": absolute, "sign": sign, "invert": invert, "check_index": check_index,
    "floor_div": floor_div, "remainder": remainder, "power": power,
    "shift_left": shift_left, "shift_right": shift_right,
    "maximum": _extremum("maximum", ">"), "minimum": _extremum("minimum", "<"),
    "round_f2": _round("f2"), "round_bf": _round("bf"),
    **{name: getattr(math, name) for name in _LIBM},
    **{name: _vectorised(emit) for name, emit in FUNCTIONS.items()},
    **{name: _unary(name) for name in _LLVM},
}  # fmt: skip
for _code, (_memory, _) in _STORED.items():
    VOCABULARY[f"pointer_{_code}"] = _pointer(_memory)
    VOCABULARY[f"load_{_code}"] = _load(_code)
    VOCABULARY[f"store_{_code}"] = _store(_code)
