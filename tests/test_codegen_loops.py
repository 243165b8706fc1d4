"""Loops as programs: launches that are walked again and again give what the interpreter gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graphs import BATCHED, FAMILY, floats, grown, integers, steps, tamed
from hypothesis import given, settings, strategies as st

from tracegrad.codegen.build import build
from tracegrad.codegen.program import Moving, Program
from tracegrad.codegen.program_file import Unreadable, decode, encode
from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph, siblings_key
from tracegrad.ir.interpret import interpret
from tracegrad.ir.node import Node, constant, input_node
from tracegrad.ir.ops import elementwise as el
from tracegrad.ir.ops.contract import dot
from tracegrad.ir.ops.index import index
from tracegrad.ir.ops.loop import branch, loop, loop_while
from tracegrad.ir.ops.movement import expand, flip, permute, reshape, slice as cut
from tracegrad.ir.ops.reduce import sum as sum_
from tracegrad.ir.simplify import simplify
from tracegrad.ir.verify import verify
from tracegrad.runtime.cpu import python_executor
from tracegrad.runtime.cpu.executable import Executable, address


def run(program: Program, inputs) -> list[np.ndarray]:
    """The outputs of a program, natively, from memory that they do not write to."""
    executable, inputs = Executable(program), [np.array(x) for x in inputs]
    outputs = [np.full(program.buffers[slot].shape, 77, program.buffers[slot].dtype.storage)
               for slot in program.outputs]
    for slots, values in ((program.inputs, inputs), (program.outputs, outputs)):
        for slot, value in zip(slots, values, strict=True):
            executable.table[slot] = address(value)
    executable.run()
    return outputs


def kept(program: Program) -> Program:
    """The program, which comes back from the disk as it was, but for lines and machine code."""
    back = decode(encode(program, []), [])
    assert str(back) == str(program)
    return program


def shared(program: Program) -> Program:
    """The program with launches that threads share as soon as they can."""
    launches = tuple(replace(one, grain=min(one.grain, 1)) for one in program.launches)
    return replace(program, launches=launches)


def agrees(graph: Graph, inputs, native=True, **tolerance) -> Program:
    """The program of a graph, after its results were compared with the interpreter's."""
    program = kept(build(simplify(verify(graph))))
    expected = interpret(graph, *inputs)
    ways = [python_executor.execute(program, [np.array(x) for x in inputs])]
    if native:
        ways += [run(program, inputs), run(shared(program), inputs)]
    for results in ways:
        for y, result, wanted in zip(graph.outputs, results, expected, strict=True):
            result, wanted = y.dtype.decode(result), y.dtype.decode(wanted)
            np.testing.assert_allclose(result, wanted, **tolerance or {"rtol": 1e-12})
    return program


def results_of(body: Graph, operands, carried, sliced, length, reverse=False) -> list[Node]:
    how = {"body": body, "carried": carried, "sliced": sliced, "length": length,
           "reverse": reverse}
    return [loop(*operands, **how, result=k) for k in range(len(body.outputs))]


def outer(body: Graph, carried: int, sliced: int, length: int) -> list[Node]:
    """Inputs for a loop of that body."""
    shapes = [(x.shape, x.dtype) for x in body.inputs]
    for k in range(carried, carried + sliced):
        shapes[k] = (length, *shapes[k][0]), shapes[k][1]
    return [input_node(*shape) for shape in shapes]


def whole(x: Node) -> Node:
    """x as whole numbers in a small range: exact in whatever order they are added up."""
    return el.floor(tamed(x))


