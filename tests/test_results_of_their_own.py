"""A result that is made by a last reshape, out of sight, is no view: torch has none there."""

from __future__ import annotations

import pytest

import tracegrad

torch = pytest.importorskip("torch")

FUNCTIONS = {
    "cummin": lambda T, x: T.cummin(x, 1)[0],
    "cummax of one number": lambda T, x: T.cummax(x[0, 0], 0).values,
    "sort": lambda T, x: T.sort(x, 0).values,
    "msort": lambda T, x: T.msort(x),
    "median": lambda T, x: T.median(x, 1).values,
    "kthvalue": lambda T, x: T.kthvalue(x, 1, 0).values,
    "topk": lambda T, x: T.topk(x, 2).values,
    "logsumexp": lambda T, x: T.logsumexp(x, 0),
    "norm": lambda T, x: T.norm(x, 3, 0, keepdim=True),
    "var": lambda T, x: T.var(x, 0, keepdim=True),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_can_be_detached_in_place(name):
    seen = []
    for T in (tracegrad, torch):
        x = T.tensor([[1.0, 3.0, 2.0], [6.0, 5.0, 4.0]], requires_grad=True)
        y = FUNCTIONS[name](T, x)
        assert not y._is_view() and y._base is None and y.storage_offset() == 0
        (slope,) = T.autograd.grad((y * y).sum(), x, retain_graph=True)
        with T.no_grad():
            y.mul_(2)
        y.detach_()
        seen.append((y.requires_grad, *y.flatten().tolist(), *slope.flatten().tolist()))
    assert seen[0] == pytest.approx(seen[1])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_write_to_it_in_a_compiled_function(name):
    def f(x):
        y = FUNCTIONS[name](tracegrad, x)
        y.mul_(2)
        y.detach_()
        return y

    def data():
        return tracegrad.tensor([[1.0, 3.0, 2.0], [6.0, 5.0, 4.0]], requires_grad=True)

    y = tracegrad.compile(f)(data())
    assert tracegrad.allclose(y, f(data())) and not y.requires_grad


def test_a_function_that_ends_with_a_view_in_torch_does_here():
    for T in (tracegrad, torch):
        x = T.ones(2, 6, requires_grad=True)
        F = T.nn.functional
        assert all(y._is_view() for y in (F.avg_pool1d(x, 2), T.inner(x, x), F.max_pool1d(x, 3)))


def test_a_view_of_an_argument_stays_one():
    x = tracegrad.ones(2, 3, requires_grad=True) * 2
    for y in (x.unflatten(1, (3, 1)), x.view(-1), tracegrad.chunk(x, 3, 1)[1], x.squeeze(0)):
        assert y._is_view() and y._base is x
        with pytest.raises(RuntimeError, match="Can't detach views in-place"):
            y.detach_()


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - {"logsumexp", "norm"}))
def test_a_write_to_it_that_is_recorded(name):
    slopes = []
    for T in (tracegrad, torch):
        x = T.tensor([[1.0, 3.0, 2.0], [6.0, 5.0, 4.0]], requires_grad=True)
        y = FUNCTIONS[name](T, x)
        y.sin_()
        y.sum().backward()
        slopes.append(x.grad.flatten().tolist())
    assert slopes[0] == pytest.approx(slopes[1])
