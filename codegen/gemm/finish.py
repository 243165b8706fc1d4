"""What a matrix product's kernel does with its sums: the stages of an Epilogue, as LLVM.

Whole vectors are finished in registers, row by row of the tile. An edge of the matrix, and a result
whose numbers do not lie side by side, leaves by way of a buffer and a function of its own, so that
the loop over the tiles stays short.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from llvmlite import ir

from .emitter import I64, WORDS, Emitter
from .epilogue import Epilogue, Stage
from .tile import Tile


@dataclass(frozen=True)
class Place:
    """A buffer's words as LLVM values; of a number or a double, `base` is the number itself."""

    kind: str
    base: Any
    batch: Any = None
    row: Any = None
    col: Any = None

    @property
    def moves(self) -> bool:
        return self.row is not None


class Finisher(Emitter):
    """Writes the stages; the words of their places begin at entry `first` of the argument block."""

    def __init__(self, tile: Tile, epilogue: Epilogue, first: int):
        super().__init__(tile.code, tile.lanes, "kernel")
        self.tile, self.epilogue = tile, epilogue
        self.next_word = first
        buffer = self.b.alloca(ir.ArrayType(self.real, tile.rows * tile.columns))
        self.aside = self.b.gep(buffer, [self.i64(0), self.i64(0)])  # a tile that sticks out
        self.points = self._places(epilogue.points)
        self.columns = self._places(epilogue.columns)

    def _places(self, stage: Stage) -> list[Place]:
        """Its leaves, then its outputs."""
        return [self._place(kind) for kind in (*stage.kinds, *("unit" for _ in stage.outputs))]

    def _place(self, kind: str) -> Place:
        k = self.next_word
        if kind == "number":
            self.next_word += 1
            return Place(kind, self._rounded(self.b.bitcast(self.word(k), ir.DoubleType())))
        self.next_word += 5
        if kind == "double":
            entry = self.b.inttoptr(self.word(k), I64.as_pointer())
            address = self.b.inttoptr(self.b.load(entry), ir.DoubleType().as_pointer())
            return Place(kind, self._rounded(self.b.load(self.at(address, self.word(k + 1)))))
        base = self.at(self.pointer(k), self.word(k + 1))
        return Place(kind, base, *(self.word(k + d) for d in (2, 3, 4)))

    def _rounded(self, double: Any) -> Any:
        return self.b.fptrunc(double, self.real) if self.code == "f4" else double

    def moved(self, places: list[Place], rows: Any = None, columns: Any = None,
              matrices: Any = None) -> list[Place]:
        """The places as seen from another row, column or matrix."""
        steps = ((matrices, "batch"), (rows, "row"), (columns, "col"))
        found = []
        for x in places:
            base = x.base
            if x.moves:
                for by, of in steps:
                    if by is not None:
                        base = self.at(base, self.b.mul(by, getattr(x, of)))
            found.append(replace(x, base=base))
        return found

    def side_by_side(self, stage: Stage, places: list[Place]) -> Any:
        """Whether all that the stage stores lies in vectors."""
        b, found = self.b, ir.Constant(ir.IntType(1), 1)
        for x in places[len(stage.kinds) :]:
            found = b.and_(found, b.icmp_signed("==", x.col, self.i64(1)))
        return found

    # ---- a vector, or a number
    def values(self, stage: Stage, sums: Sequence[Any], leaves: list[Any]) -> Callable[..., Any]:
        """What each operand of the stage is, given the sums and what was read of the leaves."""
        kind = sums[0].type
        count = self.lanes if kind is self.vector else 1
        found: dict[str, Sequence[Any]] = {"sum": sums, "leaf": leaves}
        steps: list[Any] = []
        found["step"] = steps

        def value(x: tuple[str, int | float]) -> Any:
            if x[0] == "constant":
                return ir.Constant(kind, [x[1]] * count if kind is self.vector else x[1])
            return found[x[0]][int(x[1])]

        for op, operands in stage.steps:
            steps.append(WORDS[op](self.b, *map(value, operands)))
        return value

    # ---- whole vectors
    def rows_whole(self, places: list[Place], sums: list[Any], totals: Any) -> None:
        """Finish and store the tile whose numbers are `sums`; `totals` are of its columns."""
        b, stage, lanes, vectors = self.b, self.epilogue.points, self.lanes, self.tile.vectors
        leaves = len(stage.kinds)
        parts: dict[tuple[int, int], Any] = {}
        at = [x.base for x in places]
        for r in range(len(sums) // vectors):
            if r:  # from row to row: no multiplications between the stores
                at = [self.at(p, x.row) if x.moves else p for p, x in zip(at, places, strict=True)]
            for q in range(vectors):
                e = self.i64(q * lanes)
                read = [
                    self.load(self.at(p, e)) if x.kind == "unit"
                    else self.splat(b.load(p) if x.moves else p)
                    for p, x in zip(at[:leaves], places, strict=False)
                ]
                value = self.values(stage, [sums[r * vectors + q]], read)
                for p, y in zip(at[leaves:], stage.outputs, strict=True):
                    self.store(value(y), self.at(p, e))
                for s, y in enumerate(self.epilogue.sums):
                    old = parts.get((s, q))
                    parts[s, q] = value(y) if old is None else b.fadd(old, value(y))
        for (s, q), part in parts.items():
            here = self.at(totals, self.i64(s * self.tile.columns + q * lanes))
            self.store(b.fadd(self.load(here), part), here)

    # ---- number by number, or in parts of vectors
    def edge(self, stage: Stage, places: list[Place], source: Any, rows: Any, count: Any,
             totals: Any) -> None:
        """Finish the first `count` columns of `rows` rows of numbers that lie at `source`."""
        late = stage is self.epilogue.columns
        name = "columns" if late else "points"
        words = [v for x in places for v in ((x.base, x.row, x.col) if x.moves else (x.base,))]
        body = partial(self._edge, stage, places, late)
        self.call(f"finish_{name}", body, [source, rows, count, totals, *words])

    def _edge(self, stage: Stage, places: list[Place], late: bool, source: Any, rows: Any,
              count: Any, totals: Any, *words: Any) -> None:
        """The function behind `edge`."""
        given = iter(words)
        near = [
            replace(x, base=next(given), row=next(given), col=next(given))
            if x.moves else replace(x, base=next(given)) for x in places
        ]
        b, strided = self.b, "strided" in stage.kinds

        def row(r: Any) -> list[Any]:
            here = self.moved(near, rows=r)
            line = self.at(source, b.mul(r, self.i64(self.tile.columns)))
            if strided or late:
                self._numbers(stage, here, line, count, totals, late)
                return []
            with b.if_else(self.side_by_side(stage, near)) as (vectors, numbers):
                with vectors:
                    self._parts(stage, here, line, count, totals)
                with numbers:
                    self._numbers(stage, here, line, count, totals, late)
            return []

        self.loop(self.i64(0), rows, 1, row)

    def _numbers(self, stage: Stage, places: list[Place], line: Any, count: Any, totals: Any,
                 late: bool) -> None:
        b, leaves = self.b, len(stage.kinds)

        def number(e: Any) -> list[Any]:
            at = [self.at(x.base, b.mul(e, x.col)) if x.moves else x.base for x in places]
            read = [b.load(p) if x.moves else p for p, x in zip(at[:leaves], places, strict=False)]
            columns = self.tile.columns
            sums = (
                [b.load(self.at(line, e, self.i64(s * columns)))
                 for s in range(len(self.epilogue.sums))] if late else [b.load(self.at(line, e))]
            )
            value = self.values(stage, sums, read)
            for p, y in zip(at[leaves:], stage.outputs, strict=True):
                b.store(value(y), p)
            for s, y in enumerate(() if late else self.epilogue.sums):
                here = self.at(totals, e, self.i64(s * columns))
                b.store(b.fadd(b.load(here), value(y)), here)
            return []

        self.loop(self.i64(0), count, 1, number)

    def _parts(self, stage: Stage, places: list[Place], line: Any, count: Any, totals: Any) -> None:
        """A row whose numbers lie side by side: vectors, of which the last is not whole."""
        b, leaves, lanes = self.b, len(stage.kinds), self.lanes
        for q in range(self.tile.vectors):
            e = self.i64(q * lanes)
            mask = self.mask(count, q)
            with b.if_then(b.icmp_signed(">", count, e)):
                read = [
                    self.masked(self.at(x.base, e), mask) if x.kind == "unit"
                    else self.splat(b.load(x.base) if x.moves else x.base)
                    for x in places[:leaves]
                ]
                value = self.values(stage, [self.load(self.at(line, e))], read)
                for x, y in zip(places[leaves:], stage.outputs, strict=True):
                    self.store_part(value(y), self.at(x.base, e), b.sub(count, e))
                for s, y in enumerate(self.epilogue.sums):  # there is room for whole vectors
                    here = self.at(totals, self.i64(s * self.tile.columns), e)
                    self.store(b.fadd(self.load(here), value(y)), here)
