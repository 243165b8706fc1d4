"""Which anchors share a loop nest: every answer of `legal`, and the bytes that `gain` counts, on
graphs that are small enough to be read.
"""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest
from graphs import floats, integers

from tracegrad.codegen.build import build
from tracegrad.codegen.schedule.candidates import NEAR, Candidates
from tracegrad.codegen.schedule.fuse import BETWEEN, MOST_BUFFERS, SHARE, Fusion
from tracegrad.codegen.schedule.groups import Group, Precedence, sort
from tracegrad.codegen.schedule.loop_space import Space
from tracegrad.codegen.schedule.lower import lower
from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph
from tracegrad.ir.interpret import interpret
from tracegrad.ir.node import Node, input_node
from tracegrad.ir.ops import elementwise as el
from tracegrad.ir.ops.contract import dot
from tracegrad.ir.ops.index import index, index_put
from tracegrad.ir.ops.movement import expand, flip, permute, reshape, slice as slice_
from tracegrad.ir.ops.order import argsort
from tracegrad.ir.ops.reduce import sum as sum_
from tracegrad.ir.ops.source import input as input_
from tracegrad.ir.strides import View
from tracegrad.runtime.cpu import python_executor


def alone(*outputs: Node) -> tuple[Fusion, list[Group]]:
    """The groups of the outputs of a graph, each an anchor by itself."""
    inputs = tuple(n for n in Graph((), outputs).order() if n.op is input_)
    low = lower(Graph(inputs, outputs), {x: View.of(x.shape) for x in inputs})
    fusion = Fusion(low)
    return fusion, [fusion.home[y] for y in low.outputs]


def verdict(*outputs: Node) -> Space | str:
    """What `legal` says of the last two outputs, when those before are one group with the first of
    the two.
    """
    fusion, (first, *rest) = alone(*outputs)
    *more, last = rest
    for group in more:
        shared = fusion.legal(first, group)
        assert isinstance(shared, Space)
        fusion.merge(first, group, shared)
    found = fusion.legal(first, last)
    other = fusion.legal(last, first)
    assert isinstance(found, str) == isinstance(other, str)
    return found


def down(x: Node) -> Node:
    """Sums down the columns."""
    return sum_(x, dims=(0,))


def along(x: Node) -> Node:
    """Sums along the rows."""
    return sum_(x, dims=(1,))


def beside(rows: Node, x: Node) -> Node:
    """A number for each row, at each place of it."""
    return expand(reshape(rows, shape=(*rows.shape, 1)), shape=x.shape)


# ---- legal: yes
def test_elementwise_values_of_one_shape_share_a_loop():
    x = floats(20, 30)
    assert verdict(x + 1.0, x * 2.0) == Space((20, 30))


def test_a_chain_shares_the_loop_of_what_it_reads():
    x = floats(20, 30)
    y = x + 1.0
    assert verdict(y, y * 2.0) == Space((20, 30))


def test_axes_of_extent_one_are_not_part_of_the_loop():
    assert verdict(floats(20, 1, 30) + 1.0, floats(1, 20, 30) * 2.0) == Space((20, 30))


@pytest.mark.parametrize("total", [along, down])
def test_a_sum_shares_the_loop_of_what_it_adds_up(total):
    x = floats(20, 30)
    y = x + 1.0
    assert verdict(y, total(y)) == Space((20, 30), (1,) if total is along else (0,))


def test_what_follows_the_sums_of_rows_is_done_row_by_row():
    x = floats(20, 30)
    total = along(x)
    assert verdict(total, x / beside(total, x)) == Space((20, 30), (1,))
    assert verdict(total, total * 2.0) == Space((20, 30), (1,))


def test_the_sum_of_all_rows_is_added_up_row_by_row():
    x = floats(20, 30)
    total = along(x)
    assert verdict(total, down(total)) == Space((20, 30), (1,), sums=True)


