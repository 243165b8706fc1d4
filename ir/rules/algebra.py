"""Identities of arithmetic and logic, and the folding of constants.

Every row gives the same bits for every float, NaN (of which there is one), infinities and zeros of
either sign among them. So there is no x * 0 -> 0, x + 0 -> x (-0.0 + 0 is 0), x - x -> 0 or
x / x -> 1, and constants are not brought together: (x + c) - c rounds x, and some programs mean it.
What holds for real numbers only is in inexact.py.
"""

from __future__ import annotations

from collections.abc import Callable

from ..dtype import DType, float32
from ..node import Node, constant
from ..op import Kind, evaluate
from ..ops.elementwise import (
    abs,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    cast,
    ceil,
    check_divisor,
    eq,
    floor,
    ge,
    gt,
    isnan,
    le,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    maximum,
    minimum,
    ne,
    neg,
    reciprocal,
    round,
    rsqrt,
    sqrt,
    trunc,
    where,
)
from ..ops.source import full
from ..rewrite import Table, any_of
from ..value import REGISTRY
from .wildcards import a, b, c, d, i, p, r, s, value, x

ELEMENTWISE = tuple(
    op for op in REGISTRY.values() if op.kind is Kind.ELEMENTWISE and op.check is None
)


# ---- constants
def fold(y: Node) -> Node:
    """A primitive of constants is a constant, as the interpreter has it."""
    arrays = [evaluate(full, [], [], x.dtype, {**x.params, "shape": ()}) for x in y.inputs]
    out = evaluate(y.op, arrays, [x.dtype for x in y.inputs], y.dtype, y.params)
    return constant(y.dtype.decode(out).item(), y.dtype, y.shape)


def folded(y: Node) -> Node | None:
    if not y.inputs or any(x.op is not full for x in y.inputs):
        return None
    try:
        return fold(y)
    except ValueError:  # an integer to a negative power: an error of the user's, at run time
        return None


def is_zero(c: Node) -> bool:
    return c.dtype.kind == "float" and value(c) == 0


def constant_second(y: Node) -> Node | None:
    """One order for constants, so that op(2, x) and op(x, 2) are the same Node. Of two zeros a
    maximum is the second.
    """
    c, x = y.inputs
    if c.op is not full or x.op is full or (y.op in (maximum, minimum) and is_zero(c)):
        return None
    return y.op(x, c)


no_zeros = lambda c, d: not is_zero(c) and not is_zero(d)

CONSTANTS = [
    *((any_of(op), folded) for op in ELEMENTWISE),
    (check_divisor(c), c, lambda c: value(c) != 0),
    *((any_of(op), constant_second) for op in ELEMENTWISE if op.commutative),
    ((i * c) * d, i * (c * d)),
    ((i + c) + d, i + (c + d)),
    (i - c, i + -c, lambda i: i.dtype.kind != "bool"),
    (maximum(maximum(x, c), d), maximum(x, maximum(c, d)), no_zeros),
    (minimum(minimum(x, c), d), minimum(x, minimum(c, d)), no_zeros),
]

# ---- arithmetic
def rounded_once(formula: Callable[[Node], Node]) -> Callable[[Node], Node]:
    """The formula of a power's base, as one operation: of half precision in float32."""

    def replacement(y: Node) -> Node:
        base = y.inputs[0]
        if not y.dtype.is_half:
            return formula(base)
        return cast(formula(cast(base, dtype=float32)), dtype=y.dtype)

    return replacement


