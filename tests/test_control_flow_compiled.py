"""Loops in compiled functions: they stay loops, whatever their length, and are asked nothing."""

from __future__ import annotations

import numpy as np
import pytest
from both_autograds import same
from compiled import traces

import tracegrad as tg
from tracegrad.ir.op import Kind
from tracegrad.ir.ops.contract import dot

RNG = np.random.default_rng(3)
B = RNG.standard_normal(3)


def loops(compiled, *args) -> int:
    """How many results of loops and branches there are in the graph of a call."""
    compiled(*args)
    return sum(y.op.kind is Kind.LOOP for y in compiled.graph().order())


def test_the_length_of_a_loop_does_not_grow_its_graph():
    sizes = []
    for n in (4, 64):
        compiled = tg.compile(lambda x, w, b: tg.scan(
            lambda h, v: (tg.tanh(h @ w + v + b), h * 2), tg.zeros(3), x))
        assert loops(compiled, tg.ones(n, 3), tg.ones(3, 3), tg.ones(3)) == 2
        sizes.append(len(compiled.graph().order()))
    assert sizes[0] == sizes[1]


def test_the_gradient_of_a_weight_is_one_product_over_all_times():
    def f(x, w):
        def step(h, v):
            h = tg.tanh(v @ w + h)
            return h, h

        w = w.detach().requires_grad_()
        h, ys = tg.scan(step, x[0] @ w, x)
        return tg.autograd.grad(ys.sum(), w)[0]

    compiled = tg.compile(f)
    x, w = tg.tensor(RNG.standard_normal((6, 4, 5))), tg.tensor(RNG.standard_normal((5, 3)))
    same([compiled(x, w)], [f(x, w)])
    products = [y for y in compiled.graph().order() if y.op is dot]
    assert (5, 24) in [y.inputs[0].shape for y in products]


def test_a_branch_runs_without_asking_which():
    def f(p, x):
        x = x.detach().requires_grad_()
        y = tg.cond(p, lambda: {"y": x.exp()}, lambda: {"y": -x})["y"]
        return y, tg.autograd.grad(y.sum(), x)[0]

    compiled = tg.compile(f)
    for p in (True, False, True):
        same(compiled(tg.tensor(p), tg.tensor(B)), f(tg.tensor(p), tg.tensor(B)))
    assert traces(compiled) == 1
    assert loops(compiled, tg.tensor(True), tg.tensor(B)) == 2


@pytest.mark.parametrize(("other", "words"), [
    (lambda x: (x, x), r"false_fn .* returned the result of the structure \(\*, \*\), where \* is"),
    (lambda x: x.double(), r"returned the result float64\[3\], where float32\[3\] is expected: s"),
    (lambda x: x[:1], r"returned the result float32\[1\]"),
])
def test_branches_that_do_not_fit_are_refused(other, words):
    with pytest.raises(RuntimeError, match=words):
        tg.compile(lambda x: tg.cond(x.sum() > 0, lambda x: x, other, (x,)))(tg.ones(3))


def test_a_loop_is_one_program_for_any_number_of_iterations():
    def f(x, n):
        return tg.while_loop(lambda i, x: i < n, lambda i, x: (i + 1, x * 2), (0, x))[1]

    compiled = tg.compile(f)
    for n in (0, 3, 100):
        same([compiled(tg.ones(2), tg.tensor(n))], [f(tg.ones(2), tg.tensor(n))])
    assert traces(compiled) == 1


def test_a_loop_that_is_differentiated_finds_room_for_any_number_of_iterations():
    def f(x, n):
        x = x.detach().requires_grad_()
        y = tg.while_loop(lambda i, x: i < n, lambda i, x: (i + 1, (x * 1.01).sin()), (0, x))[1]
        return y, tg.autograd.grad(y.sum(), x)[0]

    compiled = tg.compile(f)
    for n in (0, 3, 32, 33, 200, 97, 5):
        same(compiled(tg.tensor(B), tg.tensor(n)), f(tg.tensor(B), tg.tensor(n)))


@pytest.mark.parametrize("most", [None, 5])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_without_an_iteration_the_gradient_is_that_of_the_first_carry(n, most):
    """The body reads neither of the carries that it gives."""

    def f(x):
        def last(x):
            return tg.while_loop(lambda i, a, b: i < n, lambda i, a, b: (i + 1, b * 2, x.sin()),
                                 (tg.tensor(0), x * 0.5, x.cos()), max_iterations=most)[1]

        first = tg.func.grad(lambda x: (last(x) ** 2).sum())
        return first(x), tg.func.grad(lambda x: first(x).sum())(x), tg.func.jvp(last, (x,), (x,))

    def plain(x):
        return (x * 0.5, x.cos() * 2, x.sin() * 2)[n]

    x = tg.tensor(B)
    found, tangents = f(x), tg.func.jvp(plain, (x,), (x,))
    same(found[2], tangents)
    same([found[0]], [tg.func.grad(lambda x: (plain(x) ** 2).sum())(x)])
    first, second, both = tg.compile(f)(x)
    same([first, second, *both], [found[0], found[1], *tangents])


def test_examples_of_a_vmap_share_a_loop_that_is_differentiated_outside():
    def one(xs, h, w):
        def step(carry, x):
            h, s = carry
            h = tg.tanh(h @ w + x)
            return (h, s + h), h * x

        (h, s), ys = tg.scan(step, (h, tg.zeros(3, dtype=w.dtype)), xs)
        return (h + s).sin().sum() + (ys * ys).sum()

    def f(xs, h, w):
        def total(w, h, xs):
            return tg.vmap(lambda x: one(x, h, w), 1)(xs).cos().sum()

        return tg.func.grad(total, (0, 1, 2))(w, h, xs)

    xs, w = tg.tensor(RNG.standard_normal((5, 7, 3))), tg.tensor(RNG.standard_normal((3, 3)))
    compiled = tg.compile(f)
    same(compiled(xs, tg.tensor(B), w), f(xs, tg.tensor(B), w))
    bodies = {y.params["body"] for y in compiled.graph().order() if y.op.kind is Kind.LOOP}
    assert len(bodies) == 2  # forward and backward
