"""Memory of a GPU in kernels: what an address is read and written as.

The vocabulary that compilers for CUDA share has arrays and no addresses, so this is written in LLVM
instructions: loads, stores, and a word that the first of many threads changes. Nothing else is.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

GLOBAL = 1  # the address space
LANES = 4  # of a vector
I32, I64 = ir.IntType(32), ir.IntType(64)


def _cell(context: Any, builder: Any, kind: Any, address: Any, position: Any) -> Any:
    pointer = builder.inttoptr(address, context.get_value_type(kind).as_pointer(GLOBAL))
    return builder.gep(pointer, [position])


def load_of(extending: Any, types: Any, kind: Any) -> Any:
    """The number of this type at a position from an address."""

    def load(typingctx: Any, address: Any, position: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.load(_cell(context, builder, kind, *values))

        return kind(types.int64, types.int64), codegen

    return extending.intrinsic(load)


def store_of(extending: Any, types: Any, kind: Any) -> Any:
    def store(typingctx: Any, address: Any, position: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            *where, number = values
            builder.store(number, _cell(context, builder, kind, *where))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, kind), codegen

    return extending.intrinsic(store)


def _vector(context: Any, builder: Any, kind: Any, address: Any, position: Any) -> Any:
    """The pointer to LANES numbers side by side, and the bytes to which it is aligned."""
    vector = ir.VectorType(context.get_value_type(kind), LANES)
    cell = _cell(context, builder, kind, address, position)
    return builder.bitcast(cell, vector.as_pointer(GLOBAL)), min(16, LANES * kind.bitwidth // 8)


def load4_of(extending: Any, types: Any, kind: Any) -> Any:
    """LANES numbers at a time, where memory is aligned to as many bytes, or 16."""

    def load4(typingctx: Any, address: Any, position: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            pointer, align = _vector(context, builder, kind, *values)
            vector = builder.load(pointer, align=align)
            numbers = [builder.extract_element(vector, I32(k)) for k in range(LANES)]
            return context.make_tuple(builder, signature.return_type, numbers)

        return types.UniTuple(kind, LANES)(types.int64, types.int64), codegen

    return extending.intrinsic(load4)


def store4_of(extending: Any, types: Any, kind: Any) -> Any:
    def store4(typingctx: Any, address: Any, position: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            pointer, align = _vector(context, builder, kind, *values[:2])
            vector = ir.Constant(pointer.type.pointee, ir.Undefined)
            for k, number in enumerate(values[2:]):
                vector = builder.insert_element(vector, number, I32(k))
            builder.store(vector, pointer, align=align)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, *[kind] * LANES), codegen

    return extending.intrinsic(store4)


def claim_of(extending: Any, types: Any) -> Any:
    def claim(typingctx: Any, address: Any) -> Any:
        """Whether the word there was 0, which is 1 now: one of all threads hears that it was."""

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            pointer = builder.inttoptr(values[0], I64.as_pointer(GLOBAL))
            zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
            old = builder.cmpxchg(pointer, zero, one, "monotonic", "monotonic")
            return builder.extract_value(old, 1)

        return types.boolean(types.int64), codegen

    return extending.intrinsic(claim)
