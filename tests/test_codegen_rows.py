"""Loops that reduce rows and, when all are done, sum over the rows too."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import tracegrad as T
from tracegrad.codegen.build import build
from tracegrad.ir import dtype as dt
from tracegrad.ir.graph import Graph
from tracegrad.ir.node import input_node
from tracegrad.ir.ops.movement import reshape
from tracegrad.ir.ops.reduce import max as max_, sum as sum_
from tracegrad.runtime.cpu import python_executor
from tracegrad.testing import assert_kernels

# rows and columns: none, one, short rows and long ones, and as many rows as columns
SIZES = [*itertools.product((0, 1, 2, 4, 19), (4, 9)), *itertools.product((1, 19), (1, 3, 8, 33))]


def everything(M, x, b, s):
    """Numbers of every level: of points, of rows, of columns, and of the whole."""
    top = M.amax(x, 1) if M is not np else x.max(1, initial=-np.inf)
    shifted = x - top[:, None]
    row = (shifted * shifted).sum(1)
    down = (shifted * row[:, None]).sum(0)
    whole = row.sum() + s
    return shifted * 2, row, b - 0.5 * down, whole, (x * x).sum() * whole, down * whole


CASES = [(size, "float64") for size in SIZES] + [((19, 4), "float32"), ((19, 33), "float32")]


@pytest.mark.parametrize(("size", "dtype"), CASES)
def test_sums_over_rows_and_columns_in_one_loop(size, dtype):
    n, m = size
    rng = np.random.default_rng(n * 40 + m)
    x, b, s = (rng.standard_normal(shape).astype(dtype) for shape in ((n, m), (m,), ()))
    compiled = T.compile(lambda *args: everything(T, *args))
    wanted = everything(np, x, b, s)
    found = compiled(*map(T.from_numpy, (x, b, s)))
    for y, w in zip(found, wanted, strict=True):
        scale = np.abs(w).max(initial=1)
        np.testing.assert_allclose(y.numpy(), w, rtol=0, atol=scale * np.finfo(dtype).eps * 40)
    turned = compiled(T.from_numpy(np.asfortranarray(x)), T.from_numpy(b), T.from_numpy(s))
    for y, z in zip(turned, found, strict=True):
        scale = np.abs(z.numpy()).max(initial=1)
        np.testing.assert_allclose(
            y.numpy(), z.numpy(), rtol=0, atol=scale * np.finfo(dtype).eps * 40
        )


def test_short_rows_their_columns_and_the_whole_are_one_kernel():
    compiled = T.compile(lambda *args: everything(T, *args))
    compiled(T.randn(20, 4), T.randn(4), T.tensor(1.0))
    assert_kernels(compiled, 1)


def test_as_many_rows_as_columns_are_not_mistaken_for_one_another():
    compiled = T.compile(lambda x: (x.sum(1), x.sum(0), x.sum(1).sum()))
    x = T.arange(16.0).reshape(4, 4)
    for found, wanted in zip(compiled(x), (x.sum(1), x.sum(0), x.sum()), strict=True):
        assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize(("rows", "launches"), [(100, 1), (20_000, 2)])
def test_threads_share_rows_where_nothing_is_summed_over_them(rows, launches):
    """Many rows have a loop of their own, and their sum another."""
    compiled = T.compile(lambda x: (x.exp().sum(1), x.exp().sum(1).sum()))
    x = T.randn(rows, 16, dtype=T.float64)
    row, whole = compiled(x)
    np.testing.assert_allclose(row.numpy(), np.exp(x.numpy()).sum(1), rtol=1e-12)
    np.testing.assert_allclose(whole.item(), np.exp(x.numpy()).sum(), rtol=1e-12)
    assert_kernels(compiled, launches)


def test_what_every_row_reads_is_written_when_all_are_done():
    """A bias and its update in one kernel: each row must see the old one."""
    x, b = input_node((6, 3), dt.float64), input_node((3,), dt.float64)
    wide = reshape(b, shape=(1, 3))
    y = x + wide
    e = y - reshape(max_(y, dims=(1,)), shape=(6, 1))
    down = sum_(e, dims=(0,))
    program = build(Graph((x, b), (b - down, down, sum_(e, dims=(1,)))), {0: b})
    assert len(program.launches) == 1
    a, old = np.random.default_rng(0).standard_normal((6, 3)), np.array([1.0, -2.0, 0.5])
    new = old.copy()
    got = python_executor.execute(program, [a, new])
    shifted = (a + old) - (a + old).max(1, keepdims=True)
    np.testing.assert_allclose(new, old - shifted.sum(0), rtol=1e-13)
    np.testing.assert_allclose(got[1], shifted.sum(0), rtol=1e-13)
    np.testing.assert_allclose(got[2], shifted.sum(1), rtol=1e-13)


LONG_SUMS = {  # (shape, axes)
    "one axis": ((99_999,), (0,)),
    "a prime number": ((100_003,), (0,)),
    "rows of an image": ((300, 200, 3), (0, 1, 2)),
    "short rows": ((40_000, 3), (0, 1)),
    "rows": ((5_000, 16), (0, 1)),
    "columns": ((50_000, 5), (0,)),
    "axes around a kept one": ((700, 3, 90), (0, 2)),
    "prime numbers of short rows": ((40_009, 2), (0, 1)),
}


@pytest.mark.parametrize("name", LONG_SUMS)
def test_long_sums_are_made_of_short_ones(name):
    shape, axes = LONG_SUMS[name]
    x = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
    wanted = x.sum(axes, dtype=np.float64)
    found = T.compile(lambda x: (x.sum(axes), (x.t() if x.ndim == 2 else x).amax()))
    total, top = found(T.from_numpy(x))
    np.testing.assert_allclose(total.numpy(), wanted, rtol=3e-6)
    assert top.item() == x.max()
