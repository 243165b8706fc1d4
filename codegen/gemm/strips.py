"""A matrix copied so that a product reads it in vectors: strips, of which every row is some whole
vectors. B is packed strip by strip, inside the product; a left operand that lies transposed is
copied row by row by the kernel here, in a launch before it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir

from .emitter import I32, Emitter
from .tile import Tile

# entries of the argument block: two pointers, then numbers
POINTERS = ("a", "rows")
NUMBERS = ("oa", "at", "m", "k", "a_col", "a_batch", "step", "strips")
VECTORS = 2  # in a strip of the copy: a line of the cache


def pack(e: Emitter, source: Any, strip: Any, rows: Any, along: Any, across: Any, count: Any,
         vectors: int, step: Any) -> None:
    """Copy a strip of `rows` rows, `step` apart, each of `vectors` vectors: element (i, j) comes
    from `source` + i * along + j * across, where one of the two is 1. Only the first `count`
    columns are there; the others get numbers of no meaning.
    """
    b, lanes = e.b, e.lanes

    def row(i: Any) -> list[Any]:
        here, there = e.at(source, b.mul(i, along)), e.at(strip, b.mul(i, step))
        e.prefetch(e.at(here, e.i64(vectors * lanes)))  # the next strip will want it
        for q in range(vectors):
            value = e.masked(e.at(here, e.i64(q * lanes)), e.mask(count, q))
            e.store(value, e.at(there, e.i64(q * lanes)))
        return []

    with b.if_else(b.icmp_signed("==", across, e.i64(1))) as (straight, down):
        with straight:
            e.loop(e.i64(0), rows, 1, row)
        with down:
            for q in range(vectors):
                first = e.i64(q * lanes)
                arguments = [source, e.at(strip, first), rows, across, first, count, step]
                e.call("columns", partial(_columns, e), arguments)


def _columns(e: Emitter, source: Any, strip: Any, rows: Any, across: Any, first: Any, count: Any,
             step: Any) -> None:
    """A vector of each row, read down its columns, which begin at `first` of `count`; the last
    stands in for those past the end. Written once for all vectors: LLVM takes long over a square.
    """
    b, lanes = e.b, e.lanes
    last = b.sub(count, e.i64(1))
    nearest = [e.at_most(b.add(first, e.i64(lane)), last) for lane in range(lanes)]
    starts = [e.at(source, b.mul(j, across)) for j in nearest]

    def square(i: Any) -> list[Any]:
        """Read down the columns, exchanged in registers, written along the rows."""
        block = e.transposed([e.load(e.at(start, i)) for start in starts])
        for r, value in enumerate(block):
            e.store(value, e.at(strip, b.mul(b.add(i, e.i64(r)), step)))
        return []

    def single(i: Any) -> list[Any]:
        value = e.zero
        for lane, start in enumerate(starts):
            number = b.load(e.at(start, i))
            value = b.insert_element(value, number, ir.Constant(I32, lane))
        e.store(value, e.at(strip, b.mul(i, step)))
        return []

    (i,) = e.loop(e.i64(0), rows, lanes, square)
    e.loop(i, rows, 1, single)


def stride_of(tile: Tile, k: int) -> int:
    """How far the rows of the copy lie apart: whole strips, an odd number of them, so that
    rows do not fall into few sets of the cache.
    """
    return (-(-k // (VECTORS * tile.lanes)) | 1) * VECTORS * tile.lanes


def llvm_of(tile: Tile) -> str:
    """The LLVM module that copies a transposed m x k matrix to where its rows lie along k."""
    e = Emitter(tile.code, tile.lanes, "kernel")
    b, (_, start, stop, _) = e.b, e.function.args
    base = {name: e.pointer(k) for k, name in enumerate(POINTERS)}
    v = {name: e.word(len(POINTERS) + k) for k, name in enumerate(NUMBERS)}
    width = e.i64(VECTORS * tile.lanes)

    def strip(t: Any) -> list[Any]:
        batch = b.sdiv(t, v["strips"])
        j = b.mul(b.sub(t, b.mul(batch, v["strips"])), width)
        source = e.at(base["a"], v["oa"], b.mul(batch, v["a_batch"]), b.mul(j, v["a_col"]))
        target = e.at(base["rows"], v["at"], b.mul(batch, b.mul(v["m"], v["step"])), j)
        count = e.at_most(b.sub(v["k"], j), VECTORS * tile.lanes)
        pack(e, source, target, v["m"], e.i64(1), v["a_col"], count, VECTORS, v["step"])
        return []

    e.loop(start, stop, 1, strip)
    b.ret_void()
    return str(e.module)
