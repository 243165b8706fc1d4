"""Loops whose length depends on values, in loops and branches: they stay loops."""

from __future__ import annotations

import pytest
from both_autograds import same

import tracegrad as tg
from tracegrad import func
from tracegrad.ir.op import Kind

W = tg.tensor([1.3, 1.1], dtype=tg.float64)


def repeated(n, f, x):
    return tg.while_loop(lambda i, x: i < n, lambda i, x: (i + 1, f(x)), (tg.tensor(0), x))[1]


def while_in_while(x, w):
    def body(i, x):
        return i + 1, repeated(i + 1, lambda x: tg.sin(x) * w, x)

    return tg.while_loop(lambda i, x: i < 4, body, (tg.tensor(0), x))[1].sum()


def while_in_a_branch(x, w):
    return tg.cond(
        x.sum() > 0, lambda x: tg.while_loop(lambda y: y.sum() < 9, lambda y: (y * w + 0.5,), (x,)),
        lambda x: (x * w,), (x,))[0].sum()


def branch_in_while(x, w):
    def body(x):
        return tg.cond(x.sum() > 1, lambda x: x * 0.5 * w, lambda x: x + w.sin(), (x,))

    return repeated(x.detach().sum().abs() + 5, body, x).sum()


def fori_in_fori(x, w):
    n = (x.detach().sum() * 3).abs().long()
    return tg.fori_loop(0, 4, lambda i, x: tg.fori_loop(
        0, n + i, lambda j, x: tg.tanh(x * w + j * 0.1), x), x).sum()


def scan_in_while_in_scan(x, w):
    def body(h, x):
        def inner(h):
            return tg.scan(lambda h, k: (tg.sin(h * w + k), None), h, tg.arange(3.0))[0]

        y = repeated(3, inner, h + x)
        return y, y

    h, ys = tg.scan(body, tg.zeros(2, dtype=tg.float64), tg.stack([x, x * 2]))
    return (ys * ys).sum() + h.sum()


def long_ones(x, w):
    def body(h, k):
        y = repeated(k, lambda y: tg.sin(y * w) + 0.1, h)
        return y, y.sum()

    h, ys = tg.scan(body, x, tg.tensor([3, 50, 0, 70]))
    return h.sum() + ys.sum()


def while_in_a_condition(x, w):
    def less(i, x):
        (k,) = tg.while_loop(lambda k: k * 2 < i, lambda k: (k + 1,), (tg.tensor(0),))
        return k < 4

    return tg.while_loop(less, lambda i, x: (i + 1, x * w + 0.1), (tg.tensor(0), x))[1].sum()


def bounded(x, w):
    def body(h, x):
        (y,) = tg.while_loop(lambda y: y.sum() < 9, lambda y: (y * w.abs() + 0.3,), (x.abs(),),
                             max_iterations=40)
        return h * 0.5 + y, None

    return tg.scan(body, tg.zeros(2, dtype=tg.float64), tg.stack([x, x * 2]))[0].sum()


def bounded_from_afar(x, w):
    def body(h, x):
        (y,) = tg.while_loop(lambda y: y.sum() < 9, lambda y: (y + 0.1 * w.abs(),), (x.abs(),),
                             max_iterations=50_000)
        return h * 0.5 + y, None

    return tg.scan(body, tg.zeros(2, dtype=tg.float64), tg.stack([x, x * 2]))[0].sum()


def written(x, w):
    total = tg.zeros(2, dtype=tg.float64)

    def body(h, x):
        def inner(h):
            total.add_(h.detach())
            return tg.tanh(h * w + x)

        y = repeated(3, inner, h)
        return y, y * total.clone()

    h, ys = tg.scan(body, tg.zeros(2, dtype=tg.float64), tg.stack([x, x * 2]))
    return ys.sum() + h.sum() + total.sum()


PROGRAMS = [while_in_while, while_in_a_branch, branch_in_while, fori_in_fori, long_ones,
            scan_in_while_in_scan, while_in_a_condition, bounded, bounded_from_afar, written]


def gradients(f, *args, **how):
    return tg.autograd.grad(f(*args), args, create_graph=True, **how)


def value(f, x, w):
    return f(x, w)


def second(f, x, w):
    a, b = gradients(f, x, w)
    return tg.autograd.grad(a.sum() + (b * b).sum(), (x, w))


def tangent(f, x, w):
    return func.jvp(f, (x, w), (tg.ones_like(x), w))


def examples(f, x, w):
    return func.vmap(func.grad(f, (0, 1)), in_dims=(0, None))(tg.stack([x, -x, 5 * x]), w)


def around_examples(f, x, w):
    def whole(x, w):
        return func.vmap(f, in_dims=(0, None))(tg.stack([x, -x, 5 * x]), w).sum()

    return gradients(whole, x, w)


def at_several(function):
    for factor in (1, 3, 0.01):
        x = (factor * tg.tensor([0.4, 0.3], dtype=tg.float64)).requires_grad_()
        yield function(x, W.clone().requires_grad_())