def test_short_rows_are_summed_along_and_down_in_one_loop():
    x = floats(20, 4)
    assert verdict(along(x), down(x)) == Space((20, 4), (1,), sums=True)


# ---- legal: no, and why
def test_launches_that_are_no_loops_share_none():
    x = floats(20, 20)
    reason = "one of them is not a loop of ours"
    assert verdict(x + 1.0, argsort(x, axis=1, descending=False)) == reason
    assert verdict(dot(x, floats(20, 20)), x + 1.0) == reason


def test_a_check_does_not_wait_for_a_larger_loop():
    place = el.check_index(integers(20), size=20, dim=0)
    assert "a check comes before anything is written" in verdict(place, floats(20, 30) + 1.0)
    assert verdict(place, integers(20) + 1) == Space((20,))


@pytest.mark.parametrize("shape", [(20, 31), (30, 20), (20,), (600,)])
def test_loops_of_other_extents_are_kept_apart(shape):
    assert verdict(floats(20, 30) + 1.0, floats(*shape) + 1.0).startswith("their spaces differ: ")


def test_rows_and_columns_of_long_rows_are_kept_apart():
    x = floats(200, 300)
    assert verdict(along(x), down(x)).startswith("their spaces differ: ")


def test_rows_that_threads_share_are_not_summed_over():
    x = floats(3000, 2000)
    total = along(x)
    assert "threads share the rows" in verdict(total, down(total))


def test_a_loop_has_no_more_buffers_than_registers_bear():
    def total(count: int) -> Node:
        return sum((floats(5) for _ in range(count - 1)), floats(5))

    half = MOST_BUFFERS // 2 - 1  # each has a result besides
    assert verdict(total(half), total(half)) == Space((5,))
    assert verdict(total(half), total(half + 1)) == "too many buffers for one loop"


@pytest.mark.parametrize("move", [
    lambda y: flip(y, axes=(0,)),
    lambda y: permute(y, axes=(1, 0)),
], ids=["flipped", "transposed"])
def test_a_member_is_read_at_the_point_being_computed(move):
    y = floats(20, 20) + 1.0
    assert verdict(y, move(y) * 2.0) == "mul reads add at other points than its own"


def test_sums_down_the_columns_are_known_after_all_rows():
    x = floats(20, 4)
    total = down(x)
    late = x * expand(total, shape=x.shape)
    assert verdict(along(x), total, late) == "mul needs sum before all rows are done"
    assert verdict(along(x), total, total * 2.0) == Space((20, 4), (1,), sums=True)


def test_an_indexed_value_is_complete_before_it_is_read():
    y = floats(20, 30) + 1.0
    assert "must be complete" in verdict(y, index(y, integers(20), axes=(0,)))


def test_a_group_that_must_run_between_two_keeps_them_apart():
    y = el.exp(floats(20, 30))
    order = argsort(y, axis=1, descending=False)
    assert verdict(y, y + el.cast(order, dtype=dt.float64)) == BETWEEN
    again = argsort(order, axis=0, descending=True)
    assert verdict(y, el.cast(again, dtype=dt.float64) * 2.0) == BETWEEN  # through two of them


# ---- gain
def worth(*outputs: Node) -> int:
    fusion, (*_, a, b) = alone(*outputs)
    assert fusion.gain(a, b) == fusion.gain(b, a)
    return fusion.gain(a, b)


ROW = 8 * 30  # bytes of 30 numbers


def test_what_both_read_is_read_once():
    x, w = floats(30), floats(30)
    assert worth(x + 1.0, x * 2.0) == ROW + SHARE
    assert worth(x + w, x * w) == 2 * ROW + SHARE


def test_what_one_hands_to_the_other_is_neither_written_nor_read():
    y = floats(30) + 1.0
    assert worth(y, y * 2.0) == 2 * ROW + SHARE


def test_what_is_handed_on_does_not_count_as_read_by_both_as_well():
    x = floats(30)
    y = x + 1.0
    assert worth(y, y * x) == 3 * ROW + SHARE


