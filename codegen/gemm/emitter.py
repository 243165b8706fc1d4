"""The words in which a kernel is written in LLVM: vectors of one float type, loads and stores that
need no alignment, loops with carried values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from ...ir.op import OpDef
from ...ir.ops import elementwise as ops

I64, I32, I1 = ir.IntType(64), ir.IntType(32), ir.IntType(1)
BYTES = ir.IntType(8).as_pointer()


def _compare(relation: str) -> Callable[..., Any]:
    # only != holds of NaN
    kind = "fcmp_unordered" if relation == "!=" else "fcmp_ordered"
    return lambda b, x, y: getattr(b, kind)(relation, x, y)


def _sqrt(b: Any, x: Any) -> Any:
    real = x.type.element if isinstance(x.type, ir.VectorType) else x.type
    kind = "f32" if isinstance(real, ir.FloatType) else "f64"
    lanes = f"v{x.type.count}" if isinstance(x.type, ir.VectorType) else ""
    name, module = f"llvm.sqrt.{lanes}{kind}", b.module
    known = module.globals.get(name)
    return b.call(known or ir.Function(module, ir.FunctionType(x.type, [x.type]), name), [x])


def _relu(b: Any, x: Any) -> Any:
    zero = ir.Constant(x.type, [0.0] * x.type.count if isinstance(x.type, ir.VectorType) else 0.0)
    return b.select(b.fcmp_ordered("<", x, zero), zero, x)


# elementwise primitives as LLVM, on vectors and on single numbers
WORDS: dict[OpDef, Callable[..., Any]] = {
    ops.add: lambda b, x, y: b.fadd(x, y),
    ops.sub: lambda b, x, y: b.fsub(x, y),
    ops.mul: lambda b, x, y: b.fmul(x, y),
    ops.div: lambda b, x, y: b.fdiv(x, y),
    ops.sqrt: _sqrt,
    ops.neg: lambda b, x: b.fneg(x),
    ops.copy: lambda b, x: x,
    ops.where: lambda b, condition, x, y: b.select(condition, x, y),
    ops.relu: _relu,
    ops.eq: _compare("=="), ops.ne: _compare("!="), ops.lt: _compare("<"),
    ops.le: _compare("<="), ops.gt: _compare(">"), ops.ge: _compare(">="),
}


class Emitter:
    """A kernel being written: `code` is the type of its numbers, f4 or f8, `lanes` how many of them
    are a vector.
    """

    def __init__(self, code: str, lanes: int, name: str):
        self.code, self.lanes = code, lanes
        self.real = ir.FloatType() if code == "f4" else ir.DoubleType()
        self.vector = ir.VectorType(self.real, lanes)
        self.module = ir.Module(name)
        self.routines: dict[str, Any] = {}
        kind = ir.FunctionType(ir.VoidType(), [I64.as_pointer(), I64, I64, I64])
        self.function = ir.Function(self.module, kind, name)
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))
        suffix = f"v{lanes}{'f32' if code == 'f4' else 'f64'}"
        mask = ir.VectorType(I1, lanes)
        self.fma = ir.Function(
            self.module, ir.FunctionType(self.vector, [self.vector] * 3), f"llvm.fmuladd.{suffix}"
        )
        pointer = self.vector.as_pointer()
        self.masked_load = ir.Function(
            self.module,
            ir.FunctionType(self.vector, [pointer, I32, mask, self.vector]),
            f"llvm.masked.load.{suffix}.p0",
        )
        self.zero = ir.Constant(self.vector, [0.0] * lanes)
        self.laundered = ir.Function(
            self.module, ir.FunctionType(BYTES, [BYTES]), "llvm.launder.invariant.group.p0"
        )
        self.prefetched = ir.Function(
            self.module, ir.FunctionType(ir.VoidType(), [BYTES, I32, I32, I32]), "llvm.prefetch.p0"
        )

    def call(self, name: str, body: Callable[..., None], arguments: Sequence[Any]) -> None:
        """Call the function of that name in this module; body(*arguments) writes it, once."""
        if name not in self.routines:
            kind = ir.FunctionType(ir.VoidType(), [v.type for v in arguments])
            self.routines[name] = function = ir.Function(self.module, kind, name)
            function.linkage = "internal"
            function.attributes.add("noinline")
            outside, self.b = self.b, ir.IRBuilder(function.append_basic_block("entry"))
            body(*function.args)
            self.b.ret_void()
            self.b = outside
        self.b.call(self.routines[name], arguments)

    def word(self, k: int) -> Any:
        """Entry k of the argument block."""
        return self.b.load(self.b.gep(self.function.args[0], [self.i64(k)]))

    def pointer(self, k: int) -> Any:
        """The pointer behind entry k, which is the address of an entry of the pointer table."""
        entry = self.b.inttoptr(self.word(k), I64.as_pointer())
        return self.b.inttoptr(self.b.load(entry), self.real.as_pointer())

    def i64(self, value: int) -> Any:
        return ir.Constant(I64, value)

    def at_most(self, value: Any, most: Any) -> Any:
        limit = self.i64(most) if isinstance(most, int) else most
        return self.b.select(self.b.icmp_signed("<", value, limit), value, limit)

    def at(self, base: Any, *offsets: Any) -> Any:
        for offset in offsets:
            base = self.b.gep(base, [offset])
        return base

    def unrelated(self, pointer: Any) -> Any:
        """The pointer, of which LLVM no longer knows how it was computed. It would make related
        addresses in a loop a chain of additions.
        """
        byte = self.b.bitcast(pointer, BYTES)
        return self.b.bitcast(self.b.call(self.laundered, [byte]), pointer.type)

    def prefetch(self, pointer: Any) -> None:
        """Have the line at the pointer brought to the second-level cache; it may lie anywhere."""
        reading, level, data = (ir.Constant(I32, n) for n in (0, 2, 1))
        self.b.call(self.prefetched, [self.b.bitcast(pointer, BYTES), reading, level, data])

    def wide(self, pointer: Any) -> Any:
        return self.b.bitcast(pointer, self.vector.as_pointer())

    def load(self, pointer: Any) -> Any:
        return self.b.load(self.wide(pointer), align=self.align)

    def masked(self, pointer: Any, mask: Any) -> Any:
        """The lanes of the mask, zeros in the others; nothing else is read."""
        at = self.wide(pointer)
        return self.b.call(self.masked_load, [at, ir.Constant(I32, self.align), mask, self.zero])

    def store(self, value: Any, pointer: Any) -> None:
        self.b.store(value, self.wide(pointer), align=self.align)

    def store_part(self, value: Any, pointer: Any, count: Any) -> None:
        """The first `count` lanes, if there are so many: by halves, as count is written in bits."""
        b, half = self.b, self.lanes // 2
        with b.if_else(b.icmp_signed(">=", count, self.i64(self.lanes))) as (whole, part):
            with whole:
                self.store(value, pointer)
            with part:
                while half:
                    bit = b.icmp_signed("!=", b.and_(count, self.i64(half)), self.i64(0))
                    with b.if_then(bit):
                        low = self.lanes_of(value, range(half))
                        b.store(low, b.bitcast(pointer, low.type.as_pointer()), align=self.align)
                    up = [min(e + half, self.lanes - 1) for e in range(self.lanes)]
                    value = b.select(bit, self.lanes_of(value, up), value)
                    pointer = b.select(bit, self.at(pointer, self.i64(half)), pointer)
                    half //= 2

    def lanes_of(self, value: Any, which: Sequence[int]) -> Any:
        """A vector of these lanes."""
        kind = ir.VectorType(I32, len(which))
        return self.b.shuffle_vector(value, value, ir.Constant(kind, list(which)))

    @property
    def align(self) -> int:
        return 4 if self.code == "f4" else 8

    def splat(self, value: Any, kind: Any = None) -> Any:
        kind = kind or self.vector
        undefined = ir.Constant(kind, ir.Undefined)
        one = self.b.insert_element(undefined, value, ir.Constant(I32, 0))
        return self.b.shuffle_vector(
            one, undefined, ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        )

    def loop(
        self, first: Any, last: Any, step: int, body: Callable[..., Any], *carried: Any
    ) -> list[Any]:
        """while first + step <= last: body(i, *carried) -> carried; the index reached and the
        carried values.
        """
        b = self.b
        before = b.block
        head, inside, after = (b.append_basic_block(n) for n in ("head", "body", "after"))
        b.branch(head)
        b.position_at_end(head)
        i = b.phi(I64)
        i.add_incoming(first, before)
        values = []
        for c in carried:
            v = b.phi(c.type)
            v.add_incoming(c, before)
            values.append(v)
        b.cbranch(b.icmp_signed("<=", b.add(i, self.i64(step)), last), inside, after)
        b.position_at_end(inside)
        new = body(i, *values) or []
        i.add_incoming(b.add(i, self.i64(step)), b.block)
        for v, n in zip(values, new, strict=True):
            v.add_incoming(n, b.block)
        b.branch(head)
        b.position_at_end(after)
        return [i, *values]

    def either(
        self, which: Any, one: Callable[[], list[Any]], other: Callable[[], list[Any]]
    ) -> list[Any]:
        """The values that the one code computes, or the other."""
        b = self.b
        with b.if_else(which) as (yes, no):
            with yes:
                first, end_of_first = one(), b.block
            with no:
                second, end_of_second = other(), b.block
        values = [b.phi(x.type) for x in first]
        for value, x, y in zip(values, first, second, strict=True):
            value.add_incoming(x, end_of_first)
            value.add_incoming(y, end_of_second)
        return values

    def mask(self, left: Any, q: int) -> Any:
        """Which lanes of vector q are columns of the matrix, when `left` of them are."""
        lanes = self.lanes
        kind = ir.VectorType(I64, lanes)
        return self.b.icmp_signed(
            "<",
            ir.Constant(kind, [q * lanes + lane for lane in range(lanes)]),
            self.splat(left, kind),
        )

    def transposed(self, rows: list[Any]) -> list[Any]:
        """The square of vectors, transposed by exchanging ever smaller off-diagonal blocks."""
        lanes = len(rows)
        half = lanes // 2
        while half:
            new = list(rows)
            for i in range(lanes):
                if i & half == 0:
                    top, bottom = rows[i], rows[i + half]
                    up = [e if e & half == 0 else e - half + lanes for e in range(lanes)]
                    down = [e + half if e & half == 0 else e + lanes for e in range(lanes)]
                    kind = ir.VectorType(I32, lanes)
                    new[i] = self.b.shuffle_vector(top, bottom, ir.Constant(kind, up))
                    new[i + half] = self.b.shuffle_vector(top, bottom, ir.Constant(kind, down))
            rows, half = new, half // 2
        return rows
