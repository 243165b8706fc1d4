"""The ladder: random programs mean the same interpreted, as plain Python kernels, and compiled.

Numbers are small integers (tests/graphs.py), so the three must agree to the bit, but for the sign
of zero.
"""

from __future__ import annotations

from contextlib import ExitStack
from unittest.mock import patch

import numpy as np
import pytest
from graphs import BATCHED, FAMILY, arrays, grown, steps
from hypothesis import HealthCheck, given, settings, strategies as st

from tracegrad.codegen.build import build
from tracegrad.codegen.gemm import tile
from tracegrad.codegen.schedule import long_sums
from tracegrad.codegen.templates import column, row
from tracegrad.ir.graph import Graph
from tracegrad.ir.interpret import interpret
from tracegrad.ir.simplify import simplify
from tracegrad.ir.strides import View
from tracegrad.ir.verify import verify
from tracegrad.runtime.cpu import python_executor
from tracegrad.runtime.cpu.executable import Executable, address

PROGRAMS = (steps(FAMILY, 14), st.integers(0, 9), st.booleans(), st.booleans())
QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]


def scattered(array: np.ndarray, way: int) -> np.ndarray:
    """The same numbers, lying otherwise in memory."""
    array = array.copy()
    match way % 5 if array.ndim else 0:
        case 1:
            return np.asfortranarray(array)
        case 2:
            return array[::-1].copy()[::-1]
        case 3:
            wide = np.full(tuple(2 * n + 1 for n in array.shape), 77.0)
            inner = wide[tuple(np.s_[1 : 2 * n + 1 : 2] for n in array.shape)]
            inner[...] = array
            return inner
        case 4 if array.shape[:1] == (1,):
            return np.broadcast_to(array[0], array.shape)
    return array


def layouts(graph: Graph, given: list[np.ndarray]) -> dict:
    return {
        x: View(a.shape, tuple(s // a.itemsize for s in a.strides))
        for x, a in zip(graph.inputs, given, strict=True)
    }


def compiled(program, given: list[np.ndarray]) -> list[np.ndarray]:
    """Run by Numba."""
    executable = Executable(program)
    slots = dict(zip(program.inputs, given, strict=True))
    for slot, buffer in enumerate(program.buffers):
        if buffer.kind == "output":
            slots[slot] = np.full(buffer.shape, 99, buffer.dtype.storage)
    for slot, array in slots.items():
        executable.table[slot] = address(array)
    executable.run()
    return [slots[slot] for slot in program.outputs]


def compare(run, drawn, seed, special, simple, ways=(0,), writes=(), guarded=False) -> None:
    graph, _ = grown(drawn, FAMILY, BATCHED)
    before = arrays(seed, special, BATCHED)
    want = interpret(graph, *before)
    graph = simplify(verify(graph), check=verify) if simple else graph
    given = [scattered(a, ways[i % len(ways)]) for i, a in enumerate(before)]
    targets = {}  # outputs that are to be written into an input of their shape
    for k in writes:
        free = [x for x, a in zip(graph.inputs, given, strict=True) if x not in targets.values()
                and x.shape == graph.outputs[k].shape and a.flags.writeable]
        if free:
            targets[k] = free[seed % len(free)]
    program = build(graph, targets, layouts(graph, given), guarded)
    got = run(program, given)
    for y, w in zip(got, want, strict=True):
        assert y.shape == w.shape
        np.testing.assert_array_equal(y, w, err_msg=f"{graph}\n{program.source()}")
    for x, a, b in zip(graph.inputs, given, before, strict=True):
        if x not in targets.values():
            np.testing.assert_array_equal(a, b, err_msg="an input was written to")


@settings(max_examples=80, deadline=None, suppress_health_check=QUIET, report_multiple_bugs=False)
@given(*PROGRAMS)
def test_kernels_as_plain_python_are_the_interpreter(drawn, seed, special, simple):
    compare(python_executor.execute, drawn, seed, special, simple)


@settings(max_examples=40, deadline=None, suppress_health_check=QUIET, report_multiple_bugs=False)
@given(*PROGRAMS, st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_inputs_may_lie_in_memory_as_they_please(drawn, seed, special, simple, ways):
    compare(python_executor.execute, drawn, seed, special, simple, ways)


@settings(max_examples=60, deadline=None, suppress_health_check=QUIET, report_multiple_bugs=False)
@given(*PROGRAMS, st.lists(st.integers(0, 3), min_size=1, max_size=4), st.booleans())
def test_outputs_may_be_written_into_inputs(drawn, seed, special, simple, ways, guarded):
    compare(python_executor.execute, drawn, seed, special, simple, ways, (0, 1, 2), guarded)


SHORT = [  # limits at which loops are cut, so that loops of a few steps are
    (row, "BLOCK", 2), (column, "BLOCK", 2), (tile, "PART", 1),
    (tile, "TALL", 2), (long_sums, "LONG", 5), (long_sums, "PART", 3), (long_sums, "FEW", 2),
]


@settings(max_examples=80, deadline=None, suppress_health_check=QUIET, report_multiple_bugs=False)
@given(*PROGRAMS, st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_loops_that_are_cut_into_blocks_are_the_interpreter(drawn, seed, special, simple, ways):
    with ExitStack() as limits:
        for module, name, value in SHORT:
            limits.enter_context(patch.object(module, name, value))
        compare(python_executor.execute, drawn, seed, special, simple, ways, (0, 2))


@settings(max_examples=12, deadline=None, suppress_health_check=QUIET, report_multiple_bugs=False)
@given(*PROGRAMS, st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_numba_is_plain_python(drawn, seed, special, simple, ways):
    compare(compiled, drawn, seed, special, simple, ways, (0, 2))


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=QUIET, report_multiple_bugs=False)
@given(*PROGRAMS, st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_numba_is_plain_python_for_many(drawn, seed, special, simple, ways):
    compare(compiled, drawn, seed, special, simple, ways, (0, 2))
