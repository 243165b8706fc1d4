"""Values together with everything else: random numbers, buffers, gradients, hooks, transforms,
selections in autograd, loss scaling; in lockstep with the eager function and with torch.
"""

from __future__ import annotations

import math

import pytest
from values import lockstep

PROGRAMS = {}


def program(make):
    PROGRAMS[make.__name__] = make
    return make


def inputs(T, count=8):
    return [
        T.tensor([math.sin(k * 1.7) * 3, math.cos(k * 2.3) * 2, 0.1 * k - 0.5])
        for k in range(count)
    ]


def weight(T):
    return T.tensor([1.0, -1.0, 2.0], requires_grad=True)


@program
def a_gradient_is_read_before_the_cut(T, compile):
    w = weight(T)

    @compile
    def f(x):
        s = (w.grad * x).sum().item()
        w.grad.mul_(0.5)
        return x * s

    w.grad = T.ones(3)
    for k, x in enumerate(inputs(T)):
        if k == 4:
            w.grad = T.full((3,), 7.0)
        yield f(x), w.grad.clone()


@program
def a_buffer_is_bound_anew(T, compile):
    m = T.nn.Module()
    m.total = T.zeros(3)

    @compile
    def f(x):
        m.total = m.total + x
        n = m.total.norm().item()
        if n > 2:
            m.total = m.total / n
        return m.total * n

    for x in inputs(T, 20):
        yield f(x), m.total


@program
def backward_comes_later_and_for_several_ways(T, compile):
    w = weight(T)

    @compile
    def f(x):
        y = (w * x).tanh()
        if y.sum() > 0:
            return (y * y.mean().item()).sum()
        return (y.exp() * w).sum()

    for k in range(5):
        losses = [f(x) for x in inputs(T, 4 * k + 4)[-4:]]
        w.grad = None
        for loss in losses:
            loss.backward()
        yield w.grad.clone(), [loss.detach() for loss in losses]


@program
def a_second_derivative(T, compile):
    f = compile(lambda w, x: ((y := (w * x).sin()) * y.sum().item()).sum())
    for x in inputs(T, 4):
        w = weight(T)
        (g,) = T.autograd.grad(f(w, x), w, create_graph=True)
        (h,) = T.autograd.grad(g.pow(2).sum(), w)
        yield g.detach(), h


@program
def a_hook_looks(T, compile):
    w = weight(T)

    @compile
    def f(x):
        w.grad = None
        y = w * x
        y.register_hook(lambda g: g / max(g.abs().max().item(), 1e-3) if g.sum() > 0 else g)
        y.pow(2).sum().backward()
        return y.detach()

    for x in inputs(T):
        yield f(x), w.grad


@program
def scales_its_loss(T, compile):
    w = T.nn.Parameter(weight(T).detach())
    optimizer = T.optim.SGD([w], lr=0.1)
    state = {"scale": 4.0, "good": 0}

    @compile
    def step(x):
        optimizer.zero_grad()
        loss = (w * x).pow(2).sum() * state["scale"]
        loss.backward()
        if T.isfinite(w.grad).all():
            w.grad.div_(state["scale"])
            optimizer.step()
            state["good"] += 1
        else:
            state["scale"] *= 0.5
            state["good"] = 0
        return loss.item()

    for k, x in enumerate(inputs(T, 12)):
        yield step(x * math.inf if k % 5 == 4 else x), w.detach().clone(), dict(state)


@program
def searches_along_a_line(T, compile):
    w = weight(T)

    def loss_at(v):
        return (v**4).sum() + (v * v).sum()

    @compile
    def step():
        w.grad = None
        loss = loss_at(w)
        loss.backward()
        rate, before, slope = 1.0, loss.item(), w.grad.pow(2).sum().item()
        with T.no_grad():
            while loss_at(w - rate * w.grad).item() > before - 0.5 * rate * slope:
                rate *= 0.5
                if rate < 1e-6:
                    break
            w.sub_(rate * w.grad)
        return before, rate

    for _ in range(10):
        yield step(), w.detach().clone()


@program
def keeps_the_best(T, compile):
    @compile
    def f(boxes, scores):
        kept, alive = [], T.ones(len(scores), dtype=T.bool)
        for i in scores.argsort(descending=True):
            if alive[i]:
                kept.append(i.item())
                alive = alive & ((boxes - boxes[i]).abs() > 0.5)
        return kept, boxes[kept]

    for k in range(5):
        yield f(T.tensor([0.1, 0.3, 0.9 * k, 2.0]), T.tensor([0.5, 0.9, 0.3, 0.7 * (k % 2)]))


# ---- selections in autograd
@program
def a_function_of_a_selection(T, compile):
    class Cube(T.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 3 * x * x * g

    w = weight(T)

    @compile
    def f(x):
        w.grad = None
        y = w * x
        z = Cube.apply(y[y > 0])
        z.sum().backward()
        return z.detach()

    for x in inputs(T):
        yield f(x), w.grad


@program
def a_selection_is_counted_without_a_gradient(T, compile):
    w = weight(T)

    @compile
    def f(x):
        w.grad = None
        y = w * x
        chosen = y[y > 0]
        with T.no_grad():
            n = chosen.numel()
        (chosen.sum() * n).backward()
        return chosen.detach(), n

    for x in inputs(T):
        yield f(x), w.grad


@program
def a_selection_goes_on_outside(T, compile):
    w = weight(T)
    f = compile(lambda x: (w * x)[(w * x) > 0] ** 2)
    for x in inputs(T):
        w.grad = None
        y = f(x)
        (y * T.arange(float(len(y)))).sum().backward()
        yield y.detach(), w.grad


@program
def selections_and_what_is_written_between(T, compile):
    @compile
    def f(x):
        before = x[x > 0]
        x.mul_(10)
        after = x[x > 0]
        x[x > 5] = 0
        return before, after, x[x == 0], x.clone()

    for x in inputs(T):
        yield f(x), x


@program
def a_selection_in_an_attribute(T, compile):
    class Store:
        chosen = None

    store = Store()
    store.chosen = None

    @compile
    def f(x):
        store.chosen = x[x > 0]
        return x.sum()

    for x in inputs(T):
        yield f(x), store.chosen


@program
def transforms_of_selections(T, compile):
    grad = compile(lambda x: T.func.grad(lambda v: v.pow(2).sum() * v.sum().detach())(x[x > 0]))
    many = compile(lambda x: T.func.vmap(lambda r: r * 2)(x[x.abs() > 0.2]))
    for x in inputs(T):
        yield grad(x), many(x)


@pytest.mark.parametrize("name", PROGRAMS)
def test_in_lockstep(name):
    assert all(f.cache_info().misses < 12 for f in lockstep(PROGRAMS[name]))