# ---- random bodies
def looped(a: Node, b: Node, k: int) -> Node:
    """A loop whose carry is like a, over rows of b, within whatever reads it."""
    if not b.ndim:
        return a
    c, x, d = floats(*a.shape), floats(*b.shape[1:]), floats(*a.shape)
    total = sum_(x, dims=tuple(range(x.ndim)))
    new = whole((c + total, el.maximum(c - total, d), c * total, c, d)[k % 5])
    body = Graph((c, x, d), (new, c - d, x * 2.0, total))
    return results_of(body, (a, b, a * 2.0), 1, 1, b.shape[0], k % 2 == 0)[k // 2 % 4]


def repeated(a: Node, b: Node, k: int) -> Node:
    """A loop that ends when a counter or what it adds up says so."""
    n, c, x = integers(), floats(*a.shape), floats(*b.shape)
    total = sum_(x, dims=tuple(range(x.ndim)))
    new = whole((c + total, el.maximum(c - total, 1.0), c * total, x if x.shape == c.shape else c)[
        k % 4])
    body = Graph((n, c, x), (n + 1, new, new, total))
    m, d, y = integers(), floats(*a.shape), floats(*b.shape)
    goes_on = el.lt(m, constant(k % 5, dt.int64))
    if k % 3 == 0:
        goes_on = el.logical_and(goes_on, el.lt(sum_(d, dims=tuple(range(d.ndim))), 9.0))
    cond = Graph((m, d, y), (goes_on,))
    how = {"cond": cond, "body": body, "carried": 2, "capacity": 3}
    operands = constant(0, dt.int64), a, b
    return loop_while(*operands, **how, result=1 + k // 2 % 3)


def chosen(a: Node, b: Node, k: int) -> Node:
    """One of two, by a value."""
    pred = el.lt(sum_(a, dims=tuple(range(a.ndim))), float(k % 5 - 2))
    (x, y), (u, v) = ((floats(*a.shape), floats(*b.shape)) for _ in range(2))
    then = Graph((x, y), (x + sum_(y, dims=tuple(range(y.ndim))), y))
    other = Graph((u, v), (u, v * 2.0))
    return branch(pred, a, b, then=then, other=other, result=k % 2)


LOOPED = [*FAMILY, *(looped, repeated, chosen) * 3]


def random_loop(drawn, data) -> Graph:
    """A graph of a loop with a random body over some of the shapes."""
    inner, pool = grown(drawn, LOOPED, BATCHED)
    count = len(BATCHED)
    carried, sliced = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))
    length, reverse = data.draw(st.sampled_from((0, 1, 2, 5))), data.draw(st.booleans())
    inputs = tuple(inner.inputs[k] for k in data.draw(st.permutations(range(count))))
    news = []
    for x in inputs[:carried]:
        like = [whole(y) for y in pool[count:] if y.shape == x.shape]
        like += [y for y in inputs[:carried] if y.shape == x.shape]
        news.append(data.draw(st.sampled_from(like)))
    made = data.draw(st.lists(st.sampled_from(pool[::-1]), min_size=1, max_size=3))
    body = Graph(inputs, (*news, *made))
    operands = outer(body, carried, sliced, length)
    moved = []
    for x in operands:  # in memory in several ways, or computed
        match data.draw(st.integers(0, 3)):
            case 0:
                moved.append(x + 1.0)
            case 1 if x.ndim:
                moved.append(flip(x, axes=(x.ndim - 1,)))
            case 2 if x.ndim:
                moved.append(flip(x, axes=(0,)))
            case _:
                moved.append(x)
    results = results_of(body, moved, carried, sliced, length, reverse)
    some = data.draw(st.lists(st.sampled_from(results), min_size=1, max_size=4))
    return Graph(tuple(operands), (*some, some[0] * 2.0))


def random_values(graph: Graph, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(-3, 4, x.shape).astype("f8") for x in graph.inputs]


@settings(max_examples=150, deadline=None)
@given(steps(LOOPED, 8), st.data(), st.integers(0, 1000))
def test_loops_of_random_bodies(drawn, data, seed):
    graph = random_loop(drawn, data)
    agrees(graph, random_values(graph, seed), native=False)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(steps(LOOPED, 8), st.data(), st.integers(0, 1000))
def test_machine_code_of_loops_of_random_bodies(drawn, data, seed):
    graph = random_loop(drawn, data)
    agrees(graph, random_values(graph, seed))


# ---- carries
def numbers(*nodes: Node, seed=0):
    return [np.random.default_rng(seed).normal(size=x.shape).astype(x.dtype.storage)
            if x.dtype.kind == "float" else np.arange(x.size).reshape(x.shape).astype(
                x.dtype.storage) for x in nodes]


@pytest.mark.parametrize("length", [0, 1, 2, 5])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_product_turns_two_buffers(length, reverse):
    h, x, w = floats(4, 3), floats(4, 3), floats(3, 3)
    new = el.tanh(dot(h, w) + x)
    body = Graph((h, x, w), (new, new * 2.0))
    operands = outer(body, 1, 1, length)
    results = results_of(body, operands, 1, 1, length, reverse)
    for outputs in (results, results[:1], results[1:]):
        agrees(Graph(tuple(operands), tuple(outputs)), numbers(*operands))


