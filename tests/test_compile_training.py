"""Training compiled: the whole step as one program; as eager, and as torch."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from compiled import line, same, traces

import tracegrad as tg
import tracegrad.nn.functional as F
from tracegrad import nn


def mlp(lib, dtype: str):
    """A small classifier in tracegrad or torch, with the same weights."""
    rng = np.random.default_rng(0)
    layers = lib.nn.Sequential(
        lib.nn.Linear(5, 8), lib.nn.Tanh(), lib.nn.Linear(8, 8), lib.nn.ReLU(), lib.nn.Linear(8, 3)
    )
    layers = layers.to(getattr(lib, dtype))
    with lib.no_grad():
        for p in layers.parameters():
            p.copy_(lib.tensor(rng.standard_normal(tuple(p.shape)) * 0.5))
    return layers


def batch(lib, dtype: str, n: int = 6):
    rng = np.random.default_rng(1)
    x = lib.tensor(rng.standard_normal((n, 5)), dtype=getattr(lib, dtype))
    return x, lib.tensor(rng.integers(0, 3, n))


OPTIMIZERS = {
    "sgd": lambda o, p: o.SGD(p, lr=0.1),
    "momentum": lambda o, p: o.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda o, p: o.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda o, p: o.Adam(p, lr=0.01),
}
STYLES = ("whole step", "loss only", "loss only, compiled module")


def train(lib, style: str, dtype: str, make, count: int = 20, to_none: bool = True):
    """(losses, parameters, gradients) after `count` steps."""
    model = mlp(lib, dtype)
    optimizer = make(lib.optim, model.parameters())
    cross_entropy = lib.nn.functional.cross_entropy
    forward = lib.compile(model) if style.endswith("module") else model
    loss_of = lambda x, y: cross_entropy(forward(x), y)  # noqa: E731
    loss_of = lib.compile(loss_of) if style == "loss only" else loss_of

    def step(x, y):
        optimizer.zero_grad(set_to_none=to_none)
        loss = loss_of(x, y)
        loss.backward()
        optimizer.step()
        return loss

    run = lib.compile(step) if style == "whole step" else step
    x, y = batch(lib, dtype)
    losses = [run(x, y) for _ in range(count)]
    return ([v.item() for v in losses],
            [np.asarray(p.detach()) for p in model.parameters()],
            [np.asarray(p.grad.detach()) for p in model.parameters()])


TWENTY = [
    *((name, style, "float64", 1e-11) for name in OPTIMIZERS for style in STYLES[:2]),
    *((name, "whole step", "float32", 2e-5) for name in ("nesterov", "adam")),
    ("sgd", "loss only, compiled module", "float32", 2e-5),
]


@pytest.mark.parametrize("name, style, dtype, rtol", TWENTY)
def test_twenty_steps_are_those_of_torch(name, style, dtype, rtol):
    torch = pytest.importorskip("torch")
    got = train(tg, style, dtype, OPTIMIZERS[name])
    want = train(torch, "eager", dtype, OPTIMIZERS[name])
    for a, b in zip(got, want, strict=True):
        for u, v in zip(a, b, strict=True):
            np.testing.assert_allclose(u, v, rtol=rtol, atol=rtol * np.abs(v).max())


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("dtype, rtol", [("float32", 1e-6), ("float64", 1e-12)])
def test_the_gradients_of_a_step_are_those_of_torch(style, dtype, rtol):
    torch = pytest.importorskip("torch")
    got = train(tg, style, dtype, OPTIMIZERS["sgd"], 1)[2]
    want = train(torch, "eager", dtype, OPTIMIZERS["sgd"], 1)[2]
    for u, v in zip(got, want, strict=True):
        assert np.abs(u - v).max() <= rtol * np.abs(v).max()


def test_zeros_or_none_makes_no_difference_to_a_step():
    for a, b in zip(*(train(tg, "whole step", "float32", OPTIMIZERS["adam"], 5, to_none)
                      for to_none in (True, False)), strict=True):
        for u, v in zip(a, b, strict=True):
            np.testing.assert_allclose(u, v, rtol=1e-6)


# ---- the whole step
def test_a_step_is_traced_once():
    _, _, step = line()
    for k in range(10):
        step(tg.full((3,), float(k)))
    assert traces(step) <= 2  # at most once more, when .grad has come to be


def test_the_learning_rate_is_read_at_every_call():
    w, optimizer, step = line()
    x = tg.full((1,), 2.0)
    for lr in (0.1, 0.01, 0.5, 0.0):
        optimizer.param_groups[0]["lr"] = lr
        before = w.item()
        step(x)
        expected = before - lr * 2 * 2 * (2 * before - 1)
        assert w.item() == pytest.approx(expected, rel=1e-6)
    assert traces(step) <= 2


def test_a_changed_momentum_is_seen():
    w, optimizer, step = line(momentum=0.9)
    step(tg.ones(1))
    optimizer.param_groups[0]["momentum"] = 0.5
    buffer = optimizer.state[w]["momentum_buffer"].item()
    gradient = 2 * (w.item() - 1)
    before = w.item()
    step(tg.ones(1))
    assert w.item() == pytest.approx(before - 0.1 * (0.5 * buffer + gradient), rel=1e-6)


def test_gradients_accumulate_over_calls():
    w = tg.ones(2, requires_grad=True)

    @tg.compile
    def add_gradient(x):
        (x * w).sum().backward()

    for k in range(1, 5):
        assert add_gradient(tg.full((2,), 2.0)) is None
        same(w.grad, [2 * k, 2 * k])
    w.grad.zero_()
    add_gradient(tg.ones(2))
    same(w.grad, [1, 1])
    w.grad = None
    add_gradient(tg.ones(2))
    same(w.grad, [1, 1])


def test_the_parts_of_a_step_compiled_one_by_one():
    w = tg.ones(2, requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.1)
    forget, step = tg.compile(lambda: optimizer.zero_grad()), tg.compile(lambda: optimizer.step())
    add_gradient = tg.compile(lambda x: (x * w).sum().backward())
    for k in range(1, 4):
        forget()  # traced when there is no gradient yet
        assert w.grad is None
        add_gradient(tg.ones(2))
        add_gradient(tg.ones(2))
        same(w.grad, [2, 2])
        step()
        np.testing.assert_allclose(w.detach(), [1 - 0.2 * k] * 2, rtol=1e-5)


def test_a_gradient_that_somebody_holds_is_not_overwritten():
    w, _, step = line()
    held, arrays = [], []
    for k in range(10):
        step(tg.full((1,), float(k)))
        held.append(w.grad)
        arrays.append(w.grad.numpy())
    values = [g.item() for g in held]
    assert len(set(values)) > 5
    assert values == [a.item() for a in arrays]
    expected, v = [], 1.0
    for k in range(10):
        expected.append(2 * k * (k * v - 1))
        v -= 0.1 * expected[-1]
    np.testing.assert_allclose(values, expected, rtol=1e-4)


def test_losses_are_never_overwritten():
    _, _, step = line()
    losses = [step(tg.full((1,), 0.5)) for _ in range(20)]
    values = [v.item() for v in losses]
    assert values == sorted(values, reverse=True) and len(set(values)) == 20


def test_optimizer_state_moves_between_eager_and_compiled():
    results = []
    for order in ((0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 0, 1), (1, 0, 0, 1)):
        model = mlp(tg, "float64")
        optimizer = tg.optim.Adam(model.parameters(), lr=0.01)

        def step(x, y, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        ways = (step, tg.compile(step))
        x, y = batch(tg, "float64")
        results.append([ways[k](x, y).item() for k in order])
    for r in results:
        np.testing.assert_allclose(r, results[0], rtol=1e-11)


def test_a_loaded_state_is_used():
    w, optimizer, step = line(momentum=0.9)
    for _ in range(3):
        step(tg.ones(1))
    saved, at = copy.deepcopy(optimizer.state_dict()), w.item()
    step(tg.full((1,), 2.0))
    after = w.item()
    w.data.fill_(at)
    optimizer.load_state_dict(saved)
    step(tg.full((1,), 2.0))
    assert w.item() == after


def test_frozen_parameters_stay():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)

    @tg.compile
    def step(x):
        optimizer.zero_grad()
        loss = model(x).sum()
        loss.backward()
        optimizer.step()

    x = tg.ones(1, 2)
    step(x)
    model[0].requires_grad_(False)
    first, second = model[0].weight.clone(), model[1].weight.clone()
    step(x)
    same(model[0].weight, first)
    assert not np.array_equal(model[1].weight.detach(), second.detach())


# ---- mutation
def test_arguments_and_captures_may_be_changed_in_place():
    count = tg.zeros(1)

    @tg.compile
    def f(x):
        count.add_(1)
        x[1:].mul_(2)
        x[0] = 7
        v = x.view(-1)
        v[-1] += 0.5
        return x.sum()

    for k in range(1, 4):
        x = tg.ones(3)
        total = f(x)
        same(x, [7, 2, 2.5])
        assert total.item() == 11.5
        same(count, [k])


def test_two_tensors_may_be_exchanged():
    @tg.compile
    def swap(a, b):
        old = a.clone()
        a.copy_(b)
        b.copy_(old)

    a, b = tg.zeros(3), tg.ones(3)
    for k in range(1, 4):
        swap(a, b)
        same(a, np.full(3, k % 2))
        same(b, np.full(3, 1 - k % 2))


def test_a_change_is_seen_through_a_view_held_outside():
    base = tg.zeros(2, 2)
    row = base[0]
    f = tg.compile(lambda t: t.add_(1))
    f(base)
    same(row, [1, 1])
    f(row)
    same(base, [[2, 2], [1, 1]])


def test_the_version_of_what_is_changed_moves():
    x = tg.ones(2)
    f = tg.compile(lambda t: t.mul_(2).sum())
    before = x._version[0]
    f(x)
    f(x)
    assert x._version[0] > before + 1


def test_requires_grad_set_inside_is_set_on_the_argument():
    f = tg.compile(lambda x: x.requires_grad_())
    for _ in range(3):
        x = tg.ones(2)
        assert f(x) is x
        assert x.requires_grad
