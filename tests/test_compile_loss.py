"""A compiled function whose answer is gone back from outside, by backward or autograd.grad."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import line, same

import tracegrad as tg


def test_a_backward_through_a_compiled_loss_twice_is_an_error():
    w = tg.ones(2, requires_grad=True)
    loss_of = tg.compile(lambda x: ((x * w) ** 2).sum())
    loss = loss_of(tg.ones(2))
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
    kept = loss_of(tg.ones(2))
    kept.backward(retain_graph=True)
    kept.backward()
    same(w.grad, [6, 6])


def test_a_backward_through_a_finished_step_is_an_error():
    _, _, step = line()
    loss = step(tg.ones(1))
    assert loss.requires_grad
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_a_parameter_changed_before_backward_is_an_error():
    w = tg.ones(2, requires_grad=True)
    loss = tg.compile(lambda x: ((x * w) ** 2).sum())(tg.ones(2))
    with tg.no_grad():
        w.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_saved_value_changed_inside_is_an_error_by_every_way_back():
    def f(x, n):
        y = x * n
        n.add_(1)
        return y

    x, z = tg.ones(2, requires_grad=True), tg.ones(2, requires_grad=True)
    for made in (f, tg.compile(f)):
        for unused in ({}, {"allow_unused": True}, {"materialize_grads": True}):
            y = made(x, tg.ones(2)) + z * 3
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                tg.autograd.grad(y.sum(), x, **unused)
        (g,) = tg.autograd.grad(y.sum(), z, retain_graph=True)  # does not come by there
        same(g, [3, 3])
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


def test_a_saved_value_changed_by_data_is_refused_where_eager_takes_the_new_one():
    def backward_in(x, n):
        y = (x * n.exp()) ** 2
        n.data.add_(1)  # does not matter: exp() keeps its result
        y.sum().backward()
        return x.grad

    def backward_of_base(x, n):
        y = x * n
        n.data.add_(1)
        return tg.autograd.grad(y.sum(), x)

    def backward_of_data(x, n):
        y = x * n.data
        n.add_(1)
        return tg.autograd.grad(y.sum(), x)

    def outside(x, n):
        y = x * n
        n.data[0] = 7
        return y

    def leaf():
        return tg.ones(2, requires_grad=True)

    same(tg.compile(backward_in)(leaf(), tg.zeros(2)), backward_in(leaf(), tg.zeros(2)))
    for f in (backward_of_base, backward_of_data):
        same(*f(leaf(), tg.ones(2)), [2, 2])
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            tg.compile(f)(leaf(), tg.ones(2))
    x, n = leaf(), tg.ones(2)
    y = tg.compile(outside)(x, n)
    same(n, [7, 1])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_several_outputs_used_in_part():
    w = tg.ones(2, requires_grad=True)
    f = tg.compile(lambda x: {"a": (x * w).sum(), "b": ((x * w) ** 2).sum(), "n": x.sum()})
    x = tg.full((2,), 3.0)
    for use, expected in (("a", 3.0), ("b", 18.0), ("ab", 21.0)):
        out = f(x)
        assert not out["n"].requires_grad
        w.grad = None
        sum((out[k] for k in use), tg.zeros(())).backward()
        same(w.grad, [expected] * 2)
    out = f(x)
    w.grad = None
    out["a"].backward(retain_graph=True)
    out["b"].backward()
    same(w.grad, [21, 21])


def test_gradients_flow_through_and_past_compiled_calls():
    f = tg.compile(lambda x: x.sin() * 2)
    x = tg.ones(3, dtype=tg.float64, requires_grad=True)
    (f(f(x)) * x + f(x)).sum().backward()
    torch = pytest.importorskip("torch")
    z = torch.ones(3, dtype=torch.float64, requires_grad=True)
    g = lambda t: t.sin() * 2  # noqa: E731
    (g(g(z)) * z + g(z)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), z.grad.numpy(), rtol=1e-12)


def test_a_non_scalar_answer_takes_a_gradient():
    x = tg.ones(3, requires_grad=True)
    y = tg.compile(lambda t: t * t)(x)
    with pytest.raises(RuntimeError, match="scalar outputs"):
        y.backward()
    y.backward(tg.tensor([1.0, 2.0, 3.0]))
    same(x.grad, [2, 4, 6])


def test_autograd_grad_inside_and_outside():
    square = lambda t: (t**3).sum()  # noqa: E731
    inside = tg.compile(lambda t: tg.autograd.grad(square(t), t)[0])
    x = tg.full((2,), 2.0, requires_grad=True)
    same(inside(x).detach(), [12, 12])
    same(tg.autograd.grad(tg.compile(square)(x), x)[0], [12, 12])
    assert x.grad is None


def test_second_derivatives_inside():
    @tg.compile
    def curvature(t):
        (g,) = tg.autograd.grad((t**3).sum(), t, create_graph=True)
        return tg.autograd.grad(g.sum(), t)[0]

    x = tg.full((2,), 2.0, requires_grad=True)
    for _ in range(2):
        same(curvature(x).detach(), [12, 12])


def test_hooks_on_leaves_are_called():
    w = tg.ones(2, requires_grad=True)
    seen = []
    w.register_hook(lambda g: seen.append(g.clone()) or g * 10)
    loss = tg.compile(lambda x: (x * w).sum())(tg.ones(2))
    loss.backward()
    same(w.grad, [10, 10])
    same(seen[0], [1, 1])


def test_hooks_come_and_go_with_a_whole_step():
    w, optimizer, step = line()
    optimizer.param_groups[0]["lr"] = 0.0
    step(tg.full((1,), 2.0))
    same(w.grad, [4])
    handle = w.register_hook(lambda g: g * 10)
    for _ in range(2):
        step(tg.full((1,), 2.0))
        same(w.grad, [40])
    handle.remove()
    step(tg.full((1,), 2.0))
    same(w.grad, [4])


def test_no_grad_inside_is_kept():
    w = tg.ones(2, requires_grad=True)

    @tg.compile
    def f(x):
        with tg.no_grad():
            scale = (w * 3).sum()
        return (x * w).sum() * scale

    f(tg.ones(2)).backward()
    same(w.grad, [6, 6])


def test_detached_answers_need_no_gradient():
    w = tg.ones(2, requires_grad=True)
    y = tg.compile(lambda x: (x * w).detach())(tg.ones(2))
    assert not y.requires_grad and y.grad_fn is None


def test_one_input_twice_gets_both_gradients():
    f = tg.compile(lambda a, b: (a * b).sum())
    x, y = tg.full((2,), 3.0, requires_grad=True), tg.full((2,), 5.0, requires_grad=True)
    for a, b, gx in ((x, x, 6.0), (x, y, 5.0), (x, x, 6.0)):
        x.grad = None
        f(a, b).backward()
        same(x.grad, [gx, gx])
