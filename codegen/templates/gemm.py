"""The generated matrix product: one LLVM function for any extents, strides and batch.

Columns are taken a panel at a time: NR of them, copied into a packed strip that stays in cache,
whichever way B lies; a small B that lies by rows is read as it is. Down the panel goes a micro-
kernel that keeps MR x NR sums in registers and does one fused multiply-add per vector and row for
each step of k; smaller ones finish the last rows. The outer loop runs over (matrix of the batch,
panel), so the tape's threads share the work, and nothing oversubscribes. Where A is large, a block
of its rows goes through all panels before the next, so that it is read from cache. A is read where
it lies; but where it lies transposed and many panels read it, each block is packed too: the steps
of k would lie a row of A apart, and a power of two of bytes apart they fall into few sets of the
cache.

The blocking is that of Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication
(2008), without the loop over k: strips of the sizes met here fit the second-level cache.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from ..epilogue import Epilogue
from . import emitter
from .emitter import WORDS, Emitter

# entries of the argument block: four pointers, then numbers; then, for each leaf of the epilogue,
# its pointer, offset, and strides along the batch, rows and columns of the result
POINTERS = ("a", "b", "c", "packed")
NUMBERS = (
    "oa", "ob", "m", "n", "k", "a_row", "a_col", "b_row", "b_col", "a_batch", "b_batch",
    "c_row", "c_col", "c_batch", "panels", "block", "packs", "direct",
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


def packs_rows(a_row: int, batch: int, panels: int, k: int) -> bool:
    """Whether blocks of A are packed: its columns are contiguous, and enough panels read each."""
    return a_row == 1 and batch == 1 and panels >= 8 and k >= 64


def reads_directly(b_row: int, b_col: int, tile: Tile, m: int, k: int) -> bool:
    """Whether whole panels of B are read where they lie: they are near as it is, or read once or
    twice.
    """
    near = k * b_row * (4 if tile.code == "f4" else 8) <= 64 * 1024
    return b_col == 1 and (near or m <= 2 * tile.rows)


def tile_for(code: str, n: int) -> Tile:
    lanes, rows = lanes_of(code)
    # enough sums in flight to hide the latency of a multiply-add
    return Tile(code, 2 * rows, 1, lanes) if n <= lanes else Tile(code, rows, 2, lanes)


@dataclass(frozen=True)
class Leaf:
    """A buffer that the epilogue reads, as LLVM values."""

    base: Any
    batch: Any
    row: Any
    col: Any
    kind: str


class _Product(Emitter):
    def __init__(self, tile: Tile, epilogue: Epilogue):
        super().__init__(tile.code, tile.lanes, "kernel")
        self.tile, self.epilogue = tile, epilogue
        buffer = self.b.alloca(ir.ArrayType(self.real, tile.rows * tile.columns))
        self.aside = self.b.gep(buffer, [self.i64(0), self.i64(0)])  # a tile that sticks out

    # ---- the function
    def emit(self) -> ir.Module:
        b, tile = self.b, self.tile
        _, start, stop, _ = self.function.args
        base = {name: self.pointer(k) for k, name in enumerate(POINTERS)}
        self.n_ = {name: self.word(len(POINTERS) + k) for k, name in enumerate(NUMBERS)}
        v = self.n_
        first_leaf = len(POINTERS) + len(NUMBERS)
        leaves = [
            self.leaf(k, kind)
            for k, kind in zip(itertools.count(first_leaf, 5), self.epilogue.kinds)
        ]

        def panel(t: Any, first: Any, last: Any) -> list:
            batch = b.sdiv(t, v["panels"])
            j = b.mul(b.sub(t, b.mul(batch, v["panels"])), self.i64(tile.columns))
            a = self.at(base["a"], v["oa"], b.mul(batch, v["a_batch"]))
            w = self.at(base["packed"], b.mul(t, b.mul(v["k"], self.i64(tile.columns))))
            source = self.at(base["b"], v["ob"], b.mul(batch, v["b_batch"]))
            c = self.at(base["c"], b.mul(batch, v["c_batch"]), b.mul(j, v["c_col"]))
            self.leaves = [
                replace(x, base=self.at(x.base, b.mul(batch, x.batch), b.mul(j, x.col)))
                for x in leaves
            ]
            left = b.sub(v["n"], j)
            masks = [self.mask(left, q) for q in range(tile.vectors)]
            whole = b.icmp_signed(">=", left, self.i64(tile.columns))
            direct = b.and_(whole, b.icmp_signed("!=", v["direct"], self.i64(0)))
            with b.if_then(b.and_(b.not_(direct), b.icmp_signed("==", first, self.i64(0)))):
                self.pack(source, w, j, masks)
            strip = b.select(direct, self.at(source, j), w)
            self.step_of_b = b.select(direct, v["b_row"], self.i64(tile.columns))

            def tile_of(i: Any, rows: int) -> list:
                packed = self.at(room, b.mul(b.sub(i, first), v["k"]))
                near = b.select(packs, packed, self.at(a, b.mul(i, v["a_row"])))
                across = b.select(packs, self.i64(rows), v["a_col"])
                return self.micro(near, across, strip, c, i, rows, left)

            self.tiles(first, last, tile_of)
            return []

        # Threads share nothing: each packs A into the second half of the strips of its own panels.
        packs = b.icmp_signed("!=", v["packs"], self.i64(0))
        size = b.mul(v["k"], self.i64(tile.columns))
        room = self.at(base["packed"], b.mul(b.add(v["panels"], start), size))
        # one row less than there is room for: the last vector of a tile is written whole
        most = b.sub(b.mul(b.sub(stop, start), self.i64(tile.columns)), self.i64(1))
        most = b.mul(b.sdiv(most, self.i64(tile.rows)), self.i64(tile.rows))
        most = b.select(b.icmp_signed("<", most, v["block"]), most, v["block"])
        height = b.select(packs, most, v["block"])

        def block(q: Any) -> list:
            first = b.mul(q, height)
            last = b.add(first, height)
            last = b.select(b.icmp_signed("<", last, v["m"]), last, v["m"])
            with b.if_then(packs):
                a = self.at(base["a"], v["oa"])
                self.tiles(
                    first,
                    last,
                    lambda i, rows: self.pack_rows(
                        self.at(a, i), self.at(room, b.mul(b.sub(i, first), v["k"])), rows
                    ),
                )
            self.loop(start, stop, 1, lambda t: panel(t, first, last))
            return []

        blocks = b.sdiv(b.add(v["m"], b.sub(height, self.i64(1))), height)
        self.loop(self.i64(0), blocks, 1, block)
        b.ret_void()
        return self.module

    def leaf(self, k: int, kind: str) -> Leaf:
        """The buffer whose words begin at entry k of the argument block."""
        base = self.at(self.pointer(k), self.word(k + 1))
        return Leaf(base, self.word(k + 2), self.word(k + 3), self.word(k + 4), kind)

    def tiles(self, first: Any, last: Any, body: Callable) -> None:
        """body(i, rows) for the rows from first to last, most of them MR at a time."""
        i = first
        for rows in (self.tile.rows, *(r for r in (16, 8, 4, 2, 1) if r < self.tile.rows)):
            (i,) = self.loop(i, last, rows, lambda i, rows=rows: body(i, rows))

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
            value = self.masked(self.at(row, self.i64(q * tile.lanes)), mask)
            self.store(value, self.at(strip, self.i64(q * tile.lanes)))
        return []

    def pack_rows(self, source: Any, packed: Any, rows: int) -> list:
        """`rows` rows of a transposed A, one step of k after the other. Vectors are written whole:
        what sticks out is overwritten by the next.
        """
        b, lanes = self.b, self.tile.lanes

        def step(k: Any) -> list:
            row, place = self.at(source, b.mul(k, self.n_["a_col"])), b.mul(k, self.i64(rows))
            for q in range(-(-rows // lanes)):
                at = self.at(row, self.i64(q * lanes))
                value = self.masked(at, self.mask(self.i64(rows), q))
                self.store(value, self.at(packed, place, self.i64(q * lanes)))
            return []

        self.loop(self.i64(0), self.n_["k"], 1, step)
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

    def gather_row(self, source: Any, w: Any, j: Any, k: Any) -> list:
        b = self.b
        row = self.at(source, b.mul(k, self.n_["b_row"]))
        strip = self.at(w, b.mul(k, self.i64(self.tile.columns)))
        for c in range(self.tile.columns):
            b.store(b.load(self.at(row, self.column(j, c))), self.at(strip, self.i64(c)))
        return []

    # ---- the sums
    def micro(self, a: Any, step_of_a: Any, w: Any, c: Any, i: Any, rows: int, left: Any) -> list:
        """The tile of C at row i; its rows of A begin at `a`, and lie `step_of_a` apart along k."""
        b, tile, v = self.b, self.tile, self.n_
        starts = [self.at(a, b.mul(self.i64(r), v["a_row"])) for r in range(rows)]

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
            return [b.add(across, step_of_a), self.at(strip, self.step_of_b), *new]

        zeros = [self.zero] * (rows * tile.vectors)
        sums = self.loop(self.i64(0), v["k"], 1, step, self.i64(0), w, *zeros)[3:]
        whole = b.and_(
            b.icmp_signed(">=", left, self.i64(tile.columns)),
            b.icmp_signed("==", v["c_col"], self.i64(1)),
        )
        if "strided" in self.epilogue.kinds:  # no vectors of it lie in memory
            self.leave_aside(c, i, sums, left)
            return []
        with b.if_else(whole) as (full, part):
            with full:
                for r in range(rows):
                    at = b.add(i, self.i64(r))
                    row = self.at(c, b.mul(at, v["c_row"]))
                    for q in range(tile.vectors):
                        value = self.finished(
                            sums[r * tile.vectors + q], at, self.i64(q * tile.lanes)
                        )
                        self.store(value, self.at(row, self.i64(q * tile.lanes)))
            with part:
                self.leave_aside(c, i, sums, left)
        return []

    def finished(self, total: Any, i: Any, e: Any) -> Any:
        """The epilogue of the sums at row i, from column e of the panel: a vector or a number."""
        b = self.b

        def read(x: Leaf) -> Any:
            row = self.at(x.base, b.mul(i, x.row))
            if total.type is self.real:
                return b.load(self.at(row, b.mul(e, x.col)))
            return self.load(self.at(row, e)) if x.kind == "unit" else self.splat(b.load(row))

        leaves = [read(x) for x in self.leaves]
        found = {"sum": [total], "leaf": leaves, "step": []}
        for name, operands in self.epilogue.steps:
            values = [
                ir.Constant(total.type, [x] * self.lanes if total.type is self.vector else x)
                if kind == "number"
                else found[kind][int(x)]
                for kind, x in operands
            ]
            found["step"].append(WORDS[name](b, *values))
        return found["step"][-1] if found["step"] else total

    def leave_aside(self, c: Any, i: Any, sums: list, left: Any) -> None:
        """An edge, or a result that lies transposed, leaves by way of a buffer."""
        for q, value in enumerate(sums):
            self.store(value, self.at(self.aside, self.i64(q * self.lanes)))
        rows = self.i64(len(sums) // self.tile.vectors)
        self.loop(self.i64(0), rows, 1, lambda r: self.copy_part(c, i, r, left))

    def copy_part(self, c: Any, i: Any, r: Any, left: Any) -> list:
        """Row r of the buffer, as far as it is part of the matrix."""
        b = self.b
        row = self.at(c, b.mul(b.add(i, r), self.n_["c_row"]))
        source = self.at(self.aside, b.mul(r, self.i64(self.tile.columns)))

        def move(e: Any) -> list:
            value = self.finished(b.load(self.at(source, e)), b.add(i, r), e)
            b.store(value, self.at(row, b.mul(e, self.n_["c_col"])))
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


def llvm_of(tile: Tile, epilogue: Epilogue) -> str:
    """The LLVM module of the product with this register tile; its function is called `kernel`."""
    return str(_Product(tile, epilogue).emit())


@cache
def revision() -> str:
    """Changes with this file and its words, so that code compiled from older ones is not taken for
    theirs.
    """
    texts = (Path(module).read_bytes() for module in (__file__, emitter.__file__))
    return hashlib.sha256(b"".join(texts)).hexdigest()[:8]
