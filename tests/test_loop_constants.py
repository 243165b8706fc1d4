"""Matrices that a loop only reads lie, before it begins, as the products of its body read them."""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.codegen.gemm.constants import by_columns, lying
from tracegrad.ir.dtype import float32
from tracegrad.ir.graph import Graph
from tracegrad.ir.node import input_node
from tracegrad.ir.ops.contract import dot, transpose
from tracegrad.ir.strides import View

RNG = np.random.default_rng(0)


def matrix(*shape: int, dtype: str = "float32") -> tg.Tensor:
    return tg.tensor((RNG.standard_normal(shape) / shape[-1] ** 0.5).astype(dtype))


def same(f, *args):
    """Compiled as eagerly; twice, for the second call replays."""
    expected, compiled = f(*args), tg.compile(f)
    for _ in range(2):
        np.testing.assert_allclose(compiled(*args).numpy(), expected.numpy(), rtol=2e-5, atol=2e-6)
    return compiled


def steps(f):
    """A loop of five steps h = f(h, w)."""
    def run(h, w, *more):
        return tg.scan(lambda h, x: (tg.tanh(f(h, w, *more) + x), h), h, tg.ones(5, 1, 1) / 8)[1]
    return run


def before_the_loop(compiled) -> list[str]:
    program = compiled.program()
    (one,) = program.loops
    inside = [launch.kernel.template for launch in program.launches[one.first : one.last]]
    assert "strips" not in inside
    return [launch.kernel.template for launch in program.launches[: one.first]]


@pytest.mark.parametrize("rows", [2, 16, 31, 64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_transposed_matrix_is_copied_before_the_loop(rows, dtype):
    h, w = matrix(rows, 80, dtype=dtype), matrix(80, 80, dtype=dtype)
    assert before_the_loop(same(steps(lambda h, w: h @ w.T), h, w)).count("strips") == 1
    assert "strips" not in before_the_loop(same(steps(lambda h, w: h @ w), h, w))


@pytest.mark.parametrize("step", [
    lambda h, w: w @ h, lambda h, w: w.T @ h, lambda h, w: (h.T @ w).T,
    lambda h, w: h @ w.T + h @ w, lambda h, w: h @ w.T * w, lambda h, w: h @ w.T + w.T.sum(0),
    lambda h, w: h @ w[::2].T.repeat(1, 2), lambda h, w: h @ (w.T @ w.T),
])
def test_a_matrix_may_be_read_in_any_way(step):
    same(steps(step), matrix(160, 160), matrix(160, 160))


def test_part_of_a_matrix():
    same(steps(lambda h, w: h @ w.T), matrix(9, 40), matrix(80, 90)[7:47, 11:51])
    same(steps(lambda h, w: h @ w.T), matrix(9, 40), matrix(90, 80)[11:51, 7:47].T)
    same(steps(lambda h, w, v: h @ w.T + h @ v.T), *(matrix(40, 40) for _ in "hwv"))


def test_a_loop_in_a_loop_and_one_that_may_not_begin():
    w = matrix(64, 64)

    def inner(h):
        return tg.fori_loop(0, 3, lambda _, h: tg.tanh(h @ w.T), h)

    same(lambda h: tg.scan(lambda h, x: (inner(h) + x, h), h, tg.ones(4, 1, 1))[0], matrix(5, 64))
    for most in (0, 3):
        def run(h, most=most):
            return tg.while_loop(
                lambda i, h: i < most, lambda i, h: (i + 1, tg.tanh(h @ w.T)), (tg.tensor(0), h)
            )[1]
        same(run, matrix(5, 64))


def test_a_matrix_that_the_step_then_changes():
    w, h = matrix(48, 48), matrix(6, 48)

    @tg.compile
    def step(h):
        y = tg.fori_loop(0, 4, lambda _, h: tg.tanh(h @ w.T), h)
        w.mul_(0.5)
        return y

    for _ in range(3):
        expected = h
        for _ in range(4):
            expected = tg.tanh(expected @ w.T)
        np.testing.assert_allclose(step(h).numpy(), expected.numpy(), rtol=2e-5, atol=2e-6)


def test_gradients_read_the_same_matrix_the_other_way():
    def loss(w, h):
        return (steps(lambda h, w: h @ w.T)(h, w) ** 2).sum()

    same(tg.func.grad(loss), matrix(64, 64), matrix(16, 64))


def test_how_a_copy_lies():
    tall = View((64, 40), (1, 64), 3)
    view, size, _ = lying(tall, float32, False)
    assert view.shape == tall.shape and view.strides[1] == 1 and size == 64 * view.strides[0]
    assert view.strides[0] >= 40 and view.offset == 0
    assert lying(tall, float32, True) is None
    assert lying(View((40, 64), (64, 1)), float32, False) is None
    view, size, _ = lying(View((40, 64), (64, 1)), float32, True)
    assert view.strides[0] == 1 and size == 64 * view.strides[1]
    for strides in ((0, 1), (1, 0), (0, 0), (3, 2), (-1, 64), (1, 3), (1, 1)):
        assert lying(View((64, 40), strides), float32, False) is None


def test_which_inputs_are_matrices_of_products():
    h, w, v = (input_node((64, 64), float32) for _ in range(3))
    body = Graph((h, w, v), (dot(h, transpose(w)), v))
    assert by_columns(body)[w] and v not in by_columns(body)
    assert not by_columns(Graph((h, w), (dot(h, w),)))[w]


def test_a_matrix_that_products_pack_in_any_case_is_not_copied():
    for rows, copied in ((16, True), (400, False)):
        h, w = input_node((rows, 256), float32), input_node((512, 256), float32)
        assert (w in by_columns(Graph((h, w), (dot(h, transpose(w)),)))) is copied
