"""Which register tile a matrix product gets, and what of its operands is copied first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm

from ...ir.node import Node
from ..text import storage_code

NEAR = (
    192 * 1024
)  # bytes of A that a block of rows may have: it shares the second-level cache with a packed strip
TALL = 4096  # rows whose sums down the columns are added up by themselves
DEEP = 32  # steps of k that are worth a loop of several steps
PART = 512  # steps of k in a part of a deep product
LATENCY = 8  # multiply-adds that a core begins before the first is done


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

    @property
    def itemsize(self) -> int:
        return 4 if self.code == "f4" else 8


@cache
def lanes_of(code: str) -> tuple[int, int]:
    """(numbers in a vector register, rows of the tile that fits the registers) of this machine."""
    features = llvm.get_host_cpu_features()
    width = 64 if features.get("avx512f") else 32 if features.get("avx2") else 16
    return width // (4 if code == "f4" else 8), 14 if width == 64 else 6


def tile_for(code: str, n: int) -> Tile:
    lanes, rows = lanes_of(code)
    # enough sums in flight to hide the latency of a multiply-add; three vectors are three panels of
    # one, for of two panels of two a quarter would be empty
    narrow = n <= lanes or 2 * lanes < n <= 3 * lanes
    return Tile(code, 2 * rows, 1, lanes) if narrow else Tile(code, rows, 2, lanes)


def row_tiles(tile: Tile) -> list[int]:
    """The heights of register tiles: the whole one, and those for the rows that are left."""
    return [tile.rows, *(r for r in (16, 8, 4, 2, 1) if r < tile.rows)]


def block_of(tile: Tile, m: int, k: int) -> int:
    """How many rows of A go through the panels at a time."""
    rows = min(NEAR // (max(k, 1) * tile.itemsize), TALL)
    return m if m <= 2 * rows else max(rows // tile.rows, 1) * tile.rows


def part_of(k: int) -> int:
    """How many steps of k are taken at a time: all, or a part that keeps the strips near."""
    if k <= 2 * PART:
        return k
    parts = -(-k // PART)
    return -(-k // (8 * parts)) * 8


def worth_a_copy(panels: int, k: int) -> bool:
    """Whether a transposed A is copied row by row before the product: enough panels read it, and
    along enough steps.
    """
    return panels >= 4 and k >= DEEP


def reads_directly(b_row: int, b_col: int, tile: Tile, m: int, k: int) -> bool:
    """Whether whole panels of B are read where they lie: they are near as it is, or read once or
    twice.
    """
    near = k * b_row * tile.itemsize <= 64 * 1024
    return b_col == 1 and (near or m <= 2 * tile.rows)


def turned(product: Node) -> bool:
    """Whether A B is computed as the transpose of B' A': a narrow result may fill the vectors
    better.
    """
    *_, m, n = product.shape
    code, k = storage_code(product.dtype), product.inputs[0].shape[-1]
    return _effort(code, n, m, k, True) < _effort(code, m, n, k, False)


def _effort(code: str, m: int, n: int, k: int, singly: bool) -> float:
    """Roughly how many vector multiply-adds the product would last: those it does, waiting for
    their latency in tiles of few rows; packing; and an edge stored in parts of vectors, or all
    numbers one by one. (Measured; see docs/performance.md.)

    Large extents count without what is left over at their end. Else every other batch size would
    turn a product that is about as fast either way, and need a kernel that is not there.
    """
    tile = tile_for(code, n)
    panels = max(1, n / tile.columns + 0.25)
    stores = 5 * m * n if singly else 6 * m * (n % tile.columns != 0)
    sums = m * tile.vectors + LATENCY // 2
    if m < tile.rows:
        sums = 0
        for rows in row_tiles(tile):
            sums += m // rows * max(rows * tile.vectors, LATENCY)
            m %= rows
    return panels * min(k, PART) * (sums + 3 * tile.vectors) + stores
