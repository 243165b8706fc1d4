"""Matrix products for a GPU: a block computes a tile of the result from strips of both operands in
shared memory, a thread a few numbers of the tile in registers.

    ...                                 # left0, ..., right3: a thread's share of the first strips
    while step < stop:
        left[turn, q, i] = left0        # ...
        cuda.syncthreads()
        step += 16
        ...                             # the next strips, on their way while these are used
        for q in range(16):
            a0 = left[turn, q, ty]; ...
            c0_0 = cuda.fma(a0, b0, c0_0)
        turn ^= 1

Strips are read as vectors where memory is aligned, and are zeros where they stick out. A long
product with few tiles is cut into parts, whose sums a second launch adds up in order.

What is computed from a number of the product before it is stored is done in registers. Sums down
the columns are made in two stages: each tile leaves its own, a second launch adds them up from the
first tile to the last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from string import Formatter

from ...ir.dtype import DType, float64
from ...ir.node import Node
from ...ir.op import Kind, OpDef, Types
from ...ir.value import REGISTRY
from ..gemm.emitter import WORDS
from ..gemm.epilogue import Operand, Place, Stage, describe
from ..program import Grid
from ..schedule.lower import Lowered
from ..schedule.products import matrix_layout
from ..templates.loops import Axis
from ..text import Arguments, Piece, compute_code, load, storage_code, store
from .grid import MOST_BLOCKS, cuda_piece, grid_of, indented, shared, strided
from .wide import LANES, VECTOR


@dataclass(frozen=True)
class Tile:
    """What a block computes: `size` rows and columns; a thread has `each` rows and columns of it,
    which lie `size // each` apart.
    """

    size: int
    each: int

    @property
    def deep(self) -> int:
        """How many steps a strip has, of which each thread brings LANES numbers."""
        return LANES * self.across**2 // self.size

    @property
    def across(self) -> int:
        """Threads along one side."""
        return self.size // self.each

    def blocks(self, batch: int, m: int, n: int) -> int:
        return batch * -(-m // self.size) * -(-n // self.size)


STRIPS = "left", "right"
HUGE, LARGE, SMALL = Tile(128, 8), Tile(64, 4), Tile(32, 2)
ENOUGH = 128  # blocks that keep a large GPU busy
FEW_STEPS = 4  # of an epilogue that is written out for each number of a huge tile
LONG = 512  # terms of a product that is cut
SHORTEST, MOST_PARTS = 128, 32  # terms of a part, parts


@cache
def in_registers() -> frozenset[OpDef]:
    """What is computed of the numbers of a product: all whose text needs operands alone."""
    every = (op for op in REGISTRY.values() if op.types in (Types.SAME, Types.FLOAT))
    plain = (op for op in every if op.kind is Kind.ELEMENTWISE and op.check is None and op.expr)
    fields = {op: {f for _, f, *_ in Formatter().parse(op.expr) if f} for op in plain}
    return frozenset(WORDS) | {op for op, names in fields.items() if names <= {*"0123TY"}}


def tile_for(batch: int, m: int, n: int, dtype: DType, steps: int) -> Tile:
    """`steps` follow the product."""
    if HUGE.blocks(batch, m, n) >= ENOUGH and dtype.itemsize <= 4 and steps <= FEW_STEPS:
        return HUGE
    return LARGE if LARGE.blocks(batch, m, n) >= ENOUGH else SMALL


def parts_for(blocks: int, k: int) -> int:
    return 1 if k < LONG else max(min(2 * ENOUGH // max(blocks, 1), k // SHORTEST, MOST_PARTS), 1)


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
        self.epilogue, places = describe(low, list(anchors), stored, place, False)
        steps = len(self.epilogue.points.steps)
        self.tile = tile_for(self.batch, self.m, self.n, self.dtype, steps)
        self.blocks = self.tile.blocks(self.batch, self.m, self.n)
        self.parts = 1 if self.epilogue.sums else parts_for(self.blocks, self.k)
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
        vectors, strips = self._strips()
        points = self._part() if self.parts > 1 else self._points()
        shape = 2, self.tile.deep, self.tile.size + 1
        lines = [
            *(f"{name} = cuda.shared.array({shape}, kind_{self.code})" for name in STRIPS),
            f"tx = cuda.threadIdx.x & {self.tile.across - 1}",
            f"ty = cuda.threadIdx.x >> {self.tile.across.bit_length() - 1}",
            *vectors, "turn = 0",
        ]
        tile = [
            f"q_across = quotient(tile, {self.across})",
            f"col = (tile - q_across * {self.across}) * {self.tile.size}",
            f"q_down = quotient(q_across, {self.down})",
            f"down = q_across - q_down * {self.down}",
            f"row = down * {self.tile.size}",
            *self._span(),
            *(f"c{i}_{j} = {self.code}(0)" for i in each for j in each),
            *strips, *points,
        ]
        blocks = self.blocks * self.parts
        count = self.args.integer(blocks, "tiles")
        loop = strided("tile", "cuda.blockIdx.x", count, "cuda.gridDim.x", tile)
        grid = Grid(min(blocks, MOST_BLOCKS), threads)
        yield cuda_piece("gemm", [*self.args.lines, *lines, *loop], self.args, grid)
        if self.parts > 1:
            yield self._sum_of_parts()
        elif self.epilogue.sums:
            yield self._second_stage()

    # ---- the sums of products
    def _span(self) -> list[str]:
        """The matrix of the batch, and from where to where its terms are added."""
        if self.parts == 1:
            return ["batch = q_down", "step = 0", f"stop = {self.args.integer(self.k, 'k')}"]
        deep = self.tile.deep
        size = -(-self.k // (self.parts * deep)) * deep  # whole strips, so that they are vectors
        batch, part = self.args.integer(self.batch, "batch"), self.args.integer(size, "part")
        return [f"part = quotient(q_down, {batch})", f"batch = q_down - part * {batch}",
                f"step = part * {part}",
                f"stop = minimum(step + {part}, {self.args.integer(self.k, 'k')})"]

    def _strips(self) -> tuple[list[str], list[str]]:
        """What says whether strips are vectors, and the loop over them."""
        t, each = self.tile, range(self.tile.each)
        copies = [self._strip(*x) for x in (("left", self.inputs[0], "row", self.rows, True),
                                            ("right", self.inputs[1], "col", self.columns, False))]
        vectors, reads, writes = ([line for lines in x for line in lines]
                                  for x in zip(*copies, strict=True))
        inner = [
            *(f"a{i} = left[turn, q, ty + {i * t.across}]" for i in each),
            *(f"b{j} = right[turn, q, tx + {j * t.across}]" for j in each),
            *(f"c{i}_{j} = cuda.fma(a{i}, b{j}, c{i}_{j})" for i in each for j in each),
        ]
        lines = [
            *writes, "cuda.syncthreads()", f"step += {t.deep}", *reads,
            f"for q in range({t.deep}):", *indented(inner), "turn ^= 1",
        ]
        return vectors, [*reads, "while step < stop:", *indented(lines)]

    def _strip(
        self, name: str, x: Node, first: str, count: str, left: bool
    ) -> tuple[list[str], list[str], list[str]]:
        """What says whether an operand is read as vectors; what reads a thread's share of a strip,
        along whichever axis numbers lie side by side; and what writes it to shared memory.
        """
        leaf, view = self.low.resolve(x)
        layout = matrix_layout(view)
        assert layout is not None, "lowering copies operands that are no matrices"
        turned, leading, batch = layout
        along = turned is left  # whether numbers of one step lie side by side
        pointer = self.args.pointer(self.place.get(leaf, leaf), leaf.dtype)
        lead = self.args.integer(leading, ("leading", name))
        size, deep = self.tile.size // LANES, self.tile.deep // LANES
        e, small = "cuda.threadIdx.x", size if along else deep
        near, far = f"({e} & {small - 1}) * {LANES}", f"({e} >> {small.bit_length() - 1})"
        i, q = (near, far) if along else (far, near)
        terms, steps = [f"q * {lead} + i" if along else f"i * {lead} + q"], [lead]
        if view.offset:
            steps.append(self.args.beginning(view.offset))
            terms.append(steps[-1])
        if batch:
            steps.append(self.args.integer(batch, ("batch", name)))
            terms.append(f"batch * {steps[-1]}")
        nbytes = min(VECTOR, LANES * leaf.dtype.itemsize)
        vectors = [f"{name}_wide = aligned({pointer}, {nbytes}) and "
                   f"({' | '.join(steps)}) & {LANES - 1} == 0"]
        names = [f"{name}{lane}" for lane in range(LANES)]
        inside = [f"i + {lane} < {count}" if along else f"q + {lane} < stop"
                  for lane in range(LANES)]
        single = [f"{names[0]} = {load(pointer, leaf.dtype, 'at')}"]
        for lane in range(1, LANES):
            value = load(pointer, leaf.dtype, f"at + {lane}")
            single += [f"if {inside[lane]}:", f"    {names[lane]} = {value}"]
        code = storage_code(leaf.dtype)
        reads = [
            f"i = {first} + {i}", f"q = step + {q}", f"at = {' + '.join(terms)}",
            f"{' = '.join(names)} = {self.code}(0)",
            f"if i < {count} and q < stop:",
            f"    if {name}_wide and {inside[-1]}:",
            f"        {', '.join(names)} = load{LANES}_{code}({pointer}, at, {pointer[1:]})",
            "    else:", *indented(indented(single)),
        ]
        writes = [f"i = {i}", f"q = {q}"]
        for lane, value in enumerate(names):
            at = f"q, i + {lane}" if along else f"q + {lane}, i"
            writes.append(f"{name}[turn, {at}] = {value}")
        return vectors, reads, writes

    # ---- parts of a long product
    def _sums(self) -> str:
        count = self.parts * self.batch * self.m * self.n
        return self.args.scratch(count * self.dtype.itemsize, self.dtype)

    def _part(self) -> list[str]:
        """Store what a part makes of a tile."""
        pointer, lines = self._sums(), [f"first = q_down * {self.rows}"]
        for i in range(self.tile.each):
            for j in range(self.tile.each):
                at = f"(first + i) * {self.columns} + j"
                lines += [
                    f"i = row + ty + {i * self.tile.across}",
                    f"j = col + tx + {j * self.tile.across}",
                    f"if i < {self.rows} and j < {self.columns}:",
                    f"    {store(pointer, self.dtype, at, f'c{i}_{j}')}",
                ]
        return lines

    def _sum_of_parts(self) -> Piece:
        """Add up the parts from the first to the last, and compute what follows."""
        self.args = args = Arguments()
        pointer, stage = self._sums(), self.epilogue.points
        m, n, batch = (args.integer(x, name) for x, name in
                       ((self.m, "m"), (self.n, "n"), (self.batch, "batch")))
        places = [next(self.places) for _ in range(len(stage.kinds) + len(stage.outputs))]
        names = "row", "col", "batch"
        at = f"((part * {batch} + batch) * {m} + row) * {n} + col"
        lines = [
            f"total = {self.code}(0)",
            f"for part in range({args.integer(self.parts, 'parts')}):",
            f"    total += {load(pointer, self.dtype, at)}",
            *self._finished(stage, places, ["total"], *names)[1],
        ]
        axes = tuple(Axis(name, "", d) for d, name in enumerate((names[2], *names[:2])))
        text = shared(axes, (self.batch, self.m, self.n), args, lines)
        points = self.batch * self.m * self.n
        return cuda_piece("gemm_parts", [*args.lines, *text], args, grid_of(points))

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