HOW = [value, gradients, second, tangent, examples, around_examples]
FAST = {(f, how) for f in PROGRAMS for how in (value, gradients)} | {
    (long_ones, around_examples), (while_in_while, second), (branch_in_while, examples)}
CASES = [pytest.param(f, how, id=f"{f.__name__}-{how.__name__}",
                      marks=() if (f, how) in FAST else pytest.mark.slow)
         for f in PROGRAMS for how in HOW]


@pytest.mark.parametrize(("program", "how"), CASES)
def test_a_loop_in_a_loop_is_one(program, how):
    def function(x, w):
        return how(program, x, w)

    compiled = tg.compile(function)
    for got, wanted in zip(at_several(compiled), at_several(function), strict=True):
        same(got, wanted)
    order = compiled.graph().order()
    assert any(y.op.kind is Kind.LOOP for y in order)
    assert len(order) < 400


def test_a_program_without_derivatives_is_asked_nothing():
    def newton(xs):
        def root(_, x):
            (y,) = tg.while_loop(lambda y: (y * y - x).abs() > 1e-9,
                                 lambda y: (0.5 * (y + x / y),), (x + 1,))
            return _, y

        return tg.scan(root, tg.zeros(()), xs)[1]

    xs = tg.tensor([2.0, 9.0, 1e6], dtype=tg.float64)
    same(tg.compile(newton, fullgraph=True)(xs), xs.sqrt())
    with pytest.raises(RuntimeError, match="fullgraph=True, but the function looks at the value"):
        tg.compile(lambda x: tg.autograd.grad(newton(x).sum(), x)[0], fullgraph=True)(
            xs.requires_grad_())


@pytest.mark.parametrize("how", [gradients, second], ids=lambda f: f.__name__)
@pytest.mark.parametrize("checkpoints", [1, 7])
def test_checkpoints_of_a_while_loop_keep_as_many_states(how, checkpoints):
    def f(x, w, **options):
        loop = tg.while_loop(lambda i, h: i < n, lambda i, h: (i + 1, tg.sin(h * w) + 0.1 * i),
                             (tg.tensor(0), x), max_iterations=300, **options)
        return loop[1].sum() + 0 * (x * w).sum()

    compiled = tg.compile(lambda n_, x, w: how(lambda x, w: f(x, w, checkpoints=checkpoints), x, w))
    n = tg.tensor(0)
    for length in (0, 1, 3, 100, 300, 2):
        n.fill_(length)
        x = tg.tensor([0.4, 0.3], dtype=tg.float64, requires_grad=True)
        w = W.clone().requires_grad_()
        same(compiled(n, x, w), how(f, x, w))
    if checkpoints > 1:
        once = tg.compile(lambda x, w: tg.autograd.grad(f(x, w, checkpoints=checkpoints), (x, w)))
        once(x, w)
        assert max(y.size for y in once.graph().order()) <= 2 * checkpoints
    n.fill_(301)
    with pytest.raises(RuntimeError, match="holds after max_iterations=300"):
        compiled(n, x, w)


def test_the_body_of_an_epoch_differentiates_a_loop():
    def train(way):
        w = tg.ones(2, dtype=tg.float64, requires_grad=True)
        optimizer = tg.optim.SGD([w], lr=0.01)

        def step(total, x):
            optimizer.zero_grad()
            loss = (repeated(x.sum(), lambda h: tg.tanh(h * w + x), x) ** 2).sum()
            loss.backward()
            optimizer.step()
            return total + loss.detach(), None

        epoch = way(lambda xs: tg.scan(step, tg.zeros((), dtype=tg.float64), xs)[0])
        return [epoch(n * tg.ones(3, 2, dtype=tg.float64)) for n in (1, 2, 25)], w.detach()

    (totals, w), (eager, v) = train(tg.compile), train(lambda f: f)
    same([*totals, w], [*eager, v])


def test_a_loop_that_is_only_a_check_stays_one():
    """Its result is read by nobody; simplification comes to an end."""
    table = tg.ones(3, 2)

    @tg.compile
    def f(x, i):
        tg.map(lambda v: table.index_select(0, i) * v, x)
        return x * 2

    assert f(tg.ones(5, 2), tg.tensor([1])).sum() == 20
    with pytest.raises(IndexError, match="index 3 is out of bounds"):
        f(tg.ones(5, 2), tg.tensor([3]))


def test_sections_within_a_loop_draw_no_numbers_inside_of_vmap():
    xs = tg.tensor([[0.4, 0.3], [1.0, -2.0], [0.5, 0.7]], dtype=tg.float64)

    def inner(h, v):
        return tg.scan(lambda k, u: (tg.sin(k * u + v), None), h, xs, checkpoints=2)[0], None

    f = func.vmap(lambda x: tg.scan(inner, x, xs)[0])
    same([tg.compile(f)(xs)], [f(xs)])
