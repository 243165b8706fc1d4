"""The spaces of loop nests: which two have one loop, and where in it a value lives and is read."""

from __future__ import annotations

import pytest
from graphs import floats

from tracegrad.codegen.schedule.loop_space import (
    Space,
    computed,
    expected,
    gathered,
    known,
    pointwise,
    seen,
    space_of,
)
from tracegrad.codegen.schedule.lower import lower
from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph
from tracegrad.ir.node import Node, input_node
from tracegrad.ir.ops.index import index
from tracegrad.ir.ops.movement import expand, flip, permute
from tracegrad.ir.ops.reduce import sum as sum_
from tracegrad.ir.strides import View

MAP = Space((20, 30))
ROWS = Space((20, 30), (1,))
COLUMNS = Space((20, 30), (0,))
SHORT = Space((20, 4), (1,))
SUMMED = Space((20, 30), (1,), sums=True)
SHORT_SUMMED = Space((20, 4), (1,), sums=True)


# ---- joins
@pytest.mark.parametrize("rows, other, joined", [
    # points
    (ROWS, MAP, ROWS),
    (ROWS, Space((20,)), ROWS),  # a number for each row
    (ROWS, Space((30,)), None),  # for each column, which no row is
    (ROWS, Space(()), None),
    (ROWS, Space((30, 20)), None),
    (COLUMNS, MAP, COLUMNS),
    (COLUMNS, Space((30,)), COLUMNS),  # a number for each column
    (COLUMNS, Space((20,)), None),
    (Space((20, 30, 5), (1,)), Space((20, 5)), Space((20, 30, 5), (1,))),
    # points of a loop that sums over its rows, too
    (SUMMED, Space(()), SUMMED),
    (SUMMED, Space((30,)), None),
    (SHORT_SUMMED, Space((4,)), SHORT_SUMMED),
    (SHORT_SUMMED, Space((5,)), None),
    # a sum over everything, or over all rows
    (ROWS, Space((20, 30), (0, 1)), SUMMED),
    (ROWS, Space((20,), (0,)), SUMMED),
    (ROWS, Space((30,), (0,)), None),
    (COLUMNS, Space((20, 30), (0, 1)), None),
    (COLUMNS, Space((30,), (0,)), None),
    (Space((20, 30), (0, 1)), Space((20, 30), (0, 1), sums=True), None),  # there are no rows
    # sums down the columns
    (ROWS, COLUMNS, None),
    (SHORT, Space((20, 4), (0,)), SHORT_SUMMED),
    (SHORT_SUMMED, Space((20, 4), (0,)), SHORT_SUMMED),
    (SHORT, Space((21, 4), (0,)), None),
    (Space((4, 4), (1,)), Space((4, 4), (0,)), None),  # shapes would not tell rows from columns
    # rows
    (SHORT, SHORT_SUMMED, SHORT_SUMMED),
    (ROWS, Space((20, 31), (1,)), None),
])
def test_a_loop_over_rows_takes_in_what_its_rows_have_room_for(rows, other, joined):
    assert rows.join(other) == joined


@pytest.mark.parametrize("other", [MAP, ROWS, COLUMNS, Space(())])
def test_points_take_in_nothing_that_is_no_loop_of_their_own(other):
    assert MAP.join(other) is None


def test_a_join_is_as_large_as_the_larger_of_the_two():
    spaces = [MAP, ROWS, COLUMNS, SHORT, SUMMED, SHORT_SUMMED, Space(()), Space((20,), (0,))]
    for a in spaces:
        for b in spaces:
            if (found := a.join(b)) is not None:
                assert found.extents == a.extents and found.reduced == a.reduced
                assert found.sums >= (a.sums or b.sums)
                assert found.join(b) == found  # which is there already


# ---- the space of an anchor
@pytest.mark.parametrize("anchor, space", [
    (floats(20, 30) + 1.0, MAP),
    (floats() + 1.0, Space(())),
    (floats(1, 20, 1, 30) + 1.0, MAP),
    (sum_(floats(20, 30), dims=(1,)), ROWS),
    (sum_(floats(20, 1, 30), dims=(0, 1)), COLUMNS),
    (sum_(floats(20, 30), dims=(0, 1)), Space((20, 30), (0, 1))),
    (index(floats(9, 30), input_node((20,), dt.int64), axes=(0,)), MAP),
])
def test_a_space_has_the_axes_that_are_more_than_one_long(anchor, space):
    assert space_of(anchor) == space


