"""Types of numbers in the registers of a kernel, as Numba names them: what LLVM calls them, and how
a number goes from one to another. What the builtins' code asks of Numba's contexts, without the
tables of all that Numba knows, which take a quarter of a second to fill.
"""

from __future__ import annotations

from functools import cache as memo
from typing import Any

from llvmlite import ir
from numba import types


@memo
def llvm_type(kind: Any) -> Any:
    """Of a number or a pointer."""
    if isinstance(kind, types.CPointer):
        return llvm_type(kind.dtype).as_pointer()
    if isinstance(kind, types.Float):
        return ir.FloatType() if kind is types.float32 else ir.DoubleType()
    return ir.IntType(1 if kind is types.boolean else kind.bitwidth)


@memo
def promoted(a: Any, b: Any) -> Any:
    """The type of arithmetic on two numbers: integers have 64 bits, a float32 beside an integer is
    a float64.
    """
    if types.float64 in (a, b):
        return types.float64
    if isinstance(a, types.Float) or isinstance(b, types.Float):
        return a if a is b else types.float64
    signed = any(getattr(x, "signed", True) for x in (a, b))
    return types.int64 if signed else types.uint64


class _Typing:
    """Of Numba's typing context, what definitions of builtins ask for."""

    @staticmethod
    def unify_types(a: Any, b: Any) -> Any:
        """The type of one of two numbers."""
        return a if a is b else promoted(a, b)


class _Context:
    """Of Numba's target context, what the code of builtins asks for."""

    get_value_type = staticmethod(llvm_type)

    @staticmethod
    def get_dummy_value() -> Any:
        return None

    @staticmethod
    def cast(builder: Any, value: Any, source: Any, target: Any) -> Any:
        source = types.unliteral(source)
        if source is target:
            return value
        to, real = llvm_type(target), isinstance(source, types.Float)
        if target is types.boolean:
            zero = ir.Constant(value.type, 0)
            compare = builder.fcmp_unordered if real else builder.icmp_unsigned
            return compare("!=", value, zero)
        signed = getattr(source, "signed", False)  # not of bools
        if isinstance(target, types.Float):
            if real:
                wider = target is types.float64
                return (builder.fpext if wider else builder.fptrunc)(value, to)
            return (builder.sitofp if signed else builder.uitofp)(value, to)
        if real:
            return (builder.fptosi if target.signed else builder.fptoui)(value, to)
        if value.type.width >= to.width:
            return value if value.type.width == to.width else builder.trunc(value, to)
        return (builder.sext if signed else builder.zext)(value, to)


TYPING, CONTEXT = _Typing(), _Context()
