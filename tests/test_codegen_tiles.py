"""Maps that read an operand across its rows: transposed copies, and what is computed on the way."""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as T
from tracegrad.codegen.build import build
from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph
from tracegrad.ir.node import input_node
from tracegrad.ir.ops.elementwise import copy
from tracegrad.ir.ops.movement import permute
from tracegrad.runtime.cpu import python_executor

SHAPES = [(64, 64), (100, 130), (513, 17), (16, 4099), (1, 9000), (300, 15), (65, 8, 70)]
PROGRAMS = {
    "copied": lambda x, y, b: x.T.copy() if isinstance(x, np.ndarray) else x.mT.contiguous(),
    "added": lambda x, y, b: x.T * 2 + y - b,
    "both": lambda x, y, b: x.T * y.T[::-1].T if isinstance(x, np.ndarray) else x.mT * y.flip(1),
}


def numbers(dtype: str, *shape: int) -> np.ndarray:
    return (np.random.default_rng(len(shape)).standard_normal(shape) * 50).astype(dtype)


@pytest.mark.parametrize("shape", SHAPES[:-1])
def test_what_lies_across_is_read_as_it_is(shape):
    n, m = shape
    x, y, b = numbers("float32", n, m), numbers("float32", m, n), numbers("float32", n)
    for f in PROGRAMS.values():
        compiled = T.compile(f)
        got = compiled(*map(T.from_numpy, (x, y, b))).numpy()
        assert np.array_equal(got, f(x, y, b))
        assert ("turn_f4" in compiled.source()) == (min(n, m) >= 16)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "int16", "uint8", "bool"])
def test_numbers_of_every_size(dtype):
    x = numbers("float32", 90, 77) if dtype != "bool" else numbers("float32", 90, 77) > 0
    t = T.from_numpy(x.astype("int16") if dtype == "uint8" else x).to(getattr(T, dtype))
    assert np.array_equal(T.compile(lambda t: t.t().contiguous())(t).numpy(), t.numpy().T)


@pytest.mark.parametrize("axes", [(0, 2, 1), (2, 1, 0), (2, 0, 1), (1, 2, 0)])
def test_batches_and_axes_between(axes):
    x = numbers("float32", 65, 18, 70)
    views = (x, x[::-1], x[:, ::2], np.broadcast_to(x[:, :1], (65, 18, 70)))
    for v in views:
        got = T.compile(lambda t: t.permute(axes).contiguous() + 1)(T.from_numpy(v.copy())).numpy()
        assert np.array_equal(got, v.transpose(axes) + 1)


def test_two_operands_two_ways_across():
    x, y = numbers("float32", 70, 66, 80), numbers("float32", 70, 80, 66)
    a, b = map(T.from_numpy, (x, y))
    got = T.compile(lambda a, b: a.permute(2, 1, 0) - b.permute(1, 2, 0))(a, b)
    assert np.array_equal(got.numpy(), x.transpose(2, 1, 0) - y.transpose(1, 2, 0))


def test_plain_python_agrees():
    x = input_node((70, 75), dt.float32)
    program = build(Graph((x,), (copy(permute(x, axes=(1, 0))),)))
    assert "turn_f4" in program.source()
    value = numbers("float32", 70, 75)
    (found,) = python_executor.execute(program, [value.copy()])
    assert np.array_equal(found, value.T)


def test_small_matrices_and_short_rows_need_no_tile():
    for shape in ((30, 30), (4000, 8), (8, 4000)):
        compiled = T.compile(lambda x: x.t().contiguous())
        compiled(T.randn(shape))
        assert "turn" not in compiled.source()


@pytest.mark.parametrize("shape", [(17, 40, 3, 19), (16, 1, 33, 16), (70, 5, 2, 21)])
def test_a_small_face_of_a_large_block_is_turned_by_tiles(shape):
    x = numbers("float32", *shape)
    compiled = T.compile(lambda t: t.permute(3, 2, 1, 0).contiguous() * 2)
    assert np.array_equal(compiled(T.from_numpy(x)).numpy(), x.transpose(3, 2, 1, 0) * 2)
    assert "turn_f4" in compiled.source()


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (33, 65), (4, 0), (257, 8)])
def test_rows_read_backwards(shape):
    x, y = numbers("float32", *shape), numbers("float32", *shape[::-1])
    compiled = T.compile(lambda x, y: (x.flip(1), x.flip(0) + x.flip(0, 1), x * y.T.flip(1)))
    wanted = (x[:, ::-1], x[::-1] + x[::-1, ::-1], x * y.T[:, ::-1])
    for mine, right in zip(compiled(T.from_numpy(x), T.from_numpy(y)), wanted, strict=True):
        assert np.array_equal(mine.numpy(), right)
