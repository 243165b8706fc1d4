"""Where values are stored: which results are written straight into an input's memory, which are
copied there at the end, and which buffers share memory.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from graphs import floats, integers

from tracegrad.codegen.build import build
from tracegrad.codegen.schedule.plan import ALIGN, arena, lifetimes
from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph
from tracegrad.ir.node import Node
from tracegrad.ir.ops import elementwise as el
from tracegrad.ir.ops.contract import dot
from tracegrad.ir.ops.index import index
from tracegrad.ir.ops.movement import expand, flip, permute, reshape
from tracegrad.ir.ops.order import argsort
from tracegrad.ir.ops.reduce import sum as sum_
from tracegrad.ir.ops.source import input as input_
from tracegrad.ir.strides import View


def copies(*outputs: Node, into: Node, **how) -> int:
    """How many copies a program makes at its end, when its first output is written to `into`."""
    inputs = tuple(n for n in Graph((), (*outputs, into)).order() if n.op is input_)
    program = build(Graph(inputs, outputs), {0: into}, **how)
    assert program.outputs[0] == program.inputs[inputs.index(into)]
    return len(program.launches) - program.commit


W, X = floats(20, 30), floats(20, 30)
V, U = floats(20), floats(30)  # a number for each row of X, for each column
PLACES = integers(20)


# ---- written in place
@pytest.mark.parametrize("result", [
    W - X * 0.1,
    X + 1.0,  # W is not read at all
    W - expand(U, shape=(20, 30)),
    X + expand(index(W, integers(1), axes=(0,)), shape=(20, 30)),  # of a row copied before
    W - dot(floats(20, 7), floats(7, 30)),  # as the product leaves the registers
], ids=range(5))
def test_a_result_read_only_where_it_is_written_needs_no_copy(result):
    assert copies(result, into=W) == 0


def test_a_number_for_each_row_is_written_by_the_loop_that_sums_the_rows():
    assert copies(V * 0.9 + sum_(X, dims=(1,)), into=V) == 0


def test_sums_down_the_columns_are_added_up_where_they_belong():
    assert copies(sum_(X, dims=(0,)), into=U) == 0


def test_loops_that_read_the_old_value_run_first():
    y = W + X
    assert copies(y, dot(floats(20, 20), W), W * y, into=W) == 0


def test_a_result_lies_as_its_input_does():
    turned = {W: View((20, 30), (1, 20))}
    assert copies(W - X * 0.1, into=W, layouts=turned) == 0


# ---- copied at the end
@pytest.mark.parametrize("result", [
    flip(W, axes=(0,)),
    flip(W, axes=(1,)) + W,
    index(W, PLACES, axes=(0,)),
], ids=["flipped", "read twice", "looked up"])
def test_a_result_that_reads_its_input_elsewhere_is_copied(result):
    assert copies(result, into=W) == 1


def test_a_square_is_not_transposed_in_place():
    square = floats(20, 20)
    assert copies(permute(square, axes=(1, 0)) * 2.0, into=square) == 1


def test_what_a_later_pass_of_the_loop_may_read_is_copied():
    rows = expand(reshape(sum_(W, dims=(1,)), shape=(20, 1)), shape=(20, 30))
    assert copies(W / rows, into=W) == 1
    columns = expand(sum_(X, dims=(0,)), shape=(20, 30))
    assert copies(W - columns, into=W) == 1


def test_a_sum_is_not_added_up_in_memory_that_its_loop_reads():
    by_column = expand(U, shape=(20, 30))
    assert copies(sum_(X * by_column, dims=(0,)), into=U) == 1


def test_an_input_that_a_later_loop_reads_keeps_its_value():
    y = W + X
    order = argsort(y, axis=1, descending=False)
    assert copies(y, order, W * el.cast(order, dtype=dt.float64), into=W) == 1


def looked_up(places: Node) -> Node:
    return index(X, el.check_index(places, size=20, dim=0), axes=(0,))


def test_a_check_that_needs_the_result_comes_before_its_write():
    counts = integers(20)
    grown = counts + 1
    later = looked_up(argsort(grown, axis=0, descending=False) - 1)
    assert copies(grown, later, into=counts) == 1
    assert copies(grown, looked_up(PLACES - 1), into=counts) == 0


def test_checks_are_launched_before_anything_is_written():
    counts = integers(20)
    grown = counts + 1
    program = build(Graph((counts, X, PLACES), (grown, looked_up(PLACES))), {0: counts})
    assert 0 < program.checked <= program.writing < len(program.launches) == program.commit


def test_a_product_does_not_write_to_what_it_reads():
    square = floats(20, 20)
    assert copies(dot(square, floats(20, 20)), into=square) == 1


def test_what_is_sorted_is_copied():
    assert copies(argsort(X, axis=1, descending=False), into=integers(20, 30)) == 1


def test_a_result_read_again_does_not_lie_as_its_input_does():
    y, turned = W - X * 0.1, {W: View((20, 30), (1, 20))}
    assert copies(y, argsort(y, axis=1, descending=False), into=W, layouts=turned) == 1


@pytest.mark.parametrize("result", [W - X, X, flip(W, axes=(0,))], ids=range(3))
def test_a_program_that_may_be_refused_writes_at_its_end(result):
    assert copies(result, into=W, guarded=True) == 1


def test_two_outputs_are_never_one_buffer():
    y = W + X
    assert copies(y, y, into=W) == 0
    program = build(Graph((W, X), (y, y, y)), {0: W})
    assert len(set(program.outputs)) == 3


# ---- when a buffer is dead
def loops(*anchors: Node) -> list:
    return [SimpleNamespace(anchors=[a]) for a in anchors]


def test_a_value_lives_from_the_loop_that_makes_it_to_the_last_that_reads_it():
    a, b, c = floats(1), floats(2), floats(3)
    reads = {a: set(), b: {a}, c: {a, floats(4)}}
    assert lifetimes(loops(a, b, c), reads) == {a: (0, 2), b: (1, 1), c: (2, 2)}


def test_a_value_that_nothing_reads_lives_while_it_is_made():
    a, b = floats(1), floats(2)
    assert lifetimes(loops(a, b), {a: set(), b: set()}) == {a: (0, 0), b: (1, 1)}


# ---- what shares memory
A, B, C = floats(1), floats(2), floats(3)


@pytest.mark.parametrize("spans, offsets, total", [
    ([(0, 1), (2, 3), (4, 5)], (0, 0, 0), 128),  # one after the other
    ([(0, 1), (1, 2), (2, 3)], (0, 128, 0), 256),  # each reads the one before
    ([(0, 9), (1, 2), (3, 4)], (0, 128, 128), 256),
    ([(0, 2), (0, 2), (0, 2)], (0, 128, 256), 384),
])
def test_buffers_share_memory_unless_they_live_at_one_time(spans, offsets, total):
    nodes = (A, B, C)
    found = arena(dict.fromkeys(nodes, 100), dict(zip(nodes, spans, strict=True)))
    assert found == (dict(zip(nodes, offsets, strict=True)), total)


def test_the_largest_lies_lowest_and_others_fit_between():
    found, total = arena({A: 64, B: 640, C: 64}, {A: (0, 1), B: (1, 2), C: (2, 3)})
    assert found == {B: 0, A: 640, C: 640} and total == 704


@pytest.mark.parametrize("size, taken", [(0, ALIGN), (1, ALIGN), (64, ALIGN), (65, 2 * ALIGN)])
def test_a_buffer_takes_whole_lines_of_the_cache(size, taken):
    assert arena({A: size}, {A: (0, 0)}) == ({A: 0}, taken)


def test_a_program_without_intermediate_values_needs_no_memory():
    assert arena({}, {}) == ({}, 0)
    assert build(Graph((X,), (X * 2.0 + 1.0,))).arena_bytes == 0


def test_a_chain_of_launches_goes_to_and_fro_between_two_buffers():
    order = X
    for _ in range(7):
        order = argsort(order, axis=1, descending=False)
    program = build(Graph((X,), (order,)))
    held = [b for b in program.buffers if b.kind == "arena" and b.shape == X.shape]
    assert len(held) == 6 and len({b.offset for b in held}) == 2
    assert {b.offset for b in held[::2]}.isdisjoint(b.offset for b in held[1::2])
    assert held[0].offset % ALIGN == 0 == held[1].offset % ALIGN
    assert abs(held[0].offset - held[1].offset) >= np.prod(X.shape) * 8
