"""Matrix products for a GPU: a block computes a tile of the result from strips of both operands in
shared memory, a thread a few numbers of the tile in registers.

    while step < k:                     # a strip of A and one of B, zeros where they stick out
        left[q, i] = ...
        right[q, j] = ...
        cuda.syncthreads()
        for q in range(16):
            a0 = left[q, ty]; ...
            c0_0 = cuda.fma(a0, b0, c0_0)
        cuda.syncthreads()

What is computed from a number of the product before it is stored is done in registers. Sums down
the columns are made in two stages: each tile leaves its own, a second launch adds them up from the
first tile to the last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...ir.dtype import DType, float64
from ...ir.node import Node
from ..gemm.epilogue import Operand, Place, Stage, describe
from ..program import Grid
from ..schedule.lower import Lowered
from ..schedule.products import matrix_layout
from ..templates.loops import Axis
from ..text import Arguments, Piece, compute_code, load, store
from .grid import MOST_BLOCKS, cuda_piece, grid_of, indented, shared, strided


@dataclass(frozen=True)
class Tile:
    """What a block computes: `size` rows and columns, `deep` steps at a time; a thread has `each`
    rows and columns of it, which lie `size // each` apart.
    """

    size: int
    deep: int
    each: int

    @property
    def across(self) -> int:
        """Threads along one side."""
        return self.size // self.each

    def blocks(self, batch: int, m: int, n: int) -> int:
        return batch * -(-m // self.size) * -(-n // self.size)


STRIPS = "left", "right"
LARGE, SMALL = Tile(64, 16, 4), Tile(32, 16, 2)
ENOUGH = 128  # blocks that keep a large GPU busy


def tile_for(batch: int, m: int, n: int) -> Tile:
    return LARGE if LARGE.blocks(batch, m, n) >= ENOUGH else SMALL


class _Product:
    """The text of one product."""

    def __init__(
        self, low: Lowered, anchors: Sequence[Node], place: Mapping[Node, Node], stored: set[Node]
    ):
        product = anchors[0]
        self.low, self.place, self.dtype, self.args = low, place, product.dtype, Arguments()
        self.code = compute_code(self.dtype)
        self.m, self.n = product.shape[-2:]
        self.k, self.batch = product.inputs[0].shape[-1], math.prod(product.shape[:-2])
        self.tile = tile_for(self.batch, self.m, self.n)
        self.epilogue, places = describe(low, list(anchors), stored, place, False)
        self.places = iter(places)
        self.rows, self.columns = (self.args.integer(x, name)
                                   for x, name in ((self.m, "m"), (self.n, "n")))
        self.down, self.across = (
            self.args.integer(-(-x // self.tile.size), name)
            for x, name in ((self.m, "down"), (self.n, "across"))
        )
        self.inputs = product.inputs

    def pieces(self) -> Iterator[Piece]:
        each, threads = range(self.tile.each), self.tile.across**2
        strips, sums = self._strips(), [f"c{i}_{j}" for i in each for j in each]
        points = self._points()
        strip = self.tile.deep, self.tile.size + 1
        lines = [
            *(f"{name} = cuda.shared.array({strip}, kind_{self.code})" for name in STRIPS),
            f"tx = cuda.threadIdx.x & {self.tile.across - 1}",
            f"ty = cuda.threadIdx.x >> {self.tile.across.bit_length() - 1}",
        ]
        tile = [
            f"q_across = quotient(tile, {self.across})",
            f"col = (tile - q_across * {self.across}) * {self.tile.size}",
            f"batch = quotient(q_across, {self.down})",
            f"down = q_across - batch * {self.down}",
            f"row = down * {self.tile.size}",
            *(f"{c} = {self.code}(0)" for c in sums),
            *strips,
            *points,
        ]
        blocks = self.tile.blocks(self.batch, self.m, self.n)
        count = self.args.integer(blocks, "tiles")
        loop = strided("tile", "cuda.blockIdx.x", count, "cuda.gridDim.x", tile)
        grid = Grid(min(blocks, MOST_BLOCKS), threads)
        yield cuda_piece("gemm", [*self.args.lines, *lines, *loop], self.args, grid)
        if self.epilogue.sums:
            yield self._second_stage()

    # ---- the sums of products
    def _strips(self) -> list[str]:
        t, k = self.tile, self.args.integer(self.k, "k")
        a, b = (self._copy(*x) for x in (("left", self.inputs[0], "row", self.rows, True),
                                         ("right", self.inputs[1], "col", self.columns, False)))
        each = range(t.each)
        inner = [
            *(f"a{i} = left[q, ty + {i * t.across}]" for i in each),
            *(f"b{j} = right[q, tx + {j * t.across}]" for j in each),
            *(f"c{i}_{j} = cuda.fma(a{i}, b{j}, c{i}_{j})" for i in each for j in each),
        ]
        lines = [
            *a, *b, "cuda.syncthreads()", f"for q in range({t.deep}):", *indented(inner),
            "cuda.syncthreads()",
        ]
        return strided("step", "0", k, str(t.deep), lines)

    def _copy(self, name: str, x: Node, first: str, count: str, left: bool) -> list[str]:
        """A strip of an operand, read along whichever axis its numbers lie side by side."""
        leaf, view = self.low.resolve(x)
        layout = matrix_layout(view)
        assert layout is not None, "lowering copies operands that are no matrices"
        turned, leading, batch = layout
        row, col = (1, leading) if turned else (leading, 1)
        along, deep = (row, col) if left else (col, row)
        pointer = self.args.pointer(self.place.get(leaf, leaf), leaf.dtype)
        size, depth = (n.bit_length() - 1 for n in (self.tile.size, self.tile.deep))
        if along == 1:
            i, q = f"e & {self.tile.size - 1}", f"e >> {size}"
        else:
            i, q = f"e >> {depth}", f"e & {self.tile.deep - 1}"
        terms = [self.args.beginning(view.offset)] if view.offset else []
        if batch:
            terms.append(f"batch * {self.args.integer(batch, ('batch', name))}")
        for at, stride, key in (("i", along, "along"), ("q", deep, "deep")):
            terms.append(at if stride == 1 else f"{at} * {self.args.integer(stride, (key, name))}")
        k = self.args.integer(self.k, "k")
        lines = [
            f"i = {first} + ({i})",
            f"q = step + ({q})",
            f"x = {self.code}(0)",
            f"if i < {count} and q < {k}:",
            f"    x = {load(pointer, leaf.dtype, ' + '.join(terms))}",
            f"{name}[{q}, {i}] = x",
        ]
        total = str(self.tile.size * self.tile.deep)
        return strided("e", "cuda.threadIdx.x", total, "cuda.blockDim.x", lines)

    # ---- what is done with them
    def _points(self) -> list[str]:
        stage, t = self.epilogue.points, self.tile
        places = [next(self.places) for _ in range(len(stage.kinds) + len(stage.outputs))]
        totals = [[f"s{s}_{j}" for j in range(t.each)] for s in range(len(self.epilogue.sums))]
        lines = [f"{name} = {self.code}(0)" for names in totals for name in names]
        for i in range(t.each):
            for j in range(t.each):
                value, statements = self._finished(
                    stage, places, [f"c{i}_{j}"], "i", "j", "batch"
                )
                for names, operand in zip(totals, self.epilogue.sums, strict=True):
                    statements.append(f"{names[j]} += {value(operand)}")
                lines += [
                    f"i = row + ty + {i * t.across}", f"j = col + tx + {j * t.across}",
                    f"if i < {self.rows} and j < {self.columns}:", *indented(statements),
                ]
        return [*lines, *(line for s, names in enumerate(totals) for line in self._left(s, names))]

    def _left(self, s: int, names: list[str]) -> list[str]:
        """What a tile leaves of a sum down the columns: a row of as many numbers."""
        lines = []
        pointer = self._parts()
        for j, name in enumerate(names):
            at = f"({s} * {self.down} + down) * {self.columns} + j"
            lines += [
                f"{name} = column_sum_{self.code}({name}, {self.tile.across})",
                f"j = col + tx + {j * self.tile.across}",
                f"if ty == 0 and j < {self.columns}:",
                f"    {store(pointer, self.dtype, at, name)}",
            ]
        return lines

    def _parts(self) -> str:
        down = -(-self.m // self.tile.size)
        nbytes = len(self.epilogue.sums) * down * self.n * self.dtype.itemsize
        return self.args.scratch(nbytes, self.dtype)

    def _second_stage(self) -> Piece:
        """Add up what the tiles left, and compute what follows."""
        stage, args, down = self.epilogue.columns, Arguments(), -(-self.m // self.tile.size)
        self.args = args
        pointer, columns = self._parts(), args.integer(self.n, "n")
        rows = args.integer(down, "down")
        lines, names = [], [f"s{s}" for s in range(len(self.epilogue.sums))]
        for s, name in enumerate(names):
            at = f"({s} * {rows} + r) * {columns} + j"
            lines += [
                f"{name} = {self.code}(0)", f"for r in range({rows}):",
                f"    {name} += {load(pointer, self.dtype, at)}",
            ]
        places = list(self.places)
        lines += self._finished(stage, places, names, "0", "j", "0")[1]
        text = shared((Axis("j", "", 0),), (self.n,), args, lines)
        return cuda_piece("gemm_sums", [*args.lines, *text], args, grid_of(self.n))

    def _finished(
        self, stage: Stage, places: Sequence[Place], sums: list[str], i: str, j: str, b: str
    ) -> tuple[Callable[[Operand], str], list[str]]:
        """What gives the text of an operand, and the statements of a stage, stores among them."""
        words: dict[str, list[str]] = {"sum": sums, "leaf": [], "step": []}
        lines = []

        def value(x: Operand) -> str:
            if x[0] == "constant":
                return self.args.constant(x[1], self.dtype)
            return words[x[0]][int(x[1])]

        count = len(stage.kinds)
        for k, place in enumerate(places[:count]):
            words["leaf"].append(f"x{k}")
            lines.append(f"x{k} = {self._read(place, i, j, b)}")
        for k, (op, operands) in enumerate(stage.steps):
            assert op.expr is not None
            text = op.expr.format(*map(value, operands), T=self.code, Y=self.code)
            words["step"].append(f"y{k}")
            lines.append(f"y{k} = {text}")
        for place, output in zip(places[count:], stage.outputs, strict=True):
            assert isinstance(place.node, Node)
            pointer = self.args.pointer(place.node, self.dtype)
            lines.append(store(pointer, self.dtype, self._at(place, i, j, b), value(output)))
        return value, lines

    def _read(self, place: Place, i: str, j: str, b: str) -> str:
        if not isinstance(place.node, Node):
            return self.args.constant(place.node, self.dtype)
        dtype: DType = float64 if place.double else self.dtype
        pointer = self.args.pointer(self.place.get(place.node, place.node), dtype)
        text = load(pointer, dtype, self._at(place, i, j, b))
        return f"{self.code}({text})" if place.double else text

    def _at(self, place: Place, i: str, j: str, b: str) -> str:
        terms = [self.args.beginning(place.offset)] if place.offset else []
        for at, stride in ((b, place.batch), (i, place.row), (j, place.col)):
            if stride and at != "0":
                key = "place", place, at
                terms.append(at if stride == 1 else f"{at} * {self.args.integer(stride, key)}")
        return " + ".join(terms) or "0"


def contraction(
    low: Lowered, anchors: Sequence[Node], place: Mapping[Node, Node], stored: set[Node]
) -> Iterator[Piece]:
    yield from _Product(low, anchors, place, stored).pieces()
