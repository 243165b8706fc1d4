"""The words of kernel source: type codes, literals, loads and stores, and the argument block of a
kernel being written.

The text is Python over the builtins of the runtime (runtime/cpu/builtins.py says what each means to
Numba and in plain Python).
"""

from __future__ import annotations

import math
from functools import cache
from string import Formatter
from typing import NamedTuple

from ..ir.dtype import DType, bfloat16, float16, int64
from ..ir.node import Node, is_constant
from ..ir.op import Types
from ..ir.ops.elementwise import cast, div
from .program import Grid, Kernel, Slot

_PLAIN = (
    0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    2.0,
)  # constants that are part of a kernel's text; others are arguments


@cache
def storage_code(dtype: DType) -> str:
    """How a dtype is called in loads and stores: f4, f8, f2, bf, i8, ..., b1."""
    if dtype is bfloat16:
        return "bf"
    return "b1" if dtype.kind == "bool" else f"{dtype.storage.kind}{dtype.itemsize}"


@cache
def compute_code(dtype: DType) -> str:
    """The type of a value of this dtype in a register."""
    return "f4" if dtype.is_half else storage_code(dtype)


class Arguments:
    """The argument block of one kernel: each entry has a place, a name in the text, and a line that
    loads it.
    """

    def __init__(self) -> None:
        self.values: list[
            Slot | Node | str | int | float
        ] = []  # a Node or a name stands for the slot it will get
        self.lines: list[str] = []
        self.names: dict[object, str] = {}
        self.beginnings: set[int] = set()  # which values say where in a buffer its numbers begin
        self.scratch_bytes = 0
        self._pointers = 0

    def _add(
        self, key: object, value: Slot | Node | str | int | float, prefix: str, load: str
    ) -> str:
        if key not in self.names:
            k = len(self.values)
            self.names[key] = f"{prefix}{k}"
            self.values.append(value)
            self.lines.append(f"{prefix}{k} = {load.format(k=k)}")
        return self.names[key]

    def pointer(self, buffer: Node | str, dtype: DType = int64, piece: object = None) -> str:
        """A pointer p0, p1, ...; its number is also its alias scope. Pieces of a buffer that do not
        overlap have one each, as have two types, side by side.
        """
        key = ("pointer", buffer, storage_code(dtype), piece)
        if key not in self.names:
            self.names[key] = name = f"p{self._pointers}"
            self._pointers += 1
            self.lines.append(f"{name} = pointer_{storage_code(dtype)}(args, {len(self.values)})")
            self.values.append(buffer)
        return self.names[key]

    def scratch(self, nbytes: int, dtype: DType = int64, piece: object = None) -> str:
        """A pointer to memory that is the launch's own while it runs."""
        self.scratch_bytes = nbytes
        return self.pointer("scratch", dtype, piece)

    def integer(self, value: int, key: object = None) -> str:
        return self._add(("integer", value, key), value, "n", "extent(args, {k})")

    def beginning(self, offset: int) -> str:
        name = self.integer(offset, "offset")
        self.beginnings.add(int(name[1:]))
        return name

    def constant(self, value: bool | int | float, dtype: DType) -> str:
        code = compute_code(dtype)
        if dtype.kind == "bool":
            return "True" if value else "False"
        if dtype.kind != "float":
            return (
                f"{code}({value})"
                if -1 <= value <= 2
                else self._add((value, code), value, "c", f"{code}(extent(args, {{k}}))")
            )
        if math.isinf(value) or math.isnan(value):
            return f"{code}({'nan' if math.isnan(value) else 'inf' if value > 0 else '-inf'})"
        if value in _PLAIN:
            return f"{code}({value!r})"
        return self._add((value, code), float(value), "c", f"{code}(number(args, {{k}}))")


def load(pointer: str, dtype: DType, position: str) -> str:
    return f"load_{storage_code(dtype)}({pointer}, {position}, {pointer[1:]})"


def store(pointer: str, dtype: DType, position: str, value: str) -> str:
    return f"store_{storage_code(dtype)}({pointer}, {position}, {value}, {pointer[1:]})"


