"""Squares of numbers, read along rows and written along columns, in registers: what a transposed
copy is made of. Eight vectors of eight numbers are exchanged in three steps, two and two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .intrinsics import scoped
from .python_builtins import Pointer, load_of, store_of

SIDE = 8
_NUMBERS = ir.VectorType(ir.IntType(32), SIDE)


def _exchanged(builder: Any, rows: list[Any], distance: int) -> list[Any]:
    """In each pair of rows so far apart, the upper right blocks against the lower left ones."""
    first = [j if not j & distance else SIDE + j - distance for j in range(SIDE)]
    masks = [ir.Constant(_NUMBERS, lanes) for lanes in (first, [j + distance for j in first])]
    new = list(rows)
    for i in range(SIDE):
        if not i & distance:
            pair = rows[i], rows[i + distance]
            new[i], new[i + distance] = (builder.shuffle_vector(*pair, mask) for mask in masks)
    return new


def turned(memory: Any) -> Any:
    """The intrinsic for numbers of that type in memory."""

    @intrinsic(prefer_literal=True)
    def turn(typingctx: Any, target: Any, at: Any, step: Any, source: Any, begin: Any, across: Any,
             written: Any, read: Any) -> Any:
        """Column by column to `target`, `step` apart, what stands in rows of `source`, `across`
        apart. The last two are alias scopes.
        """

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            number = context.get_value_type(memory)
            vector = ir.VectorType(number, SIDE).as_pointer()
            size = memory.bitwidth // 8

            def places(pointer: int) -> list[Any]:
                where, apart = (context.cast(builder, values[k], signature.args[k], types.int64)
                                for k in (pointer + 1, pointer + 2))
                cells = []
                for _ in range(SIDE):
                    cell = builder.gep(values[pointer], [where])
                    cells.append(builder.bitcast(cell, vector))
                    where = builder.add(where, apart)
                return cells

            rows = [builder.load(cell, align=size) for cell in places(3)]
            for row in rows:
                scoped(builder, row, read.literal_value)
            for distance in (1, 2, 4):
                rows = _exchanged(builder, rows, distance)
            for row, cell in zip(rows, places(0), strict=True):
                scoped(builder, builder.store(row, cell, align=size), written.literal_value)
            return context.get_dummy_value()

        return types.void(target, at, step, source, begin, across, written, read), codegen

    return turn


def plain(code: str) -> Callable[..., None]:
    load, store = load_of(code), store_of(code)

    def turn(target: Pointer, at: int, step: int, source: Pointer, begin: int, across: int,
             written: int, read: int) -> None:
        for i in range(SIDE):
            for j in range(SIDE):
                number = load(source, begin + i * across + j, read)
                store(target, at + j * step + i, number, written)

    return turn
