"""Sums along rows of which all terms but one are 0 take no pass over the row."""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as T

F = T.nn.functional


def one_hot(x, k):
    return T.where(T.arange(x.shape[1]) == k[:, None], x, 0)


def picked(x, k):
    return one_hot(x, k).sum(1)


def agree(f, *args):
    compiled = T.compile(f)
    found, wanted = compiled(*args), f(*args)
    for c, e in zip(found, wanted, strict=True):
        np.testing.assert_allclose(c.numpy(), e.numpy(), rtol=1e-11, atol=1e-12)
    return compiled


@pytest.mark.parametrize("width", [1, 3, 9, 40, 700])
@pytest.mark.parametrize("rows", [1, 5, 200])
def test_a_number_of_each_row(rows, width):
    rng = np.random.default_rng(width)
    x = T.from_numpy(rng.standard_normal((rows, width)))
    k = T.from_numpy(rng.integers(-2, width + 2, rows))  # out of range: no term
    agree(lambda x, k: (picked(x, k), picked(x.exp() - x.amax(1, True), k), x.sum(1)), x, k)
    agree(lambda x, k: (one_hot(x * x.sum(1, True), k).sum(),), x, k)


def test_only_one_point_of_a_row_is_computed():
    compiled = agree(lambda x, k: (picked(x.exp(), k),), T.randn(20, 40).double(), T.arange(20))
    assert "for j0" not in compiled.source()


def test_what_is_not_picked_does_not_matter():
    x = T.full((3, 40), float("nan"))
    x[0, 5], x[1, 7], x[2, 1] = 2.0, float("inf"), -0.0
    y = T.compile(picked)(x, T.tensor([5, 7, 1])).numpy()
    assert y.tolist() == [2.0, float("inf"), 0.0] and not np.signbit(y[2])
    assert np.isnan(T.compile(picked)(x, T.tensor([6, 6, 6])).numpy()).all()


def test_narrow_and_wide_labels():
    x = T.randn(6, 40)
    for dtype in (T.int8, T.int32, T.int64):
        k = T.tensor([-128 if dtype is T.int8 else -(2**31), 0, 39, 40, 127, 1], dtype=dtype)
        wanted = [0, x[1, 0].item(), x[2, 39].item(), 0, 0, x[5, 1].item()]
        np.testing.assert_allclose(T.compile(picked)(x, k).numpy(), wanted)


@pytest.mark.parametrize("options", [{}, {"ignore_index": 3}, {"reduction": "sum"},
                                     {"label_smoothing": 0.1}, {"reduction": "none"}])
def test_cross_entropy_and_its_gradient(options):
    rng = np.random.default_rng(1)
    y = T.from_numpy(rng.integers(0, 40, 300))
    y[::7] = -100 if "ignore_index" not in options else 3

    def f(x, y):
        x = x.detach().requires_grad_()
        loss = F.cross_entropy(x, y, **options)
        (g,) = T.autograd.grad(loss.sum(), x)
        return loss.detach(), g

    agree(f, T.from_numpy(rng.standard_normal((300, 40))), y)


def test_a_label_out_of_range_is_still_an_error():
    y = T.tensor([1, 41, 2])
    with pytest.raises(IndexError, match="41"):
        T.compile(lambda x: F.cross_entropy(x, y))(T.randn(3, 40))


def test_indices_along_rows_are_all_looked_at():
    def f(x, table, k):
        return picked(table[x], k)

    x = T.zeros(4, 40, dtype=T.int64)
    x[2, 30] = 9
    with pytest.raises(IndexError, match="9"):
        T.compile(f)(x, T.randn(5), T.zeros(4, dtype=T.int64))