# ---- where values live
@pytest.mark.parametrize("anchor, at, has", [
    (floats(20, 30) + 1.0, (0, 1), (0, 1)),
    (floats(20) + 1.0, (0,), (0,)),
    (floats(20, 1) + 1.0, (0,), (0,)),
    (floats(30) + 1.0, (1,), (1,)),
    (floats() + 1.0, (), ()),
    (sum_(floats(20, 30), dims=(1,)), (0, 1), (0,)),
    (sum_(floats(20, 30), dims=(0,)), (0, 1), (1,)),
    (sum_(floats(20, 30), dims=(0, 1)), (0, 1), ()),
    (sum_(floats(20), dims=(0,)), (0,), ()),
])
def test_a_reduction_loses_the_axes_it_is_computed_along(anchor, at, has):
    assert computed(anchor, SUMMED) == at
    assert known(anchor, SUMMED) == has


def test_only_whole_rows_and_their_results_are_known_in_time():
    assert [SUMMED.late(axes) for axes in ((0, 1), (0,), (1,), ())] == [False, False, True, True]
    assert not any(ROWS.late(axes) for axes in ((0, 1), (0,), (1,), ()))


@pytest.mark.parametrize("space, short", [
    (SHORT, True), (ROWS, False), (Space((20, 8), (1,)), True), (Space((20, 9), (1,)), False),
    (Space((4, 20), (0,)), True), (Space((2, 2), (0, 1)), False), (Space((4,)), False),
])
def test_rows_of_up_to_eight_numbers_are_short(space, short):
    assert space.short == short


# ---- where they are read
def lowered(*outputs: Node):
    inputs = tuple(n for n in Graph((), outputs).order() if n.op.name == "input")
    return lower(Graph(inputs, outputs), {x: View.of(x.shape) for x in inputs})


@pytest.mark.parametrize("anchor, strides", [
    (floats(20, 30) + 1.0, (30, 1)),
    (floats(20) + 1.0, (1, 0)),
    (floats(20, 1) + 1.0, (1, 0)),
    (sum_(floats(20, 30), dims=(1,)), (1, 0)),
    (sum_(floats(20, 30), dims=(0, 1)), (0, 0)),
])
def test_a_member_is_expected_at_the_point_being_computed(anchor, strides):
    assert expected(anchor, SUMMED) == strides


def test_movement_shows_in_the_strides_with_which_a_leaf_is_seen():
    x, w = floats(20, 30), floats(30)
    turned, wide = permute(floats(30, 20), axes=(1, 0)), expand(w, shape=(20, 30))
    y = x + 1.0
    low = lowered(y)
    assert seen(low, x, y, ROWS) == (x, View((20, 30), (30, 1), 0))
    assert seen(low, wide, y, ROWS) == (w, View((20, 30), (0, 1), 0))
    assert seen(low, turned, y, ROWS)[1] == View((20, 30), (1, 20), 0)
    assert seen(low, flip(x, axes=(1,)), y, ROWS)[1] == View((20, 30), (30, -1), 29)


def test_a_number_for_each_row_stands_still_along_the_row():
    x = floats(20)
    y = x * 2.0
    assert seen(lowered(y), x, y, ROWS) == (x, View((20, 30), (1, 0), 0))


def test_a_lookup_reads_its_indices_at_the_point_and_its_table_anywhere():
    table, places = floats(9, 30), input_node((20,), dt.int64)
    taken = index(table, places, axes=(0,))
    low = lowered(taken)
    assert pointwise(taken) == (places,) and gathered(low, taken) is table
    assert seen(low, places, taken, MAP) == (places, View((20, 30), (1, 0), 0))
    total = table + 1.0
    assert pointwise(total) == total.inputs and gathered(lowered(total), total) is None
