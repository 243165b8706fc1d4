"""The generated matrix product: one LLVM function for any extents, strides and batch.

Columns are taken a panel at a time: NR of them, copied into a packed strip that stays in cache,
whichever way B lies. Down the panel goes a micro-kernel that keeps MR x NR sums in registers and
does one fused multiply-add per vector and row for each step of k; smaller ones finish the last
rows. A is read where it lies, in either orientation. The outer loop runs over (matrix of the batch,
panel), so the tape's threads share the work, and nothing oversubscribes. Where A is large, a block
of its rows goes through all panels before the next, so that it is read from cache.

The blocking is that of Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication
(2008), without the loop over k: strips of the sizes met here fit the second-level cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

I64, I32, I1 = ir.IntType(64), ir.IntType(32), ir.IntType(1)
# entries of the argument block: four pointers, then numbers
POINTERS = ("a", "b", "c", "packed")
NUMBERS = (
    "oa", "ob", "m", "n", "k", "a_row", "a_col", "b_row", "b_col", "a_batch", "b_batch",
    "c_row", "c_col", "c_batch", "panels", "block", "blocks",
)  # fmt: skip


@dataclass(frozen=True)
class Tile:
    """A register tile: `rows` x (`vectors` of `lanes` numbers)."""

    code: str
    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        return self.vectors * self.lanes


@cache
def lanes_of(code: str) -> tuple[int, int]:
    """(numbers in a vector register, rows of the tile that fits the registers) of this machine."""
    features = llvm.get_host_cpu_features()
    width = 64 if features.get("avx512f") else 32 if features.get("avx2") else 16
    return width // (4 if code == "f4" else 8), 14 if width == 64 else 6


NEAR = (
    192 * 1024
)  # bytes of A that a block of rows may have: it shares the second-level cache with a packed strip


def block_of(tile: Tile, m: int, k: int) -> int:
    """How many rows of A go through the panels at a time."""
    rows = NEAR // (max(k, 1) * (4 if tile.code == "f4" else 8))
    return m if m <= 2 * rows else max(rows // tile.rows, 1) * tile.rows


def tile_for(code: str, n: int) -> Tile:
    lanes, rows = lanes_of(code)
    # enough sums in flight to hide the latency of a multiply-add
    return Tile(code, 2 * rows, 1, lanes) if n <= lanes else Tile(code, rows, 2, lanes)


class _Emitter:
    def __init__(self, tile: Tile, name: str):
        self.tile = tile
        self.real = ir.FloatType() if tile.code == "f4" else ir.DoubleType()
        self.vector = ir.VectorType(self.real, tile.lanes)
        self.module = ir.Module(name)
        kind = ir.FunctionType(ir.VoidType(), [I64.as_pointer(), I64, I64, I64])
        self.function = ir.Function(self.module, kind, name)
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))
        suffix = f"v{tile.lanes}{'f32' if tile.code == 'f4' else 'f64'}"
        mask = ir.VectorType(I1, tile.lanes)
        self.fma = ir.Function(
            self.module, ir.FunctionType(self.vector, [self.vector] * 3), f"llvm.fmuladd.{suffix}"
        )
        pointer = self.vector.as_pointer()
        self.masked_load = ir.Function(
            self.module,
            ir.FunctionType(self.vector, [pointer, I32, mask, self.vector]),
            f"llvm.masked.load.{suffix}.p0",
        )
        self.zero = ir.Constant(self.vector, [0.0] * tile.lanes)
        buffer = self.b.alloca(ir.ArrayType(self.real, tile.rows * tile.columns))
        self.aside = self.b.gep(buffer, [self.i64(0), self.i64(0)])  # a tile that sticks out

    # ---- small words
    def i64(self, value: int) -> Any:
        return ir.Constant(I64, value)

    def at(self, base: Any, *offsets: Any) -> Any:
        for offset in offsets:
            base = self.b.gep(base, [offset])
        return base

    def wide(self, pointer: Any) -> Any:
        return self.b.bitcast(pointer, self.vector.as_pointer())

    def load(self, pointer: Any) -> Any:
        return self.b.load(self.wide(pointer), align=self.align)

    def store(self, value: Any, pointer: Any) -> None:
        self.b.store(value, self.wide(pointer), align=self.align)

    @property
    def align(self) -> int:
        return 4 if self.tile.code == "f4" else 8

    def splat(self, value: Any, kind: Any = None) -> Any:
        kind = kind or self.vector
        undefined = ir.Constant(kind, ir.Undefined)
        one = self.b.insert_element(undefined, value, ir.Constant(I32, 0))
        return self.b.shuffle_vector(
            one, undefined, ir.Constant(ir.VectorType(I32, self.tile.lanes), [0] * self.tile.lanes)
        )

    def loop(self, first: Any, last: Any, step: int, body: Callable, *carried: Any) -> list[Any]:
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

    # ---- the function
    def emit(self) -> ir.Module:
        b, tile = self.b, self.tile
        args, start, stop, _ = self.function.args

        def word(k: int) -> Any:
            return b.load(b.gep(args, [self.i64(k)]))

        base = {}
        for k, name in enumerate(POINTERS):
            entry = b.inttoptr(word(k), I64.as_pointer())
            base[name] = b.inttoptr(b.load(entry), self.real.as_pointer())
        self.n_ = {name: word(len(POINTERS) + k) for k, name in enumerate(NUMBERS)}
        v = self.n_

        def panel(t: Any, first: Any, last: Any) -> list:
            batch = b.sdiv(t, v["panels"])
            j = b.mul(b.sub(t, b.mul(batch, v["panels"])), self.i64(tile.columns))
            a = self.at(base["a"], v["oa"], b.mul(batch, v["a_batch"]))
            w = self.at(base["packed"], b.mul(t, b.mul(v["k"], self.i64(tile.columns))))
            source = self.at(base["b"], v["ob"], b.mul(batch, v["b_batch"]))
            c = self.at(base["c"], b.mul(batch, v["c_batch"]), b.mul(j, v["c_col"]))
            left = b.sub(v["n"], j)
            masks = [self.mask(left, q) for q in range(tile.vectors)]
            with b.if_then(b.icmp_signed("==", first, self.i64(0))):
                self.pack(source, w, j, masks)
            i = first
            for rows in (tile.rows, *(r for r in (16, 8, 4, 2, 1) if r < tile.rows)):
                (i,) = self.loop(
                    i, last, rows, lambda i, rows=rows: self.micro(a, w, c, i, rows, left)
                )
            return []

        def block(q: Any) -> list:
            first = b.mul(q, v["block"])
            last = b.add(first, v["block"])
            last = b.select(b.icmp_signed("<", last, v["m"]), last, v["m"])
            self.loop(start, stop, 1, lambda t: panel(t, first, last))
            return []

        self.loop(self.i64(0), v["blocks"], 1, block)
        b.ret_void()
        return self.module

    def mask(self, left: Any, q: int) -> Any:
        """Which lanes of vector q are columns of the matrix, when `left` of them are."""
        lanes = self.tile.lanes
        kind = ir.VectorType(I64, lanes)
        return self.b.icmp_signed(
            "<",
            ir.Constant(kind, [q * lanes + lane for lane in range(lanes)]),
            self.splat(left, kind),
        )

    # ---- packing
    def pack(self, source: Any, w: Any, j: Any, masks: list) -> None:
        b, v = self.b, self.n_
        by_rows = b.icmp_signed("==", v["b_col"], self.i64(1))
        with b.if_else(by_rows) as (rows, columns):
            with rows:
                self.loop(self.i64(0), v["k"], 1, lambda k: self.copy_row(source, w, j, k, masks))
            with columns:
                along = b.icmp_signed("==", v["b_row"], self.i64(1))
                blocked = b.select(along, v["k"], self.i64(0))
                (k,) = self.loop(
                    self.i64(0),
                    blocked,
                    self.tile.lanes,
                    lambda k: self.turn_block(source, w, j, k),
                )
                self.loop(k, v["k"], 1, lambda k: self.gather_row(source, w, j, k))

    def copy_row(self, source: Any, w: Any, j: Any, k: Any, masks: list) -> list:
        b, tile = self.b, self.tile
        row = self.at(source, b.mul(k, self.n_["b_row"]), j)
        strip = self.at(w, b.mul(k, self.i64(tile.columns)))
        for q, mask in enumerate(masks):
            at = self.wide(self.at(row, self.i64(q * tile.lanes)))
            value = b.call(self.masked_load, [at, ir.Constant(I32, self.align), mask, self.zero])
            self.store(value, self.at(strip, self.i64(q * tile.lanes)))
        return []

    def column(self, j: Any, offset: int) -> Any:
        """Where column j + offset begins; past the end, the last column stands in, and its sums are
        never stored.
        """
        b = self.b
        at = b.add(j, self.i64(offset))
        last = b.sub(self.n_["n"], self.i64(1))
        return b.mul(b.select(b.icmp_signed("<", at, last), at, last), self.n_["b_col"])

    def turn_block(self, source: Any, w: Any, j: Any, k: Any) -> list:
        """A square of B that lies transposed: read along k, exchanged in registers, written along
        the columns.
        """
        b, lanes = self.b, self.tile.lanes
        for q in range(self.tile.vectors):
            block = [
                self.load(self.at(source, self.column(j, q * lanes + r), k)) for r in range(lanes)
            ]
            for r, row in enumerate(self.transposed(block)):
                place = b.mul(b.add(k, self.i64(r)), self.i64(self.tile.columns))
                self.store(row, self.at(w, place, self.i64(q * lanes)))
        return []

    def transposed(self, rows: list) -> list:
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

    def gather_row(self, source: Any, w: Any, j: Any, k: Any) -> list:
        b = self.b
        row = self.at(source, b.mul(k, self.n_["b_row"]))
        strip = self.at(w, b.mul(k, self.i64(self.tile.columns)))
        for c in range(self.tile.columns):
            b.store(b.load(self.at(row, self.column(j, c))), self.at(strip, self.i64(c)))
        return []

    # ---- the sums
    def micro(self, a: Any, w: Any, c: Any, i: Any, rows: int, left: Any) -> list:
        b, tile, v = self.b, self.tile, self.n_
        starts = [self.at(a, b.mul(b.add(i, self.i64(r)), v["a_row"])) for r in range(rows)]

        def step(k: Any, across: Any, strip: Any, *sums: Any) -> list:
            columns = [
                self.load(self.at(strip, self.i64(q * tile.lanes))) for q in range(tile.vectors)
            ]
            new = []
            for r in range(rows):
                x = self.splat(b.load(self.at(starts[r], across)))
                new += [
                    b.call(self.fma, [x, columns[q], sums[r * tile.vectors + q]])
                    for q in range(tile.vectors)
                ]
            return [b.add(across, v["a_col"]), self.at(strip, self.i64(tile.columns)), *new]

        zeros = [self.zero] * (rows * tile.vectors)
        sums = self.loop(self.i64(0), v["k"], 1, step, self.i64(0), w, *zeros)[3:]
        whole = b.and_(
            b.icmp_signed(">=", left, self.i64(tile.columns)),
            b.icmp_signed("==", v["c_col"], self.i64(1)),
        )
        with b.if_else(whole) as (full, part):
            with full:
                for r in range(rows):
                    row = self.at(c, b.mul(b.add(i, self.i64(r)), v["c_row"]))
                    for q in range(tile.vectors):
                        at = self.at(row, self.i64(q * tile.lanes))
                        self.store(sums[r * tile.vectors + q], at)
            # an edge, or a result that lies transposed, leaves by way of a buffer
            with part:
                for q, value in enumerate(sums):
                    self.store(value, self.at(self.aside, self.i64(q * tile.lanes)))
                self.loop(self.i64(0), self.i64(rows), 1, lambda r: self.copy_part(c, i, r, left))
        return []

    def copy_part(self, c: Any, i: Any, r: Any, left: Any) -> list:
        """Row r of the buffer, as far as it is part of the matrix."""
        b = self.b
        row = self.at(c, b.mul(b.add(i, r), self.n_["c_row"]))
        source = self.at(self.aside, b.mul(r, self.i64(self.tile.columns)))

        def move(e: Any) -> list:
            b.store(b.load(self.at(source, e)), self.at(row, b.mul(e, self.n_["c_col"])))
            return []

        columns = self.i64(self.tile.columns)
        count = b.select(b.icmp_signed("<", left, columns), left, columns)
        self.loop(self.i64(0), count, 1, move)
        return []


def effort(code: str, m: int, n: int, k: int, turned: bool) -> int:
    """A rough count of vector operations: sums, packing, and numbers stored one by one."""
    tile = tile_for(code, n)
    vectors = -(-n // tile.lanes)
    singly = turned or n % tile.columns != 0
    return m * k * vectors + 2 * k * vectors + 2 * m * n * singly


def llvm_of(tile: Tile) -> str:
    """The LLVM module of the product with this register tile; its function is called `kernel`."""
    return str(_Emitter(tile, "kernel").emit())


@cache
def revision() -> str:
    """Changes with this file, so that code compiled from an older one is not taken for its own."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
