"""A function of the C library for the few numbers that a short formula does not cover.

A branch for each number would keep a loop from becoming one over vectors. So the choice is a call
that LLVM replaces, for a vector, by another of these functions, which looks once whether any of its
numbers needs the C library (the vector function ABI of LLVM).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from .real import Real

_I64, _BIT = ir.IntType(64), ir.IntType(1)
_WIDTHS = (2, 4, 8, 16)
_PURE = ("nounwind", "willreturn", "memory(none)")


def beyond(limit: float, x: Real, y: Real, function: str) -> Real:
    """y, and the C library's function of x where |x| > limit."""
    name = f"{function}_beyond_{limit:.0f}_{'f8' if x.double else 'f4'}"
    callee = x.b.module.globals.get(name) or _of_numbers(x, name, limit, function)
    return x.of(x.b.call(callee, [x.value, y.value]))


def _function(module: Any, kind: Any, name: str, *attributes: str) -> tuple[Any, Any]:
    """A new function, and a builder in its first block."""
    function = ir.Function(module, kind, name)
    function.linkage = "internal"
    set.update(function.attributes, attributes)  # llvmlite's own refuses those it does not know
    return function, ir.IRBuilder(function.append_basic_block())


def _large(b: Any, x: Any, limit: float) -> Any:
    """Whether |x| > limit, for a number or each of a vector."""
    most, least = (
        x.type([v] * x.type.count if isinstance(x.type, ir.VectorType) else v)
        for v in (limit, -limit)
    )
    return b.or_(b.fcmp_ordered(">", x, most), b.fcmp_ordered("<", x, least))


def _of_numbers(x: Real, name: str, limit: float, function: str) -> Any:
    """The choice for one number, which names those for vectors."""
    module, kind = x.b.module, x.type
    symbol = function if x.double else f"{function}f"
    library = module.globals.get(symbol) or ir.Function(
        module, ir.FunctionType(kind, [kind]), symbol
    )
    one_by_one = _loop(module, kind, f"{name}_loop", limit, library)
    widths = _WIDTHS[:3] if x.double else _WIDTHS
    vectors = {w: _of_vectors(module, kind, w, f"{name}_{w}", limit, one_by_one) for w in widths}
    variants = ",".join(f"_ZGV_LLVM_N{w}vv_{name}({f.name})" for w, f in vectors.items())
    callee, b = _function(module, ir.FunctionType(kind, [kind, kind]), name, "noinline", *_PURE,
                          f'"vector-function-abi-variant"="{variants}"')
    value, y = callee.args
    with b.if_then(_large(b, value, limit), likely=False):
        b.ret(b.call(library, [value]))
    b.ret(y)
    _keep(module, list(vectors.values()))
    return callee


def _of_vectors(module: Any, kind: Any, width: int, name: str, limit: float, loop: Any) -> Any:
    vector, bits = ir.VectorType(kind, width), ir.IntType(width)
    callee, b = _function(module, ir.FunctionType(vector, [vector, vector]), name, "alwaysinline",
                          *_PURE)
    x, y = callee.args
    large = b.bitcast(_large(b, x, limit), bits)
    with b.if_then(b.icmp_unsigned("!=", large, bits(0)), likely=False):
        places = [b.alloca(vector) for _ in range(2)]
        for value, place in zip((x, y), places, strict=True):
            b.store(value, place)
        b.call(loop, [*(b.bitcast(p, kind.as_pointer()) for p in places), _I64(width)])
        b.ret(b.load(places[1]))
    b.ret(y)
    return callee


def _loop(module: Any, kind: Any, name: str, limit: float, library: Any) -> Any:
    """For numbers in memory."""
    pointer = kind.as_pointer()
    callee, b = _function(module, ir.FunctionType(ir.VoidType(), [pointer, pointer, _I64]), name,
                          "noinline", "optnone", "nounwind", "memory(argmem: readwrite)")
    x, y, count = callee.args
    before, body, after = b.block, callee.append_basic_block(), callee.append_basic_block()
    b.branch(body)
    b.position_at_end(body)
    i = b.phi(_I64)
    value = b.load(b.gep(x, [i]))
    with b.if_then(_large(b, value, limit)):
        b.store(b.call(library, [value]), b.gep(y, [i]))
    following = b.add(i, _I64(1))
    i.add_incoming(_I64(0), before)
    i.add_incoming(following, b.block)
    b.cbranch(b.icmp_unsigned("<", following, count), body, after)
    b.position_at_end(after)
    b.ret_void()
    return callee


def _keep(module: Any, functions: list[Any]) -> None:
    """Nothing calls them until loops become loops over vectors."""
    name, pointer = "llvm.compiler.used", ir.IntType(8).as_pointer()
    used = module.globals.get(name) or ir.GlobalVariable(module, ir.ArrayType(pointer, 0), name)
    before = used.initializer.constant if used.initializer else []
    kept = [*before, *(f.bitcast(pointer) for f in functions)]
    used.linkage, used.section = "appending", "llvm.metadata"
    used.value_type = ir.ArrayType(pointer, len(kept))
    used.initializer = ir.Constant(used.value_type, kept)
