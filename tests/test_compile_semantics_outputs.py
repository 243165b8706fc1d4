"""Scenes (scenes.py) about several outputs with a history, and what goes in and comes out."""

from __future__ import annotations

import pickle
from collections import OrderedDict, defaultdict
from copy import copy, deepcopy
from dataclasses import dataclass

import pytest
from scenes import WORLDS, check, collection

SCENES, scene = collection()


# ---- several answers with a history
@scene
def backward_from_one_answer_after_another(T, C, see):
    w = T.tensor([2.0, 3.0], requires_grad=True)

    @C
    def f(x):
        h = w * w
        return h.sum(), (h * x).sum(), x.sum() * w, w + 1

    def refused(y):
        try:
            y.backward()
        except RuntimeError as error:
            see("second time" in str(error))

    a, b, c, d = f(T.ones(2))
    a.backward()
    see(w.grad)
    c.sum().backward()
    see(w.grad)
    refused(b)
    for _ in range(2):
        d.sum().backward()
    see(w.grad)
    a, b, c, d = f(T.ones(2))
    a.backward(retain_graph=True)
    b.backward()
    refused(a)
    see(w.grad, *T.autograd.grad(c.sum() + d.sum(), w))


@scene
def an_answer_that_is_not_asked_does_no_harm(T, C, see):
    w, u = T.tensor([0.0, 3.0], requires_grad=True), T.ones(2, requires_grad=True)
    f = C(lambda: (w.sum() * 2, w.log(), u.sum()))
    for _ in range(2):
        f()[0].backward()
        see(w.grad, u.grad)


@scene
def only_who_goes_back_meets_what_was_changed(T, C, see):
    w = T.tensor([1.0, 2.0], requires_grad=True)

    @C
    def f(x):
        h = w * x
        y = h.exp()
        z = h * h
        y.add_(h.detach())
        h.mul_(2)
        return y, z, h

    for _ in range(2):
        y, z, h = f(T.ones(2))
        see(y, z)
        for t in (y, z):
            try:
                t.sum().backward(retain_graph=True)
            except RuntimeError as error:
                see("modified by an inplace operation" in str(error))
        h.sum().backward()
        see(w.grad)


@scene
def a_value_taken_over_can_be_gone_back_from_twice(T, C, see):
    w = T.tensor([1.0, 2.0], requires_grad=True)

    @C
    def f(into):
        into.copy_(w)
        return into

    y = f(T.zeros(2))
    for _ in range(2):
        y.sum().backward()
    see(w.grad, y)


@scene
def grad_mode_is_switched_inside(T, C, see):
    w = T.ones(2, requires_grad=True)

    @C
    def f(x):
        with T.enable_grad():
            y = x * w
        return y, x * w

    for _ in range(2):
        with T.no_grad():
            y, z = f(T.ones(2))
        y.sum().backward()
        see(y, z, w.grad)


# ---- what arguments and answers may be
@dataclass
class Pair:
    a: object
    b: object = 2


class Bag(dict):
    pass


@scene
def containers_of_every_kind(T, C, see):
    def f(given):
        if isinstance(given, Pair):
            return Pair(given.a * given.b, given)
        if isinstance(given, dict):
            made = copy(given)
            made["x"] = given["x"] + len(given)
            return made
        return given * 2, [given, {"k": (given, None, "text", 3)}]

    f, x = C(f), T.ones(2)
    for k in range(3):
        made = f(Pair(x * k, 3))
        see(made.a, made.b.a, made.b.b, type(made.b) is Pair)
        for given in (defaultdict(list, x=x * k), Bag(x=x), OrderedDict(y=None, x=x)):
            made = f(given)
            see(made["x"], type(made) is type(given), list(made))
        made = f(x * k)
        see(made[0], made[1][0], *made[1][1]["k"])


@scene
def numbers_that_change(T, C, see):
    f = C(
        lambda x, k: (
            x * k,
            x + (2 * k - 1),
            T.full((2,), k),
            x * (2 if isinstance(k, float) else 3),
        )
    )
    g = C(lambda x, k: (x * 2, k / 2, f"{k}"))
    for x in (T.ones(2), T.ones(2, dtype=T.int64), T.ones(2, dtype=T.float64)):
        for k in (2.5, 0.1, 1.5, 2.5, 3):
            for y in f(x, k):
                see(str(y.dtype).split(".")[-1], y)
            see(*g(x, k))


@scene
def a_parameter_is_exchanged(T, C, see):
    w, v = (T.ones(2, requires_grad=True) for _ in range(2))
    optimizer = T.optim.SGD([w], lr=0.5)

    @C
    def step():
        optimizer.zero_grad()
        (w * v).sum().backward()
        optimizer.step()

    step()
    optimizer.param_groups[0]["params"][0] = v
    step()
    see(w, v)
    optimizer.param_groups[0]["params"].append(w)
    step()
    see(w, v)


@scene
def a_compiled_module_is_copied_and_changed(T, C, see):
    model = T.nn.Linear(2, 1)
    with T.no_grad():
        model.weight.fill_(1.0)
        model.bias.zero_()
    compiled, x = C(model), T.ones(1, 2)
    see(compiled(x))
    twins = [deepcopy(compiled), pickle.loads(pickle.dumps(compiled))]
    for twin in twins:
        with T.no_grad():
            twin.weight.fill_(3.0)
        see(twin(x), compiled(x))
    compiled.bias = None
    see(model.bias is None, compiled(x), twins[0](x))
    model.eval()
    see(compiled.training, twins[0].training)


@scene
def hooks_of_records_and_gradients_of_other_types(T, C, see):
    w = T.tensor([1.0, 2.0], requires_grad=True)
    f = C(lambda x: w * x)
    y = f(T.ones(2))
    y.grad_fn.register_prehook(lambda gs: (gs[0] * 3,))
    y.backward(T.ones(2, dtype=T.int64))
    see(w.grad)
    del w.grad
    see(w.grad is None)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", SCENES)
def test_nobody_sees_a_difference(name, world):
    check(SCENES[name], world)