def test_bytes_count_and_not_numbers():
    x = input_node((30,), dt.float32)
    assert worth(x + 1.0, x * 2.0) == ROW // 2 + SHARE


def test_groups_with_nothing_in_common_gain_nothing():
    assert worth(floats(30) + 1.0, floats(30) * 2.0) == 0


def test_single_numbers_share_a_launch_for_its_own_sake():
    assert worth(floats() + 1.0, floats() * 2.0) == SHARE


def test_what_is_looked_up_counts_as_read():
    x, i = floats(30), integers(30)
    assert worth(index(x, i, axes=(0,)), x + 1.0) == ROW + SHARE


# ---- the greedy merging
def merged(*outputs: Node) -> tuple[list[set[str]], list[str]]:
    """The anchors that share a loop, in the order they run, and the notes."""
    fusion, _ = alone(*outputs)
    return [{a.op.name for a in g.anchors} for g in sort(fusion.run())], fusion.notes


def test_the_more_valuable_pair_is_merged_first():
    x, y = floats(30), floats(30)
    _, notes = merged(x + 1.0, x * y, y - x * 3.0)
    first, *_ = (n for n in notes if n.startswith("fused"))
    assert first == f"fused mul with sub: saves {2 * ROW + SHARE} bytes"


def test_rows_are_merged_before_columns():
    x = floats(200, 300)
    y = el.exp(x)
    loops, notes = merged(y, down(y), along(y))
    assert loops == [{"exp", "sum"}, {"sum"}]
    assert any(n.startswith("kept apart") and "their spaces differ" in n for n in notes)
    row = next(g for g in alone(y, along(y))[0].run())
    assert row.template == "row"


def test_every_group_runs_after_those_it_reads():
    x, i = floats(20, 30), integers(20)
    y = x + 1.0
    taken = index(y, i, axes=(0,))
    put = index_put(y, taken * 2.0, i, axes=(0,), accumulate=True)
    fusion, _ = alone(put, down(put), along(taken))
    done: set[Group] = set()
    for group in sort(fusion.run()):
        assert group.after <= done
        done.add(group)
    assert done == set(fusion.groups)


def test_merging_keeps_what_must_run_before():
    x = floats(20, 30)
    order = argsort(x, axis=1, descending=False)
    y = el.cast(order, dtype=dt.float64) + x
    fusion, (sorted_, first, second) = alone(order, y, x * 2.0)
    fusion.merge(first, second, Space((20, 30)))
    assert first.after == {sorted_} and fusion.home[second.anchors[0]] is first
    assert second not in fusion.groups


# ---- the work of lowering
def loop(steps: int) -> Graph:
    """A loop as a trace gives it: a state that is carried on, and a loss of each step; then the
    gradient by the first state, by hand.
    """
    x, w, target = floats(steps, 4, 5), floats(5, 5), floats(4, 5)
    h, states, losses = target, [], []
    for t in range(steps):
        now = reshape(slice_(x, slices=((t, t + 1, 1), (0, 4, 1), (0, 5, 1))), shape=(4, 5))
        h = el.tanh(dot(h, w) + now)
        states.append(h)
        losses.append(sum_((h - target) * (h - target), dims=(0, 1)))
    total, g = losses[0], floats(4, 5)
    for y in losses[1:]:
        total = total + y
    inputs = (x, w, target, g)
    for h in reversed(states):
        g = dot((g + h - target) * (1.0 - h * h), permute(w, axes=(1, 0)))
    return Graph(inputs, (total, g))


