"""Loops of which threads take some rows through all iterations: the same to the last bit, whoever
computes what.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from graphs import floats, tamed
from test_codegen_loops import kept, numbers, outer, results_of, run

import tracegrad as tg
from tracegrad.codegen.build import build
from tracegrad.codegen.program import Program
from tracegrad.codegen.program_file import Unreadable, decode, encode
from tracegrad.ir.graph import Graph
from tracegrad.ir.interpret import interpret
from tracegrad.ir.ops import elementwise as el
from tracegrad.ir.ops.contract import dot, transpose
from tracegrad.ir.ops.movement import concat, expand, flip, pad, permute, reshape, slice as cut
from tracegrad.ir.ops.prefix import cumsum
from tracegrad.ir.ops.reduce import max as max_, sum as sum_
from tracegrad.ir.simplify import simplify
from tracegrad.runtime.cpu import python_executor, steps

ROWS, WIDTH, LENGTH = 12, 6, 4


@pytest.fixture(params=[2, 5], autouse=True)
def count(request, monkeypatch) -> int:
    """How many threads there seem to be; loops are shared however short they are."""
    monkeypatch.setattr(steps, "threads", lambda: request.param)
    monkeypatch.setattr(steps, "WORTH_A_SHARE", 1)
    return request.param


def columns(x, first: int, last: int):
    return cut(x, slices=((0, x.shape[0], 1), (first, last, 1)))


def rows(x, first: int, last: int):
    return cut(x, slices=((first, last, 1), (0, x.shape[1], 1)))


def across(x):
    """Something of each row, as wide as the row."""
    return expand(reshape(sum_(x, dims=(1,)), shape=(ROWS, 1)), shape=x.shape)


# what a body does with two values of ROWS x WIDTH and two constants of WIDTH x WIDTH, row by row
APART = [
    lambda a, b, v, w: a + b,
    lambda a, b, v, w: el.maximum(a, b) - 1.0,
    lambda a, b, v, w: dot(a, v),
    lambda a, b, v, w: dot(a, transpose(v)) + b,
    lambda a, b, v, w: dot(a, dot(v, w)),
    lambda a, b, v, w: el.maximum(dot(a + b, v), b),
    lambda a, b, v, w: dot(a, concat(v, w, axis=0)) if a.shape[1] > WIDTH else a,
    lambda a, b, v, w: columns(dot(a, concat(v, w, axis=1)), 3, 9),
    lambda a, b, v, w: across(a) - b,
    lambda a, b, v, w: concat(columns(a, 2, 6), columns(b, 0, 2), axis=1),
    lambda a, b, v, w: pad(columns(a, 1, 4), pads=((0, 0, 0), (1, 2, 0))),
    lambda a, b, v, w: reshape(permute(reshape(a, shape=(ROWS, 2, 3)), axes=(0, 2, 1)),
                               shape=(ROWS, WIDTH)),
    lambda a, b, v, w: transpose(transpose(a) * 2.0) + b,
    lambda a, b, v, w: a + expand(sum_(v, dims=(0,)), shape=a.shape),
    lambda a, b, v, w: el.floor(columns(dot(reshape(a * b, shape=(ROWS, WIDTH)), w), 0, 6) / 3.0),
]
# and so that rows depend on others
TOGETHER = [
    lambda a, b, v, w: a + expand(reshape(sum_(b, dims=(0,)), shape=(1, WIDTH)), shape=a.shape),
    lambda a, b, v, w: flip(a, axes=(0,)) + b,
    lambda a, b, v, w: concat(rows(a, 1, ROWS), rows(b, 0, 1), axis=0),
    lambda a, b, v, w: dot(dot(a, transpose(b)), b),
    lambda a, b, v, w: reshape(transpose(a), shape=(ROWS, WIDTH)) - b,
    lambda a, b, v, w: cumsum(a, axis=0, reverse=False),
    lambda a, b, v, w: pad(rows(a, 0, ROWS - 1), pads=((1, 0, 0), (0, 0, 0))),
    lambda a, b, v, w: dot(a, dot(transpose(a), b)),
    lambda a, b, v, w: a + expand(reshape(max_(b, dims=(0, 1)), shape=(1, 1)), shape=a.shape),
    lambda a, b, v, w: reshape(columns(reshape(a, shape=(WIDTH, ROWS)), 0, ROWS), shape=a.shape)
    + reshape(flip(reshape(b, shape=(WIDTH, ROWS)), axes=(0,)), shape=b.shape),
]


def program_of(moves, reverse=False):
    """A loop of two carries and a slice: its graph and program."""
    h, c, x = (floats(ROWS, WIDTH) for _ in range(3))
    v, w = floats(WIDTH, WIDTH), floats(WIDTH, WIDTH)
    pool = [x, c, h]
    for k, move in enumerate(moves):
        pool.append(el.floor(tamed(move(pool[-1 - k % 3], pool[-2], v, w))))
    body = Graph((h, c, x, v, w), (pool[-1], pool[-2], pool[-1] - h, pool[-2] * 2.0))
    operands = outer(body, 2, 1, LENGTH)
    graph = Graph(tuple(operands), tuple(results_of(body, operands, 2, 1, LENGTH, reverse)))
    return graph, kept(build(simplify(graph)))


def agrees(graph: Graph, program: Program) -> None:
    values = numbers(*graph.inputs)
    wanted = interpret(graph, *values)
    for results in (run(program, values), python_executor.execute(program, values)):
        for result, y in zip(results, wanted, strict=True):
            np.testing.assert_array_equal(result, y)


def is_apart(program: Program) -> bool:
    (one,) = program.loops
    return one.rows is not None


@pytest.mark.parametrize("k", range(len(APART)))
def test_rows_that_are_computed_apart(k):
    graph, program = program_of([APART[k]])
    agrees(graph, program)
    assert is_apart(program)


@pytest.mark.parametrize("k", range(len(TOGETHER)))
def test_rows_that_depend_on_others(k):
    graph, program = program_of([TOGETHER[k], APART[0]])
    agrees(graph, program)
    assert not is_apart(program)


@pytest.mark.parametrize("seed", range(40))
def test_random_bodies(seed):
    rng = np.random.default_rng(seed)
    choices = APART if seed % 3 else [*APART, *TOGETHER]
    moves = [choices[k] for k in rng.integers(len(choices), size=rng.integers(1, 8))]
    agrees(*program_of(moves, reverse=bool(seed % 2)))


@pytest.mark.parametrize("layer", [tg.nn.RNN, tg.nn.GRU, tg.nn.LSTM])
@pytest.mark.parametrize("size, batch", [(16, 32), (5, 9), (128, 16), (3, 64), (33, 31)])
def test_layers_are_the_same_on_any_number_of_threads(layer, size, batch, count, monkeypatch):
    def results():
        tg.manual_seed(0)
        one = layer(4, size, num_layers=2)
        x = tg.randn(6, batch, 4)
        step = tg.compile(lambda x: tg.autograd.grad(one(x)[0].square().sum(), one.parameters()))
        return [g.numpy().copy() for g in step(x)]

    mine = results()
    monkeypatch.setattr(steps, "threads", lambda: 1)
    for a, b in zip(mine, results(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_loop_within_a_loop_is_shared(count):
    h, x = floats(ROWS, WIDTH), floats(ROWS, WIDTH)
    body = Graph((h, x), (el.floor(tamed(h + x * 2.0)), h))
    operands = outer(body, 1, 1, 3)
    last, stacked = results_of(body, operands, 1, 1, 3)
    total = sum_(stacked, dims=(0,))
    around = Graph(tuple(operands), (flip(last, axes=(0,)), total))
    outside = outer(around, 1, 0, LENGTH)
    graph = Graph(tuple(outside), tuple(results_of(around, outside, 1, 0, LENGTH)))
    program = kept(build(simplify(graph)))
    agrees(graph, program)
    assert [one.rows is None for one in program.loops] == [True, False]


@pytest.mark.parametrize("name, value", [("total", 0), ("unit", 5), ("total", 7), ("end", 1 << 40),
                                         ("begin", 1 << 39)])
def test_wrong_rows_are_not_read_from_the_disk(name, value):
    _, program = program_of([APART[2]])
    (one,) = program.loops
    wrong = replace(one, rows=one.rows._replace(**{name: value}))
    with pytest.raises(Unreadable):
        decode(encode(replace(program, loops=(wrong,)), []), [])


def test_shares_are_all_rows(count):
    _, program = program_of([APART[2]])
    (step,) = [s for s in steps.steps(program) if s.loop is not None]
    many, bounds = steps.shares(step)
    assert (bounds[0], bounds[-1], many) == (0, ROWS, ROWS)
    assert all(b - a >= 4 for a, b in pairwise(bounds)) and len(bounds) == min(count, 3) + 1
