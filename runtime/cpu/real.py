"""Arithmetic on numbers of kernels as LLVM code, written as formulas: for vector_*.py.

A Real stands for one float or double value of an LLVM function. Sums and products of Reals are
instructions, which round as IEEE 754 says: nothing is regrouped, since small terms are there on
purpose. There are no branches, so that loops over what is made of them vectorise.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Union

from llvmlite import ir
from numba.core.registry import cpu_target

from .coefficients import CONSTANTS, POLYNOMIALS

Term = Union["Real", float]
# Numba gives the flags of a fast kernel to what has none; these say nothing where they stand
_SUM, _RATIO = ("arcp",), ("contract",)


class _NoFlags(set):
    """The flags of a call, to which Numba can add none."""

    def add(self, flag: str) -> None:
        pass


@cache
def fuses() -> bool:
    """Whether the machine that kernels are compiled for has fused multiply-adds."""
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    return triple.startswith(("aarch64", "arm64")) or "+fma" in features.split(",")


class Real:
    """A float or a double; Python's numbers beside it become constants of its type."""

    def __init__(self, builder: Any, value: Any):
        self.b, self.value, self.type = builder, value, value.type
        self.double = isinstance(value.type, ir.DoubleType)
        self.int = ir.IntType(64 if self.double else 32)
        self.mantissa = 52 if self.double else 23
        self.bias = 1023 if self.double else 127
        self.largest = 1.7976931348623157e308 if self.double else 3.4028234663852886e38

    def of(self, term: Any) -> Real:
        """A constant, or another LLVM value of this type."""
        if isinstance(term, Real):
            return term
        is_number = isinstance(term, (int, float))
        return Real(self.b, ir.Constant(self.type, float(term)) if is_number else term)

    # ---- arithmetic
    def __add__(self, other: Term) -> Real:
        return self.of(self.b.fadd(self.value, self.of(other).value, flags=_SUM))

    def __radd__(self, other: float) -> Real:
        return self.of(other) + self

    def __sub__(self, other: Term) -> Real:
        return self.of(self.b.fsub(self.value, self.of(other).value, flags=_SUM))

    def __rsub__(self, other: float) -> Real:
        return self.of(other) - self

    def __mul__(self, other: Term) -> Real:
        return self.of(self.b.fmul(self.value, self.of(other).value, flags=_SUM))

    __rmul__ = __mul__

    def __truediv__(self, other: Term) -> Real:
        return self.of(self.b.fdiv(self.value, self.of(other).value, flags=_RATIO))

    def __rtruediv__(self, other: float) -> Real:
        return self.of(other) / self

    def __neg__(self) -> Real:
        return self.of(self.b.fneg(self.value))

    def _intrinsic(self, name: str, *terms: Term) -> Real:
        values = [self.value, *(self.of(t).value for t in terms)]
        kind = ir.FunctionType(self.type, [self.type] * len(values))
        fn = self.b.module.declare_intrinsic(f"llvm.{name}", [self.type], kind)
        call = self.b.call(fn, values)
        call.fastmath = _NoFlags()
        return self.of(call)

    def fma(self, y: Term, z: Term) -> Real:
        """x * y + z, rounded once where the processor can: then in every loop and in its rest."""
        return self._intrinsic("fmuladd", y, z)

    def sqrt(self) -> Real:
        # else it becomes an estimate and a Newton step, which give NaN for 0 and infinity;
        # llvmlite's `add` refuses attributes that it does not know
        set.add(self.b.function.attributes, '"reciprocal-estimates"="none"')
        return self._intrinsic("sqrt")

    def poly(self, name: str) -> Real:
        """The polynomial of that name by Horner's rule."""
        return self.poly_by([], name)

    def poly_by(self, choices: Sequence[tuple[Any, str]], other: str) -> Real:
        """The polynomial of the last condition that holds, or the other; all of one degree."""
        y = None
        rows = [POLYNOMIALS[name][self.double] for name in (other, *(n for _, n in choices))]
        for constant, *chosen in zip(*rows, strict=True):
            c = self.of(constant)
            for (condition, _), number in zip(choices, chosen, strict=True):
                c = self.of(number).where(condition, c)
            y = c if y is None else y.fma(self, c)
        assert y is not None
        return y

    def parts(self, name: str) -> tuple[float, ...]:
        """The constant of that name as a sum."""
        return CONSTANTS[name][self.double]

    # ---- comparisons, and choices by them
    def __lt__(self, other: Term) -> Any:
        return self.b.fcmp_ordered("<", self.value, self.of(other).value)

    def __gt__(self, other: Term) -> Any:
        return self.of(other) < self

    def equals(self, other: Term) -> Any:
        return self.b.fcmp_ordered("==", self.value, self.of(other).value)

    def is_nan(self) -> Any:
        return self.b.fcmp_unordered("uno", self.value, self.value)

    def has_sign(self) -> Any:
        """Whether it is negative or -0."""
        return self.b.icmp_signed("<", self.bits(), self.integer(0))

    def where(self, condition: Any, other: Term) -> Real:
        """This where the condition holds, else the other."""
        return self.of(self.b.select(condition, self.value, self.of(other).value))

    def at_most(self, high: float) -> Real:
        """The smaller of the two; NaN stays NaN."""
        return self.of(high).where(self > high, self)

    def clamp(self, low: float, high: float) -> Real:
        """Within [low, high]; NaN stays NaN."""
        return self.of(low).where(self < low, self).at_most(high)

    # ---- bits
    def bits(self) -> Any:
        return self.b.bitcast(self.value, self.int)

    def from_bits(self, bits: Any) -> Real:
        return self.of(self.b.bitcast(bits, self.type))

    def integer(self, value: int) -> Any:
        return ir.Constant(self.int, value)

    def power_of_two(self, n: Any) -> Real:
        """2**n for an integer n in the normal range; 0 for the one below."""
        biased = self.b.add(n, self.integer(self.bias))
        return self.from_bits(self.b.shl(biased, self.integer(self.mantissa)))

    def scaled(self, n: Any) -> Real:
        """x * 2**n for an integer n, in two steps for the subnormal ends."""
        half = self.b.ashr(n, self.integer(1))
        return self * self.power_of_two(half) * self.power_of_two(self.b.sub(n, half))

    def rounded(self, factor: float = 1.0) -> tuple[Real, Any]:
        """The whole number next to x * factor, as Real and as integer; below 2**(mantissa - 1)."""
        # adding this leaves the nearest integer in the lowest bits
        shift = self.of(1.5 * 2.0**self.mantissa)
        shifted = self.fma(factor, shift)
        return shifted - shift, self.b.sub(shifted.bits(), shift.bits())

    def whole(self, n: Any) -> Real:
        """The integer n as a number of this type."""
        return self.of(self.b.sitofp(n, self.type))

    def __abs__(self) -> Real:
        mask = self.integer((1 << (self.int.width - 1)) - 1)
        return self.from_bits(self.b.and_(self.bits(), mask))

    def with_sign_of(self, y: Real) -> Real:
        """x >= 0 with the sign of y."""
        sign = self.b.and_(y.bits(), self.integer(1 << (self.int.width - 1)))
        return self.from_bits(self.b.or_(self.bits(), sign))

    def front(self) -> Real:
        """x without the lower half of its digits: products of two of these are exact."""
        low = 27 if self.double else 12
        return self.from_bits(self.b.and_(self.bits(), self.integer(-1 << low)))

    # ---- between the types
    def wide(self) -> Real:
        """A float as a double."""
        return self if self.double else Real(self.b, self.b.fpext(self.value, ir.DoubleType()))

    def narrow(self, like: Real) -> Real:
        return self.of(self.value) if like.double else Real(
            self.b, self.b.fptrunc(self.value, like.type)
        )

    # ---- sums and products of which nothing is lost, as a number and what rounding took from it
    def plus(self, y: Real) -> tuple[Real, Real]:
        """x + y; Knuth's (1969)."""
        total = self + y
        back = total - self
        return total, (self - (total - back)) + (y - back)

    def plus_less(self, y: Real) -> tuple[Real, Real]:
        """x + y if |x| >= |y|; Dekker's (1971)."""
        total = self + y
        return total, y - (total - self)

    def times(self, y: Real) -> tuple[Real, Real]:
        """x * y: the rest by a fused multiply-add, or by Dekker's splitting (1971)."""
        product = self * y
        if fuses():
            return product, self._intrinsic("fma", y, -product)
        a, b = self.front(), y.front()
        c, d = self - a, y - b
        return product, (a * b - product) + a * d + c * b + c * d

    def square(self) -> tuple[Real, Real]:
        """x * x as a number that is exact in half of the digits, and the rest."""
        a = self.front()
        return a * a, (self - a) * (self + a)
