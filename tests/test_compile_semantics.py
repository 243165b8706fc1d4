"""Scenes (scenes.py) about memory: answers that are views, and what is changed in place."""

from __future__ import annotations

import pytest
from scenes import WORLDS, check, collection

SCENES, scene = collection()


# ---- answers that are somebody else's memory
@scene
def views_of_arguments(T, C, see):
    f = C(lambda x: (x.view(-1), x[0], x.detach(), x.t()))
    for _ in range(2):
        x = T.zeros(2, 2)
        flat, row, bare, across = f(x)
        flat.add_(1)
        row.mul_(3)
        bare[1] = 7.0
        across[0, 1] = 5.0
        see(x, flat, row, bare, across)


@scene
def views_of_answers(T, C, see):
    w = T.ones(2, 2, requires_grad=True)

    @C
    def f(x):
        y = w * x
        return y, y.view(-1), y[0], y.detach()

    for _ in range(2):
        y, flat, row, bare = f(T.full((2, 2), 2.0))
        row.mul_(3)
        see(y, flat, row, bare)
        flat.sum().backward()
        see(w.grad)


@scene
def a_copy_of_a_detached_view_that_was_written(T, C, see):
    w = T.tensor([1.0, 2.0], requires_grad=True)

    @C
    def f(b):
        v = b.detach()
        v[0].add_(w[1])
        return b, v.clone()

    b, v = f(T.zeros(2, 2))
    see(b, v)
    v.sum().backward()
    see(w.grad)


@scene
def views_of_what_is_not_returned(T, C, see):
    @C
    def f(x):
        y = x + 1
        return y.view(-1), y.t(), *y.unbind(0)

    flat, across, first, _ = f(T.zeros(2, 2))
    flat.mul_(3)
    across[0, 1] = 7.0
    see(flat, across, len(first))


@scene
def views_of_parameters(T, C, see):
    w = T.tensor([1.0, 2.0], requires_grad=True)
    f = C(lambda: (w.view(2, 1), w.detach(), w))
    for _ in range(2):
        v, bare, same = f()
        bare.mul_(2)
        v.sum().backward()
        see(w, v, w.grad, same is w)


@scene
def views_made_without_grad(T, C, see):
    @C
    def f(x):
        with T.no_grad():
            bare = x.detach().view(-1)
        return bare, x.view(-1)

    x = T.zeros(2, 2, requires_grad=True)
    for _ in range(2):
        bare, tracked = f(x)
        bare.add_(1)
        see(x, bare, tracked)


@scene
def views_of_what_is_changed(T, C, see):
    @C
    def f(x):
        v = x.view(-1)
        v.add_(1)
        x.mul_(2)
        return v, x[0]

    for _ in range(2):
        x = T.ones(2, 2)
        v, row = f(x)
        v.add_(1)
        see(x, v, row)


@scene
def gradients_are_returned(T, C, see):
    w = T.tensor([2.0, 3.0], requires_grad=True)

    @C
    def f(x):
        old = w.grad
        w.grad = None
        (w * x).sum().backward()
        return old, w.grad

    held = [f(T.full((2,), float(k))) for k in range(4)]
    see(*(g for pair in held for g in pair))
    see(held[1][0] is held[0][1], held[-1][1] is w.grad)


# ---- in place on what has a history, or gets one
@scene
def an_argument_gets_a_history(T, C, see):
    w = T.tensor([2.0, 3.0], requires_grad=True)
    f = C(lambda h: h.mul_(w))
    for make in (lambda: T.ones(2), lambda: w * 3, lambda: (w * 3)[:]):
        for _ in range(2):
            h = make()
            see(f(h) is h, h)
            (h * h).sum().backward()
            see(w.grad)


@scene
def a_view_of_a_tensor_outside_is_changed(T, C, see):
    w = T.tensor([2.0, 3.0], requires_grad=True)

    @C
    def f(row):
        row.mul_(w)

    for _ in range(2):
        base = T.ones(3, 2) * w
        f(base[1])
        see(base)
        (base * base).sum().backward()
        see(w.grad)


@scene
def a_captured_tensor_gets_a_history(T, C, see):
    w, total = T.tensor([2.0, 3.0], requires_grad=True), T.zeros(2)

    @C
    def f(x):
        total.add_(w * x)
        return total.sum()

    for _ in range(3):
        see(f(T.ones(2)), total)
    total.sum().backward()
    see(w.grad)


@scene
def the_gradient_of_what_an_argument_was(T, C, see):
    w = T.tensor([2.0, 3.0], requires_grad=True)

    @C
    def f(h):
        h.mul_(h * 2)
        return h.sum()

    for _ in range(2):
        f(w * 3).backward()
        see(w.grad)


@scene
def a_gradient_is_changed_and_dropped(T, C, see):
    w = T.ones(2, requires_grad=True)

    @C
    def step(x):
        ((x * w) ** 2).sum().backward()
        with T.no_grad():
            w.data -= 0.1 * w.grad
        w.grad = None

    w.grad = T.ones(2)
    for _ in range(3):
        step(T.ones(2))
        see(w, w.grad)


@scene
def an_argument_that_is_changed_is_another_tensor_each_time(T, C, see):
    w = T.tensor([2.0, 3.0], requires_grad=True)
    f = C(lambda h: h.mul_(w))
    for _ in range(3):
        f(T.ones(2))
    see(getattr(f, "cache_info", lambda: (0, 1))()[1], 0)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", SCENES)
def test_nobody_sees_a_difference(name, world):
    check(SCENES[name], world)
