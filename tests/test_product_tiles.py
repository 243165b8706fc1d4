"""What a matrix product chooses before it is written: its register tile, blocks of rows, parts of a
deep sum, which operands are copied, and whether it is computed transposed.
"""

from __future__ import annotations

import pytest

from tracegrad.codegen.gemm import tile as tiles
from tracegrad.codegen.gemm.tile import (
    DEEP,
    NEAR,
    PART,
    TALL,
    Tile,
    block_of,
    lanes_of,
    part_of,
    reads_directly,
    row_tiles,
    tile_for,
    turned,
    worth_a_copy,
)
from tracegrad.ir import dtype as dt
from tracegrad.ir.node import input_node
from tracegrad.ir.ops.contract import dot

WIDE, NARROW = Tile("f4", 14, 2, 16), Tile("f8", 6, 2, 4)  # of AVX-512, of AVX2
MACHINES = {64: 14, 32: 6, 16: 6}  # bytes of a vector register, rows of a tile


@pytest.fixture(params=MACHINES)
def machine(request, monkeypatch):
    """Every kind of processor, whichever runs the tests."""
    width, rows = request.param, MACHINES[request.param]
    monkeypatch.setattr(tiles, "lanes_of", lambda code: (width // (4 if code == "f4" else 8), rows))
    return width


# ---- the register tile
@pytest.mark.parametrize("features, found", [
    ({"avx512f": True, "avx2": True}, (16, 14)), ({"avx512f": False, "avx2": True}, (8, 6)),
    ({"avx2": False}, (4, 6)), ({}, (4, 6)),
])
def test_a_tile_fits_the_registers_of_the_machine(features, found, monkeypatch):
    monkeypatch.setattr(tiles.llvm, "get_host_cpu_features", lambda: features)
    assert lanes_of.__wrapped__("f4") == found
    assert lanes_of.__wrapped__("f8") == (found[0] // 2, found[1])


@pytest.mark.parametrize("code, itemsize", [("f4", 4), ("f8", 8)])
def test_a_tile_is_two_vectors_wide_or_one_and_twice_as_tall(machine, code, itemsize):
    lanes = machine // itemsize
    wide, narrow = tile_for(code, lanes + 1), tile_for(code, lanes)
    assert (wide.vectors, wide.columns, narrow.vectors, narrow.columns) == (2, 2 * lanes, 1, lanes)
    assert narrow.rows * narrow.vectors == wide.rows * wide.vectors  # as many sums in flight
    assert wide.itemsize == narrow.itemsize == itemsize


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9, 17, 33, 1000])
def test_every_number_of_rows_is_made_of_the_heights_there_are(machine, n):
    tile = tile_for("f4", n)
    heights = row_tiles(tile)
    assert heights[0] == tile.rows and heights[-1] == 1
    assert heights == sorted(set(heights), reverse=True)
    for m in range(100):
        for height in heights:
            m %= height
        assert m == 0


# ---- blocks and parts
@pytest.mark.parametrize("tile", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("k", [0, 1, 7, 64, 512, 1000, 10**6])
def test_a_block_of_rows_stays_near(tile, k):
    for m in (1, 13, 500, 5000, 10**6):
        block = block_of(tile, m, k)
        near = block * max(k, 1) * tile.itemsize <= NEAR
        if block == m:  # or hardly more: better than a block and a rest
            assert m <= 2 * TALL and m * k * tile.itemsize <= 2 * NEAR
        else:
            assert block % tile.rows == 0 and block <= TALL and (near or block == tile.rows)


def test_few_rows_are_one_block_rather_than_one_and_a_rest():
    rows = NEAR // (100 * WIDE.itemsize)
    assert block_of(WIDE, 2 * rows, 100) == 2 * rows
    assert block_of(WIDE, 2 * rows + 1, 100) < rows


@pytest.mark.parametrize("k", [1, PART, 2 * PART, 2 * PART + 1, 1100, 3 * PART, 10**5 + 7])
def test_a_deep_sum_is_taken_in_as_few_parts_as_it_can(k):
    part = part_of(k)
    if k <= 2 * PART:
        assert part == k
    else:
        assert part <= PART and part % 8 == 0
        assert -(-k // part) == -(-k // PART)


# ---- what is copied first
@pytest.mark.parametrize("panels, k, copied", [
    (4, DEEP, True), (100, 1000, True), (3, 1000, False), (100, DEEP - 1, False),
])
def test_a_transposed_operand_is_copied_for_many_panels_of_many_steps(panels, k, copied):
    assert worth_a_copy(panels, k) == copied


@pytest.mark.parametrize("b_row, b_col, m, k, directly", [
    (32, 1, 1000, 100, True),  # near as it is
    (4096, 1, 1000, 100, False),  # far apart, and read again by every block of rows
    (4096, 1, 2 * WIDE.rows, 100, True),  # read once or twice
    (4096, 1, 2 * WIDE.rows + 1, 100, False),
    (32, 2, 1000, 100, False),  # no vectors can be read
    (1, 32, 1, 1, False),  # transposed
])
def test_panels_are_read_where_they_lie_if_near_or_not_read_again(b_row, b_col, m, k, directly):
    assert reads_directly(b_row, b_col, WIDE, m, k) == directly


# ---- transposed
def is_turned(m: int, n: int, k: int, dtype: dt.DType = dt.float32) -> bool:
    return turned(dot(input_node((m, k), dtype), input_node((k, n), dtype)))


@pytest.mark.parametrize("machine", [64], indirect=True)
@pytest.mark.parametrize("dtype, narrow, wide", [(dt.float32, 5, 6), (dt.float64, 2, 3)])
def test_a_tall_result_narrower_than_a_vector_is_computed_transposed(machine, dtype, narrow, wide):
    assert is_turned(1024, 2, 64, dtype) and is_turned(1024, narrow, 64, dtype)
    assert not is_turned(1024, wide, 64, dtype)
    assert not is_turned(2, 1024, 64, dtype)


@pytest.mark.parametrize("n", [64, 256, 1024])
def test_a_square_result_is_computed_as_it_is(machine, n):
    assert not is_turned(n, n, n)


def test_a_product_and_its_transpose_are_not_both_turned(machine):
    sizes = (2, 3, 7, 16, 33, 100)
    for m in sizes:
        for n in sizes:
            for k in (2, 40):
                assert not (is_turned(m, n, k) and is_turned(n, m, k)), (m, n, k)


def test_the_batch_does_not_decide():
    one, many = (dot(input_node((*b, 300, 2), dt.float32), input_node((*b, 2, 3), dt.float32))
                 for b in ((), (5, 2)))
    assert turned(one) == turned(many)


def test_three_vectors_are_three_panels(machine):
    lanes = machine // 4
    vectors = [tile_for("f4", n).vectors for n in range(1, 5 * lanes, lanes // 2)]
    assert vectors == [1, 1, 2, 2, 1, 1, 2, 2, 2, 2]
