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
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from llvmlite import ir

from ..epilogue import Epilogue
from . import emitter, finish
from .finish import Finisher, Place
from .tile import Tile, row_tiles

# entries of the argument block: three pointers, then numbers, then the places of the epilogue
POINTERS = ("a", "b", "packed")
NUMBERS = (
    "oa", "ob", "m", "n", "k", "a_row", "a_col", "b_row", "b_col", "a_batch", "b_batch",
    "panels", "block", "packs", "direct", "totals",
)  # fmt: skip


class _Product(Finisher):
    def __init__(self, tile: Tile, epilogue: Epilogue):
        super().__init__(tile, epilogue, len(POINTERS) + len(NUMBERS))

    # ---- the function
    def emit(self) -> ir.Module:
        b, tile = self.b, self.tile
        _, start, stop, _ = self.function.args
        base = {name: self.pointer(k) for k, name in enumerate(POINTERS)}
        self.n_ = {name: self.word(len(POINTERS) + k) for k, name in enumerate(NUMBERS)}
        v = self.n_
        straight = self.side_by_side(self.epilogue.points, self.points)
        sums = len(self.epilogue.sums) * tile.columns

        def panel(t: Any, first: Any, last: Any) -> list:
            batch = b.sdiv(t, v["panels"])
            j = b.mul(b.sub(t, b.mul(batch, v["panels"])), self.i64(tile.columns))
            a = self.at(base["a"], v["oa"], b.mul(batch, v["a_batch"]))
            w = self.at(base["packed"], b.mul(t, b.mul(v["k"], self.i64(tile.columns))))
            totals = self.at(base["packed"], v["totals"], b.mul(t, self.i64(sums)))
            source = self.at(base["b"], v["ob"], b.mul(batch, v["b_batch"]))
            places = self.moved(self.points, columns=j, matrices=batch)
            left = b.sub(v["n"], j)
            masks = [self.mask(left, q) for q in range(tile.vectors)]
            whole = b.icmp_signed(">=", left, self.i64(tile.columns))
            direct = b.and_(whole, b.icmp_signed("!=", v["direct"], self.i64(0)))
            begins = b.icmp_signed("==", first, self.i64(0))
            with b.if_then(b.and_(b.not_(direct), begins)):
                self.pack(source, w, j, masks)
            if sums:
                with b.if_then(begins):
                    for q in range(0, sums, tile.lanes):
                        self.store(self.zero, self.at(totals, self.i64(q)))
            strip = b.select(direct, self.at(source, j), w)
            self.step_of_b = b.select(direct, v["b_row"], self.i64(tile.columns))
            self.whole = b.and_(whole, straight)
            near = b.select(packs, room, self.at(a, b.mul(first, v["a_row"])))
            down = b.select(packs, v["k"], v["a_row"])

            def tile_of(i: Any, rows: int) -> list:
                across = b.select(packs, self.i64(rows), v["a_col"])
                here = self.at(near, b.mul(b.sub(i, first), down))
                self.micro(here, across, strip, self.moved(places, rows=i), rows, left, totals)
                return []

            self.tiles(first, last, tile_of)
            if sums:
                with b.if_then(b.icmp_signed("==", last, v["m"])):
                    below = self.moved(self.columns, columns=j)
                    count = self.at_most(left, tile.columns)
                    self.edge(self.epilogue.columns, below, totals, self.i64(1), count, totals)
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

    def at_most(self, count: Any, most: int) -> Any:
        limit = self.i64(most)
        return self.b.select(self.b.icmp_signed("<", count, limit), count, limit)

    def tiles(self, first: Any, last: Any, body: Callable) -> None:
        """body(i, rows) for the rows from first to last, most of them MR at a time."""
        i = first
        for rows in row_tiles(self.tile):
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
    def micro(self, a: Any, step_of_a: Any, w: Any, places: list[Place], rows: int, left: Any,
              totals: Any) -> None:  # fmt: skip
        """The tile whose rows of A begin at `a` and lie `step_of_a` apart along k."""
        b, tile, v = self.b, self.tile, self.n_
        starts = [a]
        for _ in range(rows - 1):
            starts.append(self.at(starts[-1], v["a_row"]))

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
        if "strided" in self.epilogue.points.kinds:  # no vectors of it lie in memory
            self.leave_aside(places, sums, left, totals)
            return
        with b.if_else(self.whole) as (full, part):
            with full:
                self.rows_whole(places, sums, totals)
            with part:
                self.leave_aside(places, sums, left, totals)

    def leave_aside(self, places: list[Place], sums: list, left: Any, totals: Any) -> None:
        """An edge, or a result that lies transposed, leaves by way of a buffer."""
        for q, value in enumerate(sums):
            self.store(value, self.at(self.aside, self.i64(q * self.lanes)))
        rows = self.i64(len(sums) // self.tile.vectors)
        count = self.at_most(left, self.tile.columns)
        self.edge(self.epilogue.points, places, self.aside, rows, count, totals)


def llvm_of(tile: Tile, epilogue: Epilogue) -> str:
    """The LLVM module of the product with this register tile; its function is called `kernel`."""
    return str(_Product(tile, epilogue).emit())


@cache
def revision() -> str:
    """Changes with this file and its words, so that code compiled from older ones is not taken for
    theirs.
    """
    texts = (Path(module).read_bytes() for module in (__file__, emitter.__file__, finish.__file__))
    return hashlib.sha256(b"".join(texts)).hexdigest()[:8]
