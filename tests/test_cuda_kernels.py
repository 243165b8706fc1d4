"""Kernels for GPUs are the interpreter: primitives, types, random programs."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from functools import partial
from unittest.mock import patch

import cuda_examples
import cuda_needs
import numpy as np
import pytest
import registry
import test_codegen as examples
import test_codegen_dtypes as dtypes
import test_codegen_loops as loops
import test_codegen_random as at_random
from cuda_kernels import build, execute, run_launch, shrunk, small_tiles
from hypothesis import given, settings, strategies as st
from test_codegen_random import PROGRAMS, QUIET, SHORT, compare

from tracegrad.codegen.cuda import (
    grid,
    held,
    order,
    prefix as cuda_prefix,
    product,
    stages,
    teams,
    wide,
)
from tracegrad.codegen.cuda.extern import LAUNCHES
from tracegrad.codegen.schedule.loop_space import Space
from tracegrad.codegen.templates.extern import PIECES
from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph
from tracegrad.ir.interpret import interpret
from tracegrad.ir.node import input_node
from tracegrad.ir.op import Kind
from tracegrad.ir.ops import elementwise as el, order as orders, prefix, reduce as red
from tracegrad.ir.ops.contract import dot
from tracegrad.ir.ops.movement import expand, permute, reshape
from tracegrad.ir.simplify import simplify
from tracegrad.ir.value import REGISTRY
from tracegrad.ir.verify import verify


class Plain:
    execute = staticmethod(execute)


@pytest.fixture(autouse=True)
def for_gpus(monkeypatch):
    """The tests of the CPU's kernels build programs for GPUs, and run these."""
    for module in (examples, dtypes, at_random, loops):
        monkeypatch.setattr(module, "build", build)
        monkeypatch.setattr(module, "python_executor", Plain)
    monkeypatch.setitem(dtypes.RUNGS, "GPU", execute)
    monkeypatch.setitem(dtypes.ULPS, "GPU", 4)
    monkeypatch.setattr(loops, "run", lambda program, given: execute(program, list(given)))
    with small_tiles():
        yield


def cut_in_three(steps, blocks) -> int:
    return 3


@settings(max_examples=40, deadline=None, suppress_health_check=QUIET, report_multiple_bugs=False)
@given(*PROGRAMS, st.lists(st.integers(0, 4), min_size=1, max_size=4), st.booleans(),
       st.sampled_from(["thread", "warp", "block"]), st.booleans())
def test_random_programs_are_the_interpreter(
    drawn, seed, special, simple, ways, guarded, team, cut
):
    with ExitStack() as limits:
        if team != "thread":  # rows as short as these have a thread each, else
            limits.enter_context(patch.object(Space, "short", False))
            limits.enter_context(patch.object(order, "RUN", 2))  # so long rows are merged
        if team == "block":
            limits.enter_context(patch.object(teams, "LONG_ROW", 1))
        ours = (stages, "worth", cut_in_three), (wide, "LEAST", 1)
        for module, name, value in (*SHORT, *ours) if cut else ():
            limits.enter_context(patch.object(module, name, value))
        compare(execute, drawn, seed, special, simple, ways, (0, 1, 2), guarded)


def agrees(graph, inputs) -> None:
    want = interpret(verify(graph), *inputs)
    got = execute(build(simplify(graph)), [a.copy() for a in inputs])
    for y, g, w in zip(graph.outputs, got, want, strict=True):
        near = 1e-2 if y.dtype.is_half else 1e-5 if y.dtype.bits == 32 else 1e-9
        x, z = (np.asarray(y.dtype.decode(v), np.float64) for v in (g, w))
        np.testing.assert_allclose(x, z, near, near * 1e-2)