def test_carries_that_change_places():
    a, b, c = floats(3), floats(3), floats(3)
    body = Graph((a, b, c), (b, c, a + b * 0.5, a))
    for length in (1, 2, 3, 4, 7):
        operands = outer(body, 3, 0, length)
        results = results_of(body, operands, 3, 0, length)
        agrees(Graph(tuple(operands), tuple(results)), numbers(*operands))
        agrees(Graph(tuple(operands), (results[1],)), numbers(*operands))


def test_a_value_may_be_two_carries_and_two_rows():
    a, b, x = floats(3), floats(3), floats(3)
    new = a * 0.5 + b * x
    body = Graph((a, b, x), (new, new, new, new, a))
    operands = outer(body, 2, 1, 4)
    results = results_of(body, operands, 2, 1, 4)
    agrees(Graph(tuple(operands), tuple(results)), numbers(*operands))
    agrees(Graph(tuple(operands), (results[0], results[1])), numbers(*operands))


def test_a_carry_that_is_never_changed_is_a_constant():
    a, b, x = floats(3), floats(3), floats(3)
    body = Graph((a, b, x), (a, b + a * x))
    operands = outer(body, 2, 1, 4)
    results = results_of(body, operands, 2, 1, 4)
    agrees(Graph(tuple(operands), tuple(results)), numbers(*operands))


def test_the_first_carry_may_be_a_number():
    a, x = floats(3), floats(3)
    body = Graph((a, x), (a + x,))
    xs = floats(5, 3)
    zeros = constant(0.0, dt.float64, (3,))
    (total,) = results_of(body, [zeros, xs], 1, 1, 5)
    agrees(Graph((xs,), (total,)), numbers(xs))


def test_results_that_nothing_reads():
    a, b, x = floats(), floats(300), floats()
    body = Graph((a, b, x), (a * x, b * 2.0 + a, b * 3.0, a))
    operands = outer(body, 2, 1, 4)
    results = results_of(body, operands, 2, 1, 4)
    graph, values = Graph(tuple(operands), (results[0],)), numbers(*operands)
    assert agrees(graph, values).arena_bytes < 300 * 8
    (last,) = run(build(graph), values)
    np.testing.assert_allclose(last, interpret(graph, *values)[0])


def test_operands_are_read_where_they_lie():
    h, x, w = floats(2, 3), floats(2, 3), floats(3, 3)
    body = Graph((h, x, w), (el.tanh(dot(h, w) + x),))
    h0, xs, w0 = floats(3, 2), floats(3, 4, 2), floats(3, 3)
    operands = [permute(h0, axes=(1, 0)), permute(xs, axes=(1, 2, 0)), flip(w0, axes=(0, 1))]
    results = results_of(body, operands, 1, 1, 4)
    agrees(Graph((h0, xs, w0), tuple(results)), numbers(h0, xs, w0))


def test_slices_may_be_of_one_row():
    h, x = floats(2), floats(2)
    body = Graph((h, x), (h * 0.5 + x,))
    h0, row = floats(2), floats(2)
    xs = expand(reshape(row, shape=(1, 2)), shape=(6, 2))
    results = results_of(body, [h0, xs], 1, 1, 6)
    agrees(Graph((h0, row), tuple(results)), numbers(h0, row))


def test_constants_of_the_body_are_part_of_it():
    h, lr = floats(3), floats()
    body = Graph((h, lr), (h - h * lr,))
    h0 = floats(3)
    results = results_of(body, [h0, constant(0.125, dt.float64)], 1, 0, 6)
    agrees(Graph((h0,), tuple(results)), numbers(h0))


# ---- loops in loops
def nested(length: int, inner_length: int) -> tuple[Graph, list[Node]]:
    a, x = floats(3), floats(3)
    inner = Graph((a, x), (a * 0.5 + x, a + x))
    h, rows, w = floats(3), floats(inner_length, 3), floats(3)
    last, ys = results_of(inner, [h * w, rows], 1, 1, inner_length, reverse=True)
    outer_body = Graph((h, rows, w), (last + sum_(ys, dims=(0,)), ys))
    operands = outer(outer_body, 1, 1, length)
    results = results_of(outer_body, operands, 1, 1, length)
    return Graph(tuple(operands), tuple(results)), operands


