"""Memory, conversions and checks in kernels on a CPU, as a few LLVM instructions (see builtins.py).

Loads and stores carry alias scopes, one per pointer, so that LLVM knows that buffers do not overlap
and vectorises loops over many of them. Nothing here allocates, raises or calls back into Python.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import half

SCOPES = 32  # pointers beyond this many in one kernel do without scopes
I64 = ir.IntType(64)
STORED: dict[str, tuple[Any, Any]] = {  # code -> (type in memory, type in a register)
    "f8": (types.float64, types.float64), "f4": (types.float32, types.float32),
    "f2": (types.uint16, types.float32), "bf": (types.uint16, types.float32),
    "i8": (types.int64, types.int64), "i4": (types.int32, types.int32),
    "i2": (types.int16, types.int16), "i1": (types.int8, types.int8),
    "u1": (types.uint8, types.uint8), "b1": (types.uint8, types.boolean),
}


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


def pointer_to(memory: Any) -> Any:
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
def scoped(builder: Any, instruction: Any, k: int) -> None:
    if k >= SCOPES:
        return
    module = builder.module
    scopes = getattr(module, "tracegrad_scopes", None)
    if scopes is None:
        domain = module.add_metadata([ir.MetaDataString(module, "tracegrad")])
        every = [
            module.add_metadata([ir.MetaDataString(module, f"p{i}"), domain]) for i in range(SCOPES)
        ]
        module.tracegrad_scopes = scopes = [
            (module.add_metadata([own]), module.add_metadata([x for x in every if x is not own]))
            for own in every
        ]
    for kind, metadata in zip(("alias.scope", "noalias"), scopes[k], strict=True):
        instruction.set_metadata(kind, metadata)


def _decode(code: str, builder: Any, raw: Any) -> Any:
    if code == "b1":
        return builder.icmp_unsigned("!=", raw, ir.Constant(raw.type, 0))
    if code == "bf":
        wide = builder.shl(builder.zext(raw, ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
        return builder.bitcast(wide, ir.FloatType())
    if code == "f2":
        return half.widen(builder, raw)
    return raw


def _encode(code: str, builder: Any, value: Any) -> Any:
    if code == "b1":
        return builder.zext(value, ir.IntType(8))
    if code == "f2":
        return half.narrow(builder, value)
    if code == "bf":
        i32 = ir.IntType(32)
        nan = builder.fcmp_unordered("uno", value, value)
        quiet = builder.select(nan, ir.Constant(i32, 0x7FC00000), _to_bfloat(builder, value))
        return builder.trunc(builder.lshr(quiet, ir.Constant(i32, 16)), ir.IntType(16))
    return value


def _to_bfloat(builder: Any, value: Any) -> Any:
    """The bits of a float32 that is no NaN, of which the upper half is the bfloat16 next to it."""
    i32 = ir.IntType(32)
    bits = builder.bitcast(value, i32)
    odd = builder.and_(builder.lshr(bits, ir.Constant(i32, 16)), ir.Constant(i32, 1))
    return builder.add(builder.add(bits, ir.Constant(i32, 0x7FFF)), odd)


def _within(builder: Any, pointer: Any, at: Any) -> Any:
    """The address of a number in a buffer. As LLVM knows that it is inside, and does not wrap
    around, it makes vectors of loops with many of them, such as those over short rows.
    """
    return builder.gep(pointer, [at], inbounds=True)


def load_of(code: str) -> Any:
    _, register = STORED[code]

    @intrinsic(prefer_literal=True)
    def load(typingctx: Any, pointer: Any, position: Any, scope: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            at = context.cast(builder, values[1], signature.args[1], types.int64)
            raw = builder.load(_within(builder, values[0], at))
            scoped(builder, raw, scope.literal_value)
            return _decode(code, builder, raw)

        return register(pointer, position, scope), codegen

    return load


def store_of(code: str) -> Any:
    _, register = STORED[code]

    @intrinsic(prefer_literal=True)
    def store(typingctx: Any, pointer: Any, position: Any, value: Any, scope: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            at = context.cast(builder, values[1], signature.args[1], types.int64)
            number_ = context.cast(builder, values[2], signature.args[2], register)
            target = _within(builder, values[0], at)
            written = builder.store(_encode(code, builder, number_), target)
            scoped(builder, written, scope.literal_value)
            return context.get_dummy_value()

        return types.void(pointer, position, value, scope), codegen

    return store


def rounded_to(code: str) -> Any:
    @intrinsic
    def round_(typingctx: Any, x: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            (value,) = values
            if code == "f2":
                return _decode(code, builder, _encode(code, builder, value))
            # a NaN by bits that are set: LLVM would draw a choice of it out of the sum that follows
            # and not vectorise what is left
            i32 = ir.IntType(32)
            nan = builder.sext(builder.fcmp_unordered("uno", value, value), i32)
            quiet = builder.and_(nan, ir.Constant(i32, 0x7FC00000))
            bits = builder.or_(_to_bfloat(builder, value), quiet)
            whole = builder.and_(bits, ir.Constant(i32, 0xFFFF0000))
            return builder.bitcast(whole, ir.FloatType())

        return types.float32(types.float32), codegen

    return round_


@intrinsic
def bits(typingctx: Any, x: Any, like: Any) -> Any:
    """The bits of x as a number of the type of `like`."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        source, target = signature.args
        to = context.get_value_type(target)
        if isinstance(source, types.Boolean):
            return builder.zext(values[0], to)
        return builder.bitcast(values[0], to)

    return like(x, like), codegen


