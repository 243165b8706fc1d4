"""The generated matrix product: one LLVM function for any extents, strides and batch.

Columns are taken a panel at a time: NR of them, copied into a packed strip that stays in cache,
whichever way B lies; a small B that lies by rows is read as it is. Down the panel goes a micro-
kernel that keeps MR x NR sums in registers and does one fused multiply-add per vector and row for
each step of k; smaller ones finish the last rows. The outer loop runs over (matrix of the batch,
panel), so threads share the work, and nothing oversubscribes; in a loop whose threads keep to their
rows, or where there are few panels, it takes steps down the rows of one matrix. Where A is large, a
block of its rows goes through all panels before the next, so that it is read from cache. A is read
where it lies; but where it lies transposed and many panels read it, a launch before this one copies
it row by row (strips.py). Where the rows of A lie along k and B is packed, addresses are constants
away from few registers, and the loop over k is little else than multiply-adds.

Of deep products, whose strips would not fit the second-level cache, a kernel of its own takes some
steps of k at a time, and adds up the sums of these parts in scratch memory. So they keep their
digits, too, as do sums down many columns, which are made of the sums of blocks of rows.

The blocking is that of Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication
(2008).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from llvmlite import ir

from .emitter import I1
from .epilogue import Epilogue
from .finish import Finisher, Place
from .strips import pack
from .tile import Tile, row_tiles

# entries of the argument block: three pointers, then numbers, then the places of the epilogue
POINTERS = ("a", "b", "packed")
NUMBERS = (
    "oa", "ob", "m", "n", "k", "a_row", "a_col", "b_row", "b_col", "a_batch", "b_batch",
    "panels", "block", "along", "direct", "totals", "part", "partial", "step",
)
POINTERS_OF_ROWS = 6  # registers that hold where rows of a tile begin
UNROLLED = 4  # steps of k in one pass through strips


class _Product(Finisher):
    def __init__(self, tile: Tile, epilogue: Epilogue, in_parts: bool):
        super().__init__(tile, epilogue, len(POINTERS) + len(NUMBERS))
        self.in_parts = in_parts

    # ---- the function
    def emit(self) -> ir.Module:
        b = self.b
        self.base = {name: self.pointer(k) for k, name in enumerate(POINTERS)}
        self.n_ = {name: self.word(len(POINTERS) + k) for k, name in enumerate(NUMBERS)}
        v = self.n_
        self.straight = self.side_by_side(self.epilogue.points, self.points)
        self.along = b.icmp_signed("!=", v["along"], self.i64(0))
        _, start, stop, _ = self.function.args
        by_rows = b.icmp_signed("!=", v["step"], self.i64(0))
        zero, panels, end = self.i64(0), v["panels"], b.mul(stop, v["step"])
        self.top = b.mul(start, v["step"])
        self.bottom = b.select(by_rows, self.at_most(end, v["m"]), v["m"])
        self.sides = b.select(by_rows, zero, start), b.select(by_rows, panels, stop)
        if self.in_parts:
            self.loop(self.i64(0), self.ratio_up(v["k"], v["part"]), 1, self.part)
        else:
            self.begin, self.depth, self.ends = self.i64(0), v["k"], ir.Constant(I1, 1)
            self.blocks()
        b.ret_void()
        return self.module

    def part(self, q: Any) -> list[Any]:
        """Some steps of k, for all rows."""
        b, v = self.b, self.n_
        self.begin = b.mul(q, v["part"])
        self.depth = self.at_most(b.sub(v["k"], self.begin), v["part"])
        self.ends = b.icmp_signed("==", b.add(self.begin, self.depth), v["k"])
        self.blocks()
        return []

    def blocks(self) -> None:
        rows = self.b.sub(self.bottom, self.top)
        self.loop(self.i64(0), self.ratio_up(rows, self.n_["block"]), 1, self.block)

    def block(self, q: Any) -> list[Any]:
        """Some rows of A, for all panels."""
        first = self.b.add(self.top, self.b.mul(q, self.n_["block"]))
        last = self.at_most(self.b.add(first, self.n_["block"]), self.bottom)
        self.loop(*self.sides, 1, lambda t: self.panel(t, first, last))
        return []

    def panel(self, t: Any, first: Any, last: Any) -> list[Any]:
        """Rows `first` to `last` of panel `t`, counted over all matrices of the batch."""
        b, v, tile, base = self.b, self.n_, self.tile, self.base
        sums = len(self.epilogue.sums) * tile.columns
        batch = b.sdiv(t, v["panels"])
        j = b.mul(b.sub(t, b.mul(batch, v["panels"])), self.i64(tile.columns))
        a = self.at(base["a"], v["oa"], b.mul(batch, v["a_batch"]))
        a = self.at(a, b.mul(self.begin, v["a_col"]))
        w = self.at(base["packed"], b.mul(t, b.mul(v["part"], self.i64(tile.columns))))
        totals = self.at(base["packed"], v["totals"], b.mul(t, self.i64(2 * sums)))
        of_block = self.at(totals, self.i64(sums))
        source = self.at(base["b"], v["ob"], b.mul(batch, v["b_batch"]))
        source = self.at(source, b.mul(self.begin, v["b_row"]))
        places = self.moved(self.points, columns=j, matrices=batch)
        left = b.sub(v["n"], j)
        whole = b.icmp_signed(">=", left, self.i64(tile.columns))
        direct = b.and_(whole, b.icmp_signed("!=", v["direct"], self.i64(0)))
        begins = b.icmp_signed("==", first, self.top)
        with b.if_then(b.and_(b.not_(direct), begins)):
            width = self.i64(tile.columns)
            beside = self.at(source, b.mul(j, v["b_col"]))
            pack(self, beside, w, self.depth, v["b_row"], v["b_col"], left, tile.vectors, width)
        if sums:
            with b.if_then(begins):
                self.each(sums, lambda q: self.store(self.zero, self.at(totals, q)))
            self.each(sums, lambda q: self.store(self.zero, self.at(of_block, q)))
        strip = b.select(direct, self.at(source, j), w)
        self.step_of_b = b.select(direct, v["b_row"], self.i64(tile.columns))
        self.whole = b.and_(whole, self.straight)

        def tile_of(i: Any, rows: int) -> list[Any]:
            here = self.at(a, b.mul(i, v["a_row"]))
            row = b.mul(b.add(b.mul(t, v["m"]), i), self.i64(tile.columns))
            partial = self.at(base["packed"], v["partial"], row)
            places_here = self.moved(places, rows=i)
            self.micro(here, strip, partial, places_here, rows, left, of_block)
            return []

        self.tiles(first, last, tile_of)
        if sums:
            self.each(sums, lambda q: self.raise_by(self.at(totals, q), self.at(of_block, q)))
            with b.if_then(b.and_(self.ends, b.icmp_signed("==", last, self.bottom))):
                below = self.moved(self.columns, columns=j)
                count = self.at_most(left, tile.columns)
                self.edge(self.epilogue.columns, below, totals, self.i64(1), count, totals)
        return []

    def ratio_up(self, x: Any, y: Any) -> Any:
        return self.b.sdiv(self.b.add(x, self.b.sub(y, self.i64(1))), y)

    def each(self, count: int, body: Callable[[Any], None]) -> None:
        """body(q) for each of the vectors that `count` numbers fill."""
        for q in range(0, count, self.lanes):
            body(self.i64(q))

    def raise_by(self, total: Any, part: Any) -> None:
        """Add the vector at one place to that at the other."""
        self.store(self.b.fadd(self.load(total), self.load(part)), total)

    def tiles(self, first: Any, last: Any, body: Callable[..., Any]) -> None:
        """body(i, rows) for the rows from first to last, most of them MR at a time. The end is two
        tiles of the next size where they fit: a tile of two rows would wait for its sums.
        """
        b, (most, less, *_) = self.b, row_tiles(self.tile)
        left = b.srem(b.sub(last, first), self.i64(most))
        fit = b.icmp_signed("==", left, self.i64(2 * less - most))
        until = b.select(fit, b.sub(last, self.i64(2 * less)), last)
        i = first
        for rows in row_tiles(self.tile):
            end = until if rows == most else last
            (i,) = self.loop(i, end, rows, lambda i, rows=rows: body(i, rows))

    # ---- the sums
    def micro(self, a: Any, w: Any, partial: Any, places: list[Place], rows: int, left: Any,
              totals: Any) -> None:
        """The tile whose rows of A begin at `a`; `partial` is where its sums wait for more."""
        b, count = self.b, rows * self.tile.vectors
        waiting = [self.at(partial, self.i64(q * self.lanes)) for q in range(count)]
        sums = [self.zero] * count
        if rows < self.tile.rows:
            sums = self.sums(a, w, sums)
        else:
            sums = self.either(
                self.along, lambda: self.sums_along(a, w, sums), lambda: self.sums(a, w, sums)
            )
        if not self.in_parts:
            self.leave(places, sums, left, totals)
            return
        more = b.icmp_signed("!=", self.begin, self.i64(0))
        so_far = self.either(
            more, lambda: [self.load(p) for p in waiting], lambda: [self.zero] * count
        )
        sums = [b.fadd(x, y) for x, y in zip(so_far, sums, strict=True)]
        with b.if_else(self.ends) as (done, wait):
            with done:
                self.leave(places, sums, left, totals)
            with wait:
                for value, p in zip(sums, waiting, strict=True):
                    self.store(value, p)

    def leave(self, places: list[Place], sums: list[Any], left: Any, totals: Any) -> None:
        b = self.b
        if "strided" in self.epilogue.points.kinds:  # no vectors of it lie in memory
            self.leave_aside(places, sums, left, totals)
            return
        with b.if_else(self.whole) as (full, part):
            with full:
                self.rows_whole(places, sums, totals)
            with part:
                self.leave_aside(places, sums, left, totals)

    def added(self, sums: Sequence[Any], strip: Any, number: Callable[..., Any],
              rows: int) -> list[Any]:
        """The sums, and what a row of the strip adds to them; number(r) is an address in A."""
        b, tile = self.b, self.tile
        across = [self.load(self.at(strip, self.i64(q * tile.lanes))) for q in range(tile.vectors)]
        new = []
        for r in range(rows):
            x = self.splat(b.load(number(r)))
            old = sums[r * tile.vectors : (r + 1) * tile.vectors]
            new += [b.call(self.fma, [x, y, z]) for y, z in zip(across, old, strict=True)]
        return new

    def rows_of(self, a: Any, rows: int) -> Callable[..., Any]:
        """Addresses in a tile: where an element of row r is, so far from the row's beginning."""
        b, step = self.b, self.n_["a_row"]
        starts = [a]
        for _ in range(min(rows, POINTERS_OF_ROWS) - 1):
            starts.append(self.at(starts[-1], step))
        starts = [self.unrelated(start) for start in starts]
        further = [
            b.mul(step, self.i64(r)) for r in range(POINTERS_OF_ROWS, rows, POINTERS_OF_ROWS)
        ]

        def address(r: int, along: Any) -> Any:
            group, r = divmod(r, POINTERS_OF_ROWS)
            return self.at(starts[r], b.add(along, further[group - 1]) if group else along)

        return address

    def sums(self, a: Any, w: Any, sums: list[Any]) -> list[Any]:
        """These sums, and what a tile of A with any strides adds to them."""
        rows = len(sums) // self.tile.vectors
        b, address = self.b, self.rows_of(a, rows)

        def step(k: Any, down: Any, strip: Any, *sums: Any) -> list[Any]:
            new = self.added(sums, strip, lambda r: address(r, down), rows)
            return [b.add(down, self.n_["a_col"]), self.at(strip, self.step_of_b), *new]

        return self.loop(self.i64(0), self.depth, 1, step, self.i64(0), w, *sums)[3:]

    def sums_along(self, a: Any, w: Any, sums: list[Any]) -> list[Any]:
        """The same for a whole tile whose rows lie along k, and a packed strip: some steps of k at
        a time.
        """
        b, tile = self.b, self.tile
        address = self.rows_of(a, tile.rows)

        def steps(count: int) -> Callable[..., Any]:
            def step(k: Any, strip: Any, *sums: Any) -> list[Any]:
                new: Sequence[Any] = sums
                for u in range(count):
                    here, at = self.at(strip, self.i64(u * tile.columns)), b.add(k, self.i64(u))
                    new = self.added(new, here, lambda r, at=at: address(r, at), tile.rows)
                return [self.at(strip, self.i64(count * tile.columns)), *new]

            return step

        k, *rest = self.loop(self.i64(0), self.depth, UNROLLED, steps(UNROLLED), w, *sums)
        return self.loop(k, self.depth, 1, steps(1), *rest)[2:]

    def leave_aside(self, places: list[Place], sums: list[Any], left: Any, totals: Any) -> None:
        """An edge, or a result that lies transposed, leaves by way of a buffer."""
        for q, value in enumerate(sums):
            self.store(value, self.at(self.aside, self.i64(q * self.lanes)))
        rows = self.i64(len(sums) // self.tile.vectors)
        count = self.at_most(left, self.tile.columns)
        self.edge(self.epilogue.points, places, self.aside, rows, count, totals)


def llvm_of(tile: Tile, epilogue: Epilogue, in_parts: bool) -> str:
    """The LLVM module of the product with this register tile; its function is called `kernel`."""
    return str(_Product(tile, epilogue, in_parts).emit())


@cache
def revision() -> str:
    """Changes with the files of this folder, so that code compiled from older ones is not taken for
    theirs.
    """
    texts = (path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return hashlib.sha256(b"".join(texts)).hexdigest()[:8]
