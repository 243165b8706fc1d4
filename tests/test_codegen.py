"""Programs small enough to be read: views, placement, order, and what kernels may share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graphs import floats
from hypothesis import given, settings, strategies as st

from tracegrad.codegen.build import build
from tracegrad.codegen.schedule.plan import arena
from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph
from tracegrad.ir.node import constant, input_node
from tracegrad.ir.ops import elementwise as el
from tracegrad.ir.ops.contract import dot
from tracegrad.ir.ops.index import index, index_put
from tracegrad.ir.ops.movement import permute, reshape
from tracegrad.ir.ops.reduce import sum as sum_
from tracegrad.ir.strides import View, collapse
from tracegrad.runtime.cpu import python_executor


def numbers(*shape: int) -> np.ndarray:
    return np.arange(1.0, np.prod(shape, dtype=int) + 1).reshape(shape)


# ---- views
def windows(x, axis, size, step, dilation):
    """Sliding windows, number by number."""
    starts = np.arange(0, x.shape[axis] - (size - 1) * dilation, step)
    return np.stack([x.take(starts + k * dilation, axis) for k in range(size)], -1)


SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@settings(max_examples=200, deadline=None)
@given(SHAPES, st.data())
def test_a_view_says_where_numpy_says(shape, data):
    memory = np.arange(int(np.prod(shape)))
    array, view = memory.reshape(shape), View.of(shape)
    for _ in range(data.draw(st.integers(1, 4))):
        rank = array.ndim
        kinds = ["permute", "flip", "slice", "expand", "reshape", "window", "diagonal"]
        match data.draw(st.sampled_from(kinds)):
            case "permute":
                axes = tuple(data.draw(st.permutations(range(rank))))
                array, view = array.transpose(axes), view.permute(axes)
            case "flip":
                axes = tuple(sorted(data.draw(st.sets(st.integers(0, rank - 1))) if rank else ()))
                array, view = np.flip(array, axes), view.flip(axes)
            case "slice":
                cut = tuple((data.draw(st.integers(0, n)), n, data.draw(st.integers(1, 3)))
                            for n in array.shape)
                array = array[tuple(np.s_[a:b:c] for a, b, c in cut)]
                view = view.slice(cut)
            case "expand":
                wide = (2, *(3 if n == 1 else n for n in array.shape))
                array, view = np.broadcast_to(array, wide), view.expand(wide)
            case "window" if rank and (n := array.shape[0]):
                dilation = data.draw(st.integers(0, 2))
                cut = {"axis": 0, "size": 1 + (n - 1) // max(dilation, 1), "step": 1,
                       "dilation": dilation}
                array, view = windows(array, **cut), view.window(**cut)
            case "diagonal" if rank > 1 and array.shape[-1] == array.shape[-2]:
                array, view = np.diagonal(array, axis1=-2, axis2=-1), view.diagonal()
            case "reshape":
                flat = (array.size, 1) if data.draw(st.booleans()) else (1, array.size)
                found = view.reshape(flat)
                if found is None:
                    assert array.size > 1
                    continue
                array, view = array.reshape(flat), found
    assert view.shape == array.shape
    where = np.full(array.shape, view.offset)
    for d, (n, s) in enumerate(zip(view.shape, view.strides, strict=True)):
        where += np.arange(n).reshape([-1 if k == d else 1 for k in range(array.ndim)]) * s
    np.testing.assert_array_equal(where, array)


def test_axes_that_are_one_run_of_memory_are_one_loop():
    extents, (a, b) = collapse((2, 3, 4), [(12, 4, 1), (12, 4, 1)])
    assert (extents, a, b) == ([24], [1], [1])
    extents, (a, b) = collapse((2, 3, 4), [(12, 4, 1), (0, 4, 1)])
    assert (extents, a, b) == ([2, 12], [12, 1], [0, 1])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_buffers_alive_together_do_not_overlap(drawn):
    nodes = [floats(k) for k in range(len(drawn))]
    sizes = {n: size for n, (size, _, _) in zip(nodes, drawn, strict=True)}
    spans = {n: (min(a, b), max(a, b)) for n, (_, a, b) in zip(nodes, drawn, strict=True)}
    offsets, total = arena(sizes, spans)
    for i, x in enumerate(nodes):
        assert offsets[x] % 64 == 0 and offsets[x] + sizes[x] <= total
        for y in nodes[:i]:
            together = spans[x][0] <= spans[y][1] and spans[y][0] <= spans[x][1]
            apart = offsets[x] + sizes[x] <= offsets[y] or offsets[y] + sizes[y] <= offsets[x]
            assert apart or not together


# ---- outputs and writes
def test_outputs_may_be_inputs_constants_and_one_another():
    x = floats(2, 3)
    y = x + 1.0
    seven = constant(7.0, dt.float64, (4,))
    a = numbers(2, 3)
    got = python_executor.execute(build(Graph((x,), (x, y, y, seven, x, seven))), [a])
    for g, w in zip(got, (a, a + 1, a + 1, np.full(4, 7.0), a, np.full(4, 7.0)), strict=True):
        np.testing.assert_array_equal(g, w)
    assert len({g.ctypes.data for g in got}) == 6


@pytest.mark.parametrize("guarded", [False, True])
def test_two_inputs_may_be_exchanged(guarded):
    x, y = floats(5), floats(5)
    program = build(Graph((x, y), (y, x)), {0: x, 1: y}, guarded=guarded)
    a, b = numbers(5), -numbers(5)
    python_executor.execute(program, [a, b])
    np.testing.assert_array_equal(a, -numbers(5))
    np.testing.assert_array_equal(b, numbers(5))


def test_a_matrix_may_become_its_own_transpose():
    x = floats(4, 4)
    a = numbers(4, 4)
    python_executor.execute(build(Graph((x,), (permute(x, axes=(1, 0)),)), {0: x}), [a])
    np.testing.assert_array_equal(a, numbers(4, 4).T)


def test_an_input_that_is_written_is_read_first_by_all_others():
    w, x = floats(3, 3), floats(3, 3)
    grown = w + x
    program = build(Graph((w, x), (grown, dot(x, w), sum_(w, dims=(0,)), grown * w)), {0: w})
    a, b = numbers(3, 3), numbers(3, 3) * 2
    got = python_executor.execute(program, [a, b])
    np.testing.assert_array_equal(a, numbers(3, 3) * 3)
    np.testing.assert_array_equal(got[1], b @ numbers(3, 3))
    np.testing.assert_array_equal(got[2], numbers(3, 3).sum(0))
    np.testing.assert_array_equal(got[3], 3 * numbers(3, 3) ** 2)


def test_a_guarded_program_writes_to_inputs_after_commit_only():
    x = floats(3)
    y = x * 2.0
    program = build(Graph((x,), (y, sum_(x, dims=(0,)))), {0: x}, guarded=True)
    a = numbers(3)
    python_executor.execute(replace(program, launches=program.launches[: program.commit]), [a])
    np.testing.assert_array_equal(a, numbers(3))
    python_executor.execute(program, [a])
    np.testing.assert_array_equal(a, numbers(3) * 2)


# ---- checks
def bad_index(position: int):
    x, i = floats(4, 2), input_node((3,), dt.int64)
    checked = el.check_index(i, size=4, dim=0)
    taken = index(x, checked, axes=(0,))
    put = index_put(x, taken * 0.0, checked, axes=(0,), accumulate=False)
    program = build(Graph((x, i), (taken, put)), {1: x})
    a, where = numbers(4, 2), np.array([0, position, -1])
    return program, a, where


def test_positions_may_count_from_the_end():
    program, a, where = bad_index(-4)
    taken, _ = python_executor.execute(program, [a, where])
    np.testing.assert_array_equal(taken, numbers(4, 2)[[0, 0, 3]])
    np.testing.assert_array_equal(a, numbers(4, 2) * [[0], [1], [1], [0]])


@pytest.mark.parametrize("position", [4, -5, 2**40])
def test_a_bad_index_is_told_and_nothing_is_written(position):
    program, a, where = bad_index(position)
    with pytest.raises(IndexError, match=rf"{position}\b"):
        python_executor.execute(program, [a, where])
    np.testing.assert_array_equal(a, numbers(4, 2))


# ---- sharing
def test_kernels_do_not_know_their_extents():
    def kernel(n: int, m: int) -> str:
        x, y = floats(n, m), floats(m)
        (launch,) = build(Graph((x, y), (el.tanh(x * y + 3.25),))).launches
        return launch.kernel.name

    assert kernel(20, 30) == kernel(21, 300)
    assert kernel(20, 5) != kernel(20, 6)  # small innermost extents are unrolled


def test_other_constants_are_another_argument_of_one_kernel():
    def kernel(value: float) -> str:
        x = floats(50)
        (launch,) = build(Graph((x,), (x * value,))).launches
        return launch.kernel.name

    assert kernel(3.25) == kernel(-7.5)


def test_a_reshape_that_strides_cannot_say_is_copied():
    x = floats(3, 4)
    turned = reshape(permute(x, axes=(1, 0)), shape=(2, 6))
    program = build(Graph((x,), (sum_(turned, dims=(0,)),)))
    (got,) = python_executor.execute(program, [numbers(3, 4)])
    np.testing.assert_array_equal(got, numbers(3, 4).T.reshape(2, 6).sum(0))