ARITHMETIC = [
    (i + 0, i),
    (r + -0.0, r),
    (x - 0, x),
    (0 - i, -i),
    (-0.0 - r, -r),
    (x * 1, x),
    (x * -1, -x),
    (r / 1, r),
    (r / -1, -r),
    (x + x, x * 2, lambda x: x.dtype.kind != "bool"),
    # a minus travels outwards until it meets an addition, another minus, or a constant that takes
    # it in
    (neg(neg(x)), x),
    (-(a - b), b - a, lambda a: a.dtype.kind != "float"),
    (a + -b, a - b),
    (a - -b, a + b),
    (-a * -b, a * b),
    (-r / -s, r / s),
    (-(x * c), x * -c),
    (-(r / c), r / -c),
    (-x * c, x * -c),
    (-r / c, r / -c),
    (-(c / r), -c / r),
    (-a * b, -(a * b), lambda y, a: a.shape == y.shape),
    (-r / s, -(r / s), lambda y, r: r.shape == y.shape),
    (r / -s, -(r / s), lambda y, s: s.shape == y.shape),
    (abs(-x), abs(x)),
    (abs(abs(x)), abs(x)),
    (1 / r, reciprocal(r)),
    (reciprocal(sqrt(r)), rsqrt(r), lambda r: not r.dtype.is_half),
    # powers, by the formulas that torch uses (and `pow` for a number)
    (x**0, 1),
    (x**1, x),
    (x**2, x * x),
    (x**3, rounded_once(lambda x: x * x * x)),
    (r**0.5, sqrt(r)),
    (r**-0.5, rsqrt(r)),
    (r**-1, reciprocal(r)),
    (r**-2, rounded_once(lambda x: reciprocal(x * x))),
    (maximum(x, x), x),
    (minimum(x, x), x),
    *((f(g(r)), g(r)) for f in (floor, ceil, round, trunc) for g in (floor, ceil, round, trunc)),
]

# ---- choices, comparisons, logic; an order of numbers turned around is not its opposite, because
# of NaN
LOGIC = [
    (where(True, a, b), a),
    (where(False, a, b), b),
    (where(p, x, x), x),
    (where(logical_not(p), a, b), where(p, b, a)),
    (where(p, where(p, a, x), b), where(p, a, b)),
    (where(p, a, where(p, x, b)), where(p, a, b)),
    (where(p, True, False), lambda y, p: p if y.dtype is p.dtype else None),
    (lt(x, x), False),
    (gt(x, x), False),
    (eq(i, i), True),
    (le(i, i), True),
    (ge(i, i), True),
    (ne(i, i), False),
    (ne(r, r), isnan(r)),
    (logical_not(logical_not(p)), p),
    (logical_not(eq(a, b)), ne(a, b)),
    (logical_not(ne(a, b)), eq(a, b)),
    (logical_and(p, True), p),
    (logical_and(p, False), False),
    (logical_and(p, p), p),
    (logical_or(p, False), p),
    (logical_or(p, True), True),
    (logical_or(p, p), p),
    (logical_xor(p, False), p),
    (logical_xor(p, True), logical_not(p)),
    (logical_xor(p, p), False),
    (bitwise_not(bitwise_not(x)), x),
    (bitwise_and(x, x), x),
    (bitwise_or(x, x), x),
    (bitwise_xor(x, x), 0),
    (bitwise_and(x, 0), 0),
    (bitwise_or(x, 0), x),
    (bitwise_xor(x, 0), x),
    (bitwise_and(i, -1), i),
    (bitwise_and(p, True), p),
    (bitwise_or(p, True), True),
]


# ---- casts
def holds(wide: DType, narrow: DType) -> bool:
    """Every number of type `narrow` is one of type `wide`."""
    if wide is narrow or narrow.kind == "bool":
        return True
    if wide.kind == "bool" or (narrow.kind == "float") > (wide.kind == "float"):
        return False
    if narrow.kind == "float":
        return wide.bits > narrow.bits
    if wide.kind == "float":  # all integers up to 2 ** precision
        precision = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}[wide.name]
        return narrow.bits - narrow.is_signed <= precision
    return wide.bits > narrow.bits and not (narrow.is_signed and not wide.is_signed)


def cast_through(y: Node, x: Node) -> Node | None:
    """cast(cast(x)) is one cast where the first loses nothing; a float outside an integer's range
    has no fixed cast.
    """
    between = y.inputs[0].dtype
    defined = (
        y.dtype.kind == "float"
        or between.kind != "float"
        or x.dtype.kind == "float"
        or holds(y.dtype, x.dtype)
    )
    return cast(x, dtype=y.dtype) if holds(between, x.dtype) and defined else None


CASTS = [
    (cast(x), lambda y, x: x if y.dtype is x.dtype else None),
    (cast(cast(x)), cast_through),
]

algebra = Table("algebra", [*CONSTANTS, *ARITHMETIC, *LOGIC, *CASTS])