def calls_of(graph: Graph) -> int:
    """How many functions are called to build its program."""
    count = 0

    def called(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(called)
    try:
        build(graph)
    finally:
        sys.setprofile(None)
    return count


def test_the_work_grows_as_the_graph_does():
    calls_of(loop(8))  # what is computed once in a process
    few, many = calls_of(loop(50)), calls_of(loop(200))
    assert few < many < few * 4.2


def test_squares_of_squares_are_moved_once():
    x = floats(30)
    y = x
    for _ in range(60):
        y = y * y
    assert len(build(Graph((x,), (flip(y, axes=(0,)) + 1.0,))).launches) == 1


def test_equal_groups_share_a_kernel_and_differ_in_what_they_touch():
    x = floats(9, 4, 5)
    parts = [slice_(x, slices=((t, t + 1, 1), (0, 4, 1), (0, 5, 1))) for t in (0, 3, 7)]
    sums = [sum_(el.exp(p), dims=(0, 1, 2)) for p in parts]
    orders = [argsort(reshape(p, shape=(4, 5)), axis=1, descending=False) for p in parts]
    graph = Graph((x,), (*sums, *orders))
    numbers = np.random.default_rng(0).standard_normal((9, 4, 5))
    for got, wanted in zip(python_executor.execute(build(graph), [numbers]),
                           interpret(graph, numbers), strict=True):
        np.testing.assert_allclose(got, wanted)


# ---- what runs before what
def test_precedence_survives_merging():
    """Of random graphs, in which random legal merges are made: as a walk over them says."""
    rng = random.Random(0)
    for _ in range(30):
        groups = []
        for k in range(14):
            group = Group([], Space(()))
            group.after = set(rng.sample(groups, min(k, rng.randrange(3))))
            groups.append(group)
        precedence = Precedence(groups)
        while len(groups) > 4:
            a, b = rng.sample(groups, 2)
            if precedence.between(a, b) or precedence.between(b, a):
                continue
            if rng.random() < 0.2 and not precedence.precedes(a, b):
                precedence.put_after(a, {b})
                continue
            precedence.merge(a, b)
            groups.remove(b)
            for first in groups:
                for last in groups:
                    assert precedence.precedes(first, last) == (first in needed(last))


def needed(group: Group) -> set[Group]:
    found: set[Group] = set()
    stack = [group]
    while stack:
        found |= (more := stack.pop().after - found)
        stack += more
    return found


# ---- the queue of pairs
def test_of_many_groups_that_touch_one_memory_the_first_are_pairs():
    groups = [Group([], Space(())) for _ in range(NEAR + 2)]
    candidates = Candidates(groups, lambda g: {"memory"}, lambda a, b: 1)

    def taken() -> set[tuple[int, int]]:
        pairs = iter(lambda: candidates.pop(0, lambda g: False), None)
        return {(groups.index(a), groups.index(b)) for _, a, b in pairs}

    assert taken() == {(a, b) for b in range(NEAR) for a in range(b)}
    candidates.merged(groups[0], groups[1])
    candidates.end_round()
    assert taken() == {(0, b) for b in range(2, NEAR + 1)} | {(a, NEAR) for a in range(2, NEAR)}


def test_a_pair_that_was_not_legal_is_looked_at_again_when_one_of_them_grew():
    a, b, c = groups = [Group([], Space(())) for _ in range(3)]
    worth = {(a, b): 2, (a, c): 1, (b, c): 1}
    candidates = Candidates(groups, lambda g: {"memory"}, lambda x, y: worth[x, y])

    def pop() -> tuple[int, Group, Group] | None:
        return candidates.pop(0, lambda g: False)

    assert [pop(), pop(), pop(), pop()] == [(2, a, b), (1, a, c), (1, b, c), None]
    candidates.end_round()
    assert pop() is None
    candidates.last = candidates.last._replace(loss=-3, a=0, b=0)
    candidates.merged(a, b)
    assert [pop(), pop()] == [(1, a, c), None]  # and (b, c) is no pair any more


def test_a_costly_value_of_each_column_is_computed_once_per_column():
    x, s = floats(300, 9), floats(9)
    scale = el.exp(s)
    for value, verdict in ((scale, str), (el.neg(s), Space)):
        fusion, groups = alone(value, sum_(x * value, dims=(0,)))
        assert isinstance(fusion.legal(*groups), verdict)