@pytest.mark.parametrize("kind", cuda_examples.KINDS)
def test_some_primitives_are_the_interpreter(kind):
    thinned = list(cuda_examples.KINDS[kind]())
    for _, graph, inputs in thinned[:: 1 + len(thinned) // 10]:
        agrees(graph, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("kind", cuda_examples.KINDS)
def test_every_primitive_is_the_interpreter(kind):
    for _, graph, inputs in cuda_examples.KINDS[kind]():
        agrees(graph, inputs)


def test_the_examples_have_every_primitive():
    graphs = [graph for kind in cuda_examples.KINDS.values() for _, graph, _ in kind()]
    used = {n.op for g in graphs for n in (*g.order(), *simplify(g).order())}
    assert used >= {op for op in REGISTRY.values() if op.kind is not Kind.SOURCE}


def test_more_points_than_a_grid_has_threads_are_taken_in_turns():
    for graph in cuda_examples.of_sizes():
        for launch in build(simplify(graph)).launches:
            assert 0 < launch.grid.blocks <= grid.MOST_BLOCKS


def test_what_has_launches_of_its_own_has_them_on_gpus():
    assert LAUNCHES.keys() == PIECES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("way", registry.LAYOUTS)
def test_operands_may_lie_in_memory_as_they_please(way):
    for name, f, shapes, domain, number in registry.ALL[:: 3]:
        given = [registry.laid(a, way) for a in registry.draw(shapes, domain, number)]
        inputs = tuple(input_node(s, dt.float64) for s in shapes)
        graph = Graph(inputs, (f(*inputs),))
        (got,) = execute(build(simplify(graph), {}, at_random.layouts(graph, given)), given)
        np.testing.assert_allclose(got, interpret(graph, *given)[0], 1e-9, 1e-12, err_msg=name)


def normal(x):
    """Rows of a cube, along its last two axes: softmax, then mean and variance of it."""

    def back(y):
        return expand(reshape(y, shape=(x.shape[0], 1, 1)), shape=x.shape)

    powers = el.exp(x - back(red.max(x, dims=(1, 2))))
    y = powers / back(red.sum(powers, dims=(1, 2)))
    apart = y - back(red.sum(y, dims=(1, 2)) / (x.size // x.shape[0]))
    return y, apart / back(el.sqrt(red.sum(apart * apart, dims=(1, 2))))


@pytest.mark.parametrize("shape, d, warp", [
    ((3, 5, 26), dt.float32, 32), ((2, 4, 61), dt.float16, 1), ((1, 1, 31), dt.float64, 32),
], ids=str)
def test_points_of_a_row_stay_in_registers(shape, d, warp, monkeypatch):
    monkeypatch.setattr(held, "WARP", warp)
    x, z = input_node(shape, d), input_node((shape[2], shape[0], shape[1]), d)
    graph = Graph((x, z), (*normal(x), *normal(permute(z, axes=(1, 2, 0)))))
    agrees(graph, [d.encode(cuda_examples._numbers(*v.shape).astype(d.compute)) for v in (x, z)])
    texts = [k.text for k in build(simplify(graph)).kernels if k.template == "row"]
    assert any("in0 = " in text for text in texts)


@pytest.mark.parametrize("d, turned", [
    *((dt.float32, turned) for turned in range(4)), (dt.float64, 1), (dt.bfloat16, 2),
], ids=str)
@pytest.mark.parametrize("batch, m, k, n", [((), 5, 19, 8), ((3,), 8, 12, 4)], ids=str)
def test_products_of_matrices_that_lie_either_way(batch, m, k, n, turned, d, monkeypatch):
    """With and without vectors, whole and in parts."""
    monkeypatch.setattr(product, "LONG", 19)
    monkeypatch.setattr(product, "SHORTEST", 6)
    shapes, swap = [(m, k), (k, n)], (*range(len(batch)), len(batch) + 1, len(batch))
    ways = [bool(turned & 1), bool(turned & 2)]
    shapes = [(*batch, *(s[::-1] if way else s)) for s, way in zip(shapes, ways, strict=True)]
    inputs = tuple(input_node(s, d) for s in shapes)
    a, b = (permute(x, axes=swap) if way else x for x, way in zip(inputs, ways, strict=True))
    y = dot(a, b)
    graph = Graph(inputs, (el.tanh(y + 1.0), el.exp(y)) if batch else (el.tanh(y + 1.0),))
    rng = np.random.default_rng(0)
    agrees(graph, [d.encode(rng.integers(-2, 3, s).astype(d.compute)) for s in shapes])
    templates = Counter(x.kernel.template for x in build(simplify(graph)).launches)
    assert templates["gemm_parts"] == (k == 19)
    assert d.is_half or templates["map"] == bool(batch)


@pytest.mark.parametrize("op, d, back", [
    (prefix.cumsum, dt.float32, False), (prefix.cumprod, dt.float64, True),
    (prefix.cummax, dt.float16, True), (prefix.cummin, dt.int8, False),
    (prefix.cumsum, dt.int64, True),
], ids=str)
def test_long_scans_go_tile_by_tile_and_part_by_part(op, d, back, monkeypatch):
    a = np.random.default_rng(0).integers(-2, 3, (2, 300)).astype(d.compute)
    if d.kind == "float":
        a[1, 120:122] = np.inf, np.nan
    monkeypatch.setattr(cuda_prefix, "PART", 150)
    x = input_node(a.shape, d)
    graph = Graph((x,), (op(x, axis=1, reverse=back),))
    templates = {launch.kernel.template for launch in build(simplify(graph)).launches}
    assert templates >= {"prefix_totals", "prefix"}
    agrees(graph, [d.encode(a)])


@pytest.mark.parametrize("shape, axis, count", [((301,), 0, 3), ((2, 70), 1, 5), ((90, 3), 0, 8)])
@pytest.mark.parametrize("down", [False, True])
def test_the_first_few_of_a_long_row_are_selected(shape, axis, count, down, monkeypatch):
    monkeypatch.setattr(order, "RUN", 16)
    a = np.random.default_rng(0).integers(-4, 4, shape).astype(np.float32)
    a.reshape(-1)[7::31] = np.nan
    x = input_node(shape, dt.float32)
    graph = Graph((x,), (orders.top(x, axis=axis, descending=down, count=count),))
    program = build(simplify(graph))
    assert len(program.launches) > 2 and {x.kernel.template for x in program.launches} == {"top"}
    agrees(graph, [a])


@pytest.mark.parametrize("test", [
    pytest.param(loops.test_loops_of_random_bodies, marks=pytest.mark.slow),
    *(partial(loops.test_a_product_turns_two_buffers, n, False) for n in (1, 4)),
    *(partial(loops.test_loops_within_loops, 4, n) for n in (0, 3)),
    *(partial(loops.test_a_loop_runs_while_its_condition_holds, n) for n in (None, 0, 3)),
    *(partial(loops.test_a_branch_computes_what_its_condition_chooses, b) for b in (True, False)),
    *(partial(loops.test_carries_of_every_dtype, d) for d in dt.ALL),
    loops.test_carries_that_change_places,
    loops.test_a_check_in_a_body_ends_the_program,
    loops.test_nothing_is_written_before_a_check_in_a_loop,
])
def test_loops(test):
    test()


@pytest.mark.parametrize("test", [
    examples.test_outputs_may_be_inputs_constants_and_one_another,
    examples.test_a_matrix_may_become_its_own_transpose,
    examples.test_an_input_that_is_written_is_read_first_by_all_others,
    examples.test_a_guarded_program_writes_to_inputs_after_commit_only,
    examples.test_positions_may_count_from_the_end,
    examples.test_a_reshape_that_strides_cannot_say_is_copied,
], ids=lambda test: test.__name__)
def test_what_holds_on_a_cpu(test):
    test()


@pytest.mark.parametrize("position", [4, -5, 2**40])
def test_a_bad_index_is_told_and_nothing_is_written(position):
    """All launches of a graph run; those that write to memory of the user look for themselves."""
    program, a, where = examples.bad_index(position)
    waiting = list(program.launches)

    def start_all(launch, pointers):
        while waiting:
            run_launch(shrunk(waiting.pop(0)), pointers)

    with pytest.raises(IndexError, match=rf"{position}\b"):
        execute(program, [a, where], start_all)
    assert not waiting
    np.testing.assert_array_equal(a, examples.numbers(4, 2))


@pytest.mark.parametrize("name", ["MLP 20-32-3", "layer norm 4096x1024"])
def test_a_step_has_the_launches_of_the_cpus_schedule(name):
    """And second stages of sums. The CPU has copies besides, for its products."""
    for here, there in cuda_needs.programs_of(name):
        mine, others = (Counter(one.kernel.template for one in p.launches) for p in (there, here))
        second = {t: n for t, n in mine.items() if t.endswith("_sums")}
        assert mine.total() - sum(second.values()) <= others.total()
        assert all(mine[t] == n for t, n in others.items() if t in ("row", "column", "gemm"))
