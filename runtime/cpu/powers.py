"""Powers in kernels: of integers by squaring, modulo 2**64, of floats by vector_power.py."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import vector_power
from .real import Real
from .vector_math import exp2

I64 = ir.IntType(64)


@intrinsic
def power(typingctx: Any, a: Any, b: Any) -> Any:
    """a ** b, an int64 if a is an integer; 1 if then b is negative."""
    whole = isinstance(a, types.Integer)
    to = types.int64 if whole else typingctx.unify_types(a, b)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        x, y = (
            context.cast(builder, v, t, to) for v, t in zip(values, signature.args, strict=True)
        )
        if whole:
            return _by_squaring(builder, x, y)
        base, exponent = Real(builder, x), Real(builder, y)
        two = isinstance(x, ir.Constant) and x.constant == 2.0
        return (exp2(exponent) if two else vector_power.power(base, exponent)).value

    return to(a, b), codegen


def _by_squaring(b: Any, x: Any, y: Any) -> Any:
    """The product of x**(2**k) over the bits k of y."""
    before = b.block
    head, body, after = (b.append_basic_block(name) for name in ("head", "body", "after"))
    b.branch(head)
    b.position_at_end(head)
    base, left, product = (b.phi(I64) for _ in range(3))
    b.cbranch(b.icmp_signed(">", left, I64(0)), body, after)
    b.position_at_end(body)
    times = b.select(b.trunc(left, ir.IntType(1)), base, I64(1))
    new = b.mul(base, base), b.lshr(left, I64(1)), b.mul(product, times)
    for value, first, then in zip((base, left, product), (x, y, I64(1)), new, strict=True):
        value.add_incoming(first, before)
        value.add_incoming(then, body)
    b.branch(head)
    b.position_at_end(after)
    return product