@pytest.mark.parametrize("length", [0, 1, 4])
@pytest.mark.parametrize("inner", [0, 1, 3])
def test_loops_within_loops(length, inner):
    graph, operands = nested(length, inner)
    agrees(graph, numbers(*operands))


# ---- conditions
@pytest.mark.parametrize("capacity", [None, 0, 3, 10])
def test_a_loop_runs_while_its_condition_holds(capacity):
    n, h, w = integers(), floats(2, 3), floats(3, 3)
    rows = [] if capacity is None else [h * 2.0]
    body = Graph((n, h, w), (n - 1, el.tanh(dot(h, w)), *rows))
    m, g, v = integers(), floats(2, 3), floats(3, 3)
    cond = Graph((m, g, v), (el.gt(m, constant(0, dt.int64)),))
    operands = integers(), floats(2, 3), floats(3, 3)
    how = {"cond": cond, "body": body, "carried": 2, "capacity": capacity}
    results = [loop_while(*operands, **how, result=k) for k in range(len(body.outputs))]
    for count in (0, 1, 2, 5):
        values = numbers(*operands)
        values[0] = np.array(count)
        agrees(Graph(operands, tuple(results)), values)
        agrees(Graph(operands, (results[1],)), values)


@pytest.mark.parametrize("way", [True, False])
def test_a_branch_computes_what_its_condition_chooses(way):
    (x, i), (y, j) = ((floats(2, 3), integers()) for _ in range(2))
    taken = index(reshape(x, shape=(6,)), el.check_index(i, size=6, dim=0), axes=(0,))
    then = Graph((x, i), (x * taken, x))
    other = Graph((y, j), (y, y - 1.0))
    mask, z, k = input_node((4,), dt.bool_), floats(2, 3), integers()
    pred = reshape(cut(mask, slices=((2, 3, 1),)), shape=())
    results = [branch(pred, z, k, then=then, other=other, result=r) for r in range(2)]
    graph = Graph((mask, z, k), tuple(results))
    agrees(graph, [np.array([not way, not way, way, not way]), numbers(z)[0], np.array(5)])
    wrong = [np.array([way] * 4), numbers(z)[0], np.array(6)]
    if way:
        with pytest.raises(IndexError, match="index 6"):
            run(build(graph), wrong)
    else:
        agrees(graph, wrong)


# ---- dtypes
@pytest.mark.parametrize("dtype", dt.ALL, ids=str)
def test_carries_of_every_dtype(dtype):
    a, x = input_node((3,), dtype), input_node((3,), dtype)
    new = el.bitwise_xor(a, x) if dtype.kind == "bool" else a + x
    body = Graph((a, x), (new, a))
    operands = outer(body, 1, 1, 5)
    results = results_of(body, operands, 1, 1, 5)
    rng = np.random.default_rng(0)
    values = [dtype.encode(rng.integers(0, 2, x.shape)) for x in operands]
    agrees(Graph(tuple(operands), tuple(results)), values)


# ---- checks
def looked_up(length: int):
    h, i, table = floats(2), integers(2), floats(7, 2)
    row = index(table, el.check_index(i, size=7, dim=0), axes=(0,))
    body = Graph((h, i, table), (h + sum_(row, dims=(0,)),))
    operands = outer(body, 1, 1, length)
    return Graph(tuple(operands), tuple(results_of(body, operands, 1, 1, length))), operands


def test_a_check_in_a_body_ends_the_program():
    graph, (h, i, table) = looked_up(4)
    values = numbers(h, i, table)
    values[1] %= 7
    agrees(graph, values)
    values[1][2, 1] = 7
    program = build(graph)
    for way, one in ((run, program), (run, shared(program)), (python_executor.execute, program)):
        with pytest.raises(IndexError, match="index 7 is out of bounds for dimension 0"):
            way(one, values)


