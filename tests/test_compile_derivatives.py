"""Higher derivatives and transforms of compiled functions, against the functions run eagerly."""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as tg
from tracegrad import func
from tracegrad.tracer.pytree import flatten

RNG = np.random.default_rng(2)


def f(w, x):
    """What is detached, and what is computed without grad, are constants of the derivative."""
    with tg.no_grad():
        factor = w.exp()
    return ((x @ w).tanh() ** 2).sum() + (w * w.detach() * factor).sum()


def without_no_grad(w, x):
    """The same for forward mode, in which no_grad stops no tangent."""
    return ((x @ w).tanh() ** 2).sum() + (w * w.detach() * w.exp().detach()).sum()


def second(g):
    def both(w, x):
        first = tg.autograd.grad(g(w, x), (w, x), create_graph=True)
        return [*first, *tg.autograd.grad(sum((a * a).sum() for a in first), (w, x))]

    return both


CALLS = {
    "create_graph": second,
    "create_graph, in vmap": lambda g: lambda w, x: tg.autograd.grad(
        (y := g(w, x).expand(2)), w, tg.eye(2, dtype=y.dtype), is_grads_batched=True
    ),
    "grad": lambda g: func.grad(g, (0, 1)),
    "hessian": lambda g: func.hessian(g, (0, 1)),
    "jacrev jacrev": lambda g: func.jacrev(func.jacrev(g)),
    "jvp": lambda g: lambda w, x: func.jvp(g, (w, x), (w, x)),
    "per sample": lambda g: lambda w, x: func.vmap(func.grad(g), (None, 0))(w, x[:, None]),
    "hvp": lambda g: lambda w, x: tg.autograd.functional.hvp(lambda w: g(w, x), w, w),
}


def arguments(grad=True):
    return [tg.tensor(RNG.random(s), requires_grad=grad) for s in ((3, 2), (4, 3))]


@pytest.mark.parametrize("name", CALLS)
def test_a_compiled_function_is_transformed_like_any_other(name):
    program = without_no_grad if name in ("hessian", "jvp") else f
    w, x = arguments()
    found = flatten(CALLS[name](tg.compile(program))(w, x))[0]
    tg.testing.assert_close(found, flatten(CALLS[name](program)(w, x))[0])


@pytest.mark.parametrize("name", ["hessian", "jvp"])
@pytest.mark.parametrize("program", [f, tg.compile(f)], ids=["eager", "compiled"])
def test_no_grad_in_what_is_differentiated_in_both_modes_is_refused(name, program):
    with pytest.raises(NotImplementedError, match="no_grad stops the reverse mode"):
        CALLS[name](program)(*arguments())


def test_a_gradient_penalty_of_a_compiled_module():
    model = tg.nn.Sequential(tg.nn.Linear(3, 4), tg.nn.Tanh(), tg.nn.Linear(4, 1)).double()
    x = tg.tensor(RNG.random((5, 3)), requires_grad=True)
    found = []
    for net in (model, tg.compile(model)):
        model.zero_grad()
        (g,) = tg.autograd.grad(net(x).sum(), x, create_graph=True)
        ((g.norm(dim=1) - 1) ** 2).mean().backward()
        found.append([p.grad for p in model.parameters() if p.grad is not None])
    tg.testing.assert_close(found[1], found[0])


def test_answers_of_any_structure_are_differentiated():
    structured = tg.compile(
        lambda x, flag: ({"a": (x.sin(), flag), "b": None}, [x.cos().sum()], "word", x > 0)
    )
    x = tg.tensor(RNG.random(3), requires_grad=True)
    first, rest, word, positive = structured(x, True)
    assert first["a"][1] is True and first["b"] is None and word == "word"
    assert positive.dtype is tg.bool and not positive.requires_grad
    (g,) = tg.autograd.grad(first["a"][0].sum() + rest[0], x, create_graph=True)
    tg.testing.assert_close(g.detach(), (x.cos() - x.sin()).detach())
    (g,) = tg.autograd.grad(g.sum(), x)
    tg.testing.assert_close(g, (-x.sin() - x.cos()).detach())


def test_what_has_a_history_is_not_changed_again():
    @tg.compile
    def doubling(x):
        x.mul_(2)
        return (x**3).sum()

    start = tg.ones(3, requires_grad=True)
    x = start * 1
    y = doubling(x)
    with pytest.raises(RuntimeError, match="in place that has a history"):
        tg.autograd.grad(y, start, create_graph=True)
    assert x.tolist() == [2, 2, 2]
    (g,) = tg.autograd.grad(doubling(start * 1), start)
    assert g.tolist() == [24, 24, 24]


def cube_and_views(x):
    y = x**3
    return y, y.diagonal(), x


VIEWS = {
    "a value, a view of it, the argument": cube_and_views,
    "two views of one value": lambda x: (lambda y: (y.diagonal(), y[0]))(x**3),
    "views and the argument's view": lambda x: (lambda y: (y.diagonal(), y[0], x.t()))(x**3),
    "a view of a view": lambda x: (lambda z: (z, z[1:], x))((x**3).diagonal()),
    "a cut off value": lambda x: (lambda y: (y[0][1:], y[1], y.detach()))(x**3),
    "several views at once": lambda x: (x**3).unbind(0),
    "in a dict": lambda x: (lambda y: (y[0], {"b": [y[1], x]}["b"][0]))(x**3),
}


@pytest.mark.parametrize("function", VIEWS.values(), ids=VIEWS)
def test_views_among_the_answers_are_differentiated_twice(function):
    found = []
    for g in (function, tg.compile(function)):
        x = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        loss = sum((y * y).sum() * (k + 1) for k, y in enumerate(g(x)))
        (first,) = tg.autograd.grad(loss, x, create_graph=True)
        found.append([first.detach(), *tg.autograd.grad((first * x).sum(), x)])
    tg.testing.assert_close(found[1], found[0])


def test_numbers_are_those_of_the_call_when_the_function_is_run_again():
    class Scale:
        power = 2.0

    scale = Scale()
    functions = [lambda x, k: (x**3 * k).sum() * scale.power]
    functions.append(tg.compile(functions[0]))
    found = []
    for f in functions:
        out = []
        for k in (1.0, 2.0, 3.0, 4.0):
            x = tg.tensor([1.0, 2.0], requires_grad=True)
            scale.power = k + 1
            (g,) = tg.autograd.grad(f(x, k), x, create_graph=True)
            out += [g.detach(), *tg.autograd.grad(g.sum(), x)]
        found.append(out)
    tg.testing.assert_close(found[1], found[0])


def test_what_the_function_read_is_put_back_when_it_is_run_again():
    class Setting:
        kind = "cube"

    setting = Setting()
    f = tg.compile(lambda x: (x**3 if setting.kind == "cube" else x**2).sum())
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = f(x)
    setting.kind = "square"
    (g,) = tg.autograd.grad(y, x, create_graph=True)
    assert g.tolist() == [3, 12] and setting.kind == "square"
    del setting.kind
    y = f(x)
    Setting.kind = "square"  # what is in a class is not put back
    with pytest.raises(RuntimeError, match="call backward first"):
        tg.autograd.grad(y, x, create_graph=True)