def turn(
    dtype: DType, target: str, at: str, step: str, source: str, begin: str, across: str
) -> str:
    """A square of 8 x 8 numbers, from rows of `source` to columns of `target`."""
    scopes = f"{target[1:]}, {source[1:]}"
    return (f"turn_{storage_code(dtype)}({target}, {at}, {step}, {source}, {begin}, {across}, "
            f"{scopes})")


# LLVM makes a choice in the narrow type where it sees that a number was widened; in
# x < 0 ? 0 : x it may then give one of two zeros for the other. It does not look through this
_APART = "apart({}, start)"


def _expression(node: Node) -> str:
    """An elementwise primitive over {0}, {1}, ..., in words that suit its operands."""
    op = node.op
    if op.beside_number and node.dtype.kind == "float":
        bound = node.inputs[1]
        if is_constant(bound) and not math.isnan(bound.params["value"]):
            return op.beside_number
    assert op.expr is not None
    return op.expr


def _widens(source: DType, target: DType) -> bool:
    return source.kind == target.kind == "float" and source.bits < target.bits


def filled(expr: str, node: Node, operands: list[str], args: Arguments) -> str:
    """An expression of a primitive with its operands, their type {T}, its own {Y}, parameters."""
    words = {"T": compute_code(node.inputs[0].dtype), "Y": compute_code(node.dtype)}
    for name in _parameters(expr):
        words[name] = args.integer(node.params[name], name)
    return expr.format(*operands, **words)


@cache
def _parameters(expr: str) -> list[str]:
    fields = {f for _, f, _, _ in Formatter().parse(expr) if f and not f.isdigit()}
    return sorted(fields - {"T", "Y"})


def apply(node: Node, operands: list[str], args: Arguments, fast: bool) -> str:
    """The scalar expression of an elementwise primitive, rounded as its dtype is; numbers of a half
    type keep the precision of their registers if `fast`.
    """
    if node.dtype is float16 and node.op.chooses and not fast:
        operands = [
            _APART.format(text) if x.dtype is float16 else text
            for x, text in zip(node.inputs, operands, strict=True)
        ]
    text = filled(_expression(node), node, operands, args)
    rounds = node.op is cast or not (fast or node.op.exact)
    if node.dtype.is_half and rounds:  # in a register it is a float32, but one that fits
        return f"round_{storage_code(node.dtype)}({text})"
    if node.op is cast and _widens(node.inputs[0].dtype, node.dtype) and not fast:
        return _APART.format(text)
    wide = node.op.types is Types.SAME  # what compares or casts has made the type itself
    return _fitted(text, node.dtype) if wide else text


def exact_factor(node: Node) -> float | None:
    """What to multiply by in place of dividing by a constant, where that gives the same bits."""
    if node.op is not div or node.dtype.kind != "float" or not is_constant(node.inputs[1]):
        return None
    divisor = float(node.inputs[1].params["value"])
    if not math.isfinite(divisor) or math.frexp(divisor)[0] not in (0.5, -0.5):
        return None  # the reciprocal of what is no power of two is rounded
    least, most = (2.0**-126, 2.0**126) if node.dtype.bits < 64 else (2.0**-1022, 2.0**1022)
    return 1 / divisor if least <= abs(divisor) <= most else None


def combine(reduction: Node, acc: str, value: str, fast: bool) -> str:
    """One more value in an accumulator. Those of floats are words of their own: LLVM may keep
    several of them, and add them up in the end. If `fast`, it may do so with any sum.
    """
    how, grows, dtype = reduction.op.reduction, not reduction.op.exact, reduction.dtype
    assert how is not None
    if dtype.kind == "float" and not (fast and grows) or (dtype is int64 and grows):
        return how.accumulate.format(acc, value)
    return _fitted(how.combine.format(acc, value), dtype)


def _fitted(text: str, dtype: DType) -> str:
    """Numba widens what is computed of small integers and of bools; this brings it back."""
    small = dtype.kind == "bool" or (dtype.kind != "float" and dtype.bits < 64)
    return f"{compute_code(dtype)}({text})" if small else text


class Piece(NamedTuple):
    """One launch: its kernel and arguments, the extent of its outermost loop, and the cost of one
    step of that in additions; 0 if the loop must not be split. For a GPU, the grid says the rest.
    """

    kernel: Kernel
    args: Arguments
    extent: int
    step_cost: int
    grid: Grid | None = None