def test_threads_that_share_a_loop_agree_and_fail_together():
    h, i, table, x = floats(40, 2), integers(40), floats(70, 2), floats(40, 2)
    row = index(table, el.check_index(i, size=70, dim=0), axes=(0,))
    new = el.tanh(h * 0.5 + row) + x
    body = Graph((h, i, x, table), (new, new * 2.0))
    operands = outer(body, 1, 2, 30)
    graph = Graph(tuple(operands), tuple(results_of(body, operands, 1, 2, 30)))
    values = numbers(*operands)
    values[1] %= 70
    expected = interpret(graph, *values)
    program = shared(build(simplify(graph)))
    for k in range(20):
        values[1][k, k] += 70
        with pytest.raises(IndexError, match="out of bounds"):
            run(program, values)
        values[1][k, k] -= 70
        for result, wanted in zip(run(program, values), expected, strict=True):
            np.testing.assert_allclose(result, wanted, rtol=1e-12)


def test_a_check_that_no_result_needs_ends_the_program():
    h, i = floats(2), integers()
    check = el.check_index(i, size=5, dim=0)
    body = Graph((h, i), (h * 0.5,), (check,))
    operands = outer(body, 1, 1, 4)
    (last,) = results_of(body, operands, 1, 1, 4)
    graph = Graph(tuple(operands), (last,), (last,))
    agrees(graph, [np.ones(2), np.array([0, 1, 2, 3])])
    with pytest.raises(IndexError, match="index 5 is out of bounds"):
        run(build(graph), [np.ones(2), np.array([0, 1, 5, 3])])


def test_nothing_is_written_before_a_check_in_a_loop():
    graph, (h, i, table) = looked_up(4)
    total = graph.outputs[0]
    program = build(Graph(graph.inputs, (total, table * 2.0)), writes={0: h, 1: table})
    values = numbers(h, i, table)
    values[1][:] = [[0, 1], [2, 3], [4, 5], [6, 7]]
    before = [x.copy() for x in values]
    with pytest.raises(IndexError):
        python_executor.execute(program, values)
    for x, y in zip(values, before, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("guarded", [False, True])
def test_results_are_written_to_memory_of_inputs(guarded):
    p, x = floats(3), floats(3)
    body = Graph((p, x), (p - 0.1 * (p * x), p))
    operands = outer(body, 1, 1, 5)
    last, rows = results_of(body, operands, 1, 1, 5)
    graph = Graph(tuple(operands), (last, rows, sum_(last * operands[0], dims=(0,))))
    values = numbers(*operands)
    expected = interpret(graph, *values)
    program = kept(build(graph, writes={0: operands[0]}, guarded=guarded))
    results = python_executor.execute(program, values)
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, wanted, rtol=1e-12)
    np.testing.assert_allclose(values[0], expected[0], rtol=1e-12)


def test_results_of_a_loop_are_one_group():
    graph, _ = nested(4, 3)
    program = build(graph)
    assert len({siblings_key(y) for y in graph.outputs}) == 1
    assert [one.length for one in program.loops] == [4, 3]
    assert "4 times" in str(program)


def test_a_loop_that_leaves_its_memory_is_not_read_from_the_disk():
    p, x = floats(2, 2), floats(2, 2)
    body = Graph((p, x), (dot(p, x), p))
    operands = outer(body, 1, 1, 5)
    graph = Graph(tuple(operands), tuple(results_of(body, operands, 1, 1, 5, reverse=True)))
    program = kept(build(graph))
    (one,) = program.loops
    slot, base, offset, step = next(m for m in one.movings if m.step < 0)
    turning, first = one.turnings[0], program.inputs[0]
    damaged = {
        "longer": replace(one, length=6),
        "without end": replace(one, length=1 << 62),
        "over an input": replace(one, movings=(*one.movings, Moving(first, base, 0, 0))),
        "an input turns": replace(one, turnings=(turning._replace(other=first),)),
        "an unset slot": replace(one, movings=one.movings[1:]),
        "a slot that is set too late": replace(one, first=1),
        "a base that is not set": replace(one, movings=(Moving(slot, slot, 0, 0), *one.movings)),
    }
    for begin, pace in ((offset - step, step), (offset, step - 8), (-8, 0), (offset, -step)):
        wrong = Moving(slot, base, begin, pace)
        damaged[str(wrong)] = replace(one, movings=(*one.movings, wrong))
    for name, changed in damaged.items():
        with pytest.raises(Unreadable):
            decode(encode(replace(program, loops=(changed,)), []), [])
            pytest.fail(name)