# ---- checks: a harmless index stands in for a bad one; report once through the status block
def _bounds(builder: Any, n: Any, dim: Any) -> Any:
    """The least index of an axis of n: 0 if a negative dim says that none counts from the end."""
    zero = ir.Constant(I64, 0)
    return builder.select(builder.icmp_signed("<", dim, zero), zero, builder.neg(n))


@intrinsic
def within(typingctx: Any, index: Any, size: Any, dim: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        i, n, d = (context.cast(builder, v, t, types.int64)
                   for v, t in zip(values, signature.args, strict=True))
        zero = ir.Constant(I64, 0)
        low = builder.icmp_signed("<", i, _bounds(builder, n, d))
        bad = builder.or_(low, builder.icmp_signed(">=", i, n))
        wrapped = builder.select(builder.icmp_signed("<", i, zero), builder.add(i, n), i)
        return context.cast(builder, builder.select(bad, zero, wrapped), types.int64, index)

    return index(index, size, dim), codegen


@intrinsic
def report(typingctx: Any, status: Any, least: Any, most: Any, size: Any, dim: Any) -> Any:
    """One of the two is out of range: say so, if nobody has yet."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        block, (low, high, n, d) = values[0], (
            context.cast(builder, v, t, types.int64)
            for v, t in zip(values[1:], signature.args[1:], strict=True)
        )
        zero = ir.Constant(I64, 0)
        above = builder.icmp_signed(">=", high, n)
        bad = builder.or_(above, builder.icmp_signed("<", low, _bounds(builder, n, d)))
        with builder.if_then(bad, likely=False):
            claim = builder.cmpxchg(block, zero, ir.Constant(I64, 1), "monotonic", "monotonic")
            with builder.if_then(builder.extract_value(claim, 1)):  # one of several threads reports
                for k, v in enumerate((builder.select(above, high, low), n, d), 1):
                    builder.store(v, builder.gep(block, [ir.Constant(I64, k)]))
        return context.get_dummy_value()

    return types.void(status, least, most, size, dim), codegen


@intrinsic
def apart(typingctx: Any, x: Any, start: Any) -> Any:
    """x, with bits joined to it that are zero, which LLVM cannot know: the sign of `start`, where a
    loop begins. So it does not see how x was made. `llvm.canonicalize` would say that by name, but
    LLVM 22 aborts the process where it has made vectors of two of them.
    """

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        value, begin = values
        bits = ir.IntType(64 if isinstance(value.type, ir.DoubleType) else 32)
        nothing = builder.lshr(begin, ir.Constant(begin.type, begin.type.width - 1))
        if nothing.type != bits:
            nothing = builder.trunc(nothing, bits)
        joined = builder.or_(builder.bitcast(value, bits), nothing)
        return builder.bitcast(joined, value.type)

    is_float = isinstance(x, types.Float)
    return x(x, start), codegen if is_float else lambda context, builder, signature, v: v[0]
