"""Checkpoints change no gradient: eagerly, nested, under second derivatives, and compiled."""

from __future__ import annotations

import pytest
from both_autograds import X, gradients, same

import tracegrad as tg
from tracegrad.utils.checkpoint import checkpoint, checkpoint_sequential


def network():
    tg.manual_seed(3)
    layers = [tg.nn.Linear(3, 4), tg.nn.Tanh(), tg.nn.Linear(4, 3), tg.nn.Tanh()]
    return tg.nn.Sequential(*layers).double()


def trained(model, run, x):
    """Gradients, and the gradient of their square, with respect to parameters and input."""
    leaf = tg.tensor(x, requires_grad=True)
    return gradients(tg, run(model, leaf * 2).pow(2).sum(), leaf, *model.parameters())


@pytest.mark.parametrize(
    "run",
    [
        lambda m, x: checkpoint(m, x, use_reentrant=False),
        lambda m, x: checkpoint(lambda x: checkpoint(m, x), x),
        lambda m, x: checkpoint(lambda pair: {"y": (m(pair[0]), pair[1])}, (x, 1))["y"][0],
        lambda m, x: checkpoint_sequential(m, 2, x),
        lambda m, x: checkpoint(lambda: m(x)),
    ],
)
def test_a_checkpoint_changes_no_gradient(run):
    model = network()
    same(trained(model, run, X), trained(model, lambda m, x: m(x), X))


def test_a_checkpoint_saves_nothing_and_runs_again():
    runs = []

    def f(x):
        runs.append(0)
        return (x.sin() * tg.rand(3)).exp()

    x = tg.ones(3, requires_grad=True)
    tg.manual_seed(0)
    y = checkpoint(f, x)
    assert len(runs) == 1
    tg.rand(7)
    y.sum().backward()
    assert len(runs) == 2
    inside = tg.log(y.detach()) / tg.ones(3).sin()  # the numbers drawn
    tg.testing.assert_close(x.grad, y.detach() * inside * tg.ones(3).cos())
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()


def test_a_checkpoint_compiles():
    model, x = network(), tg.tensor(X)
    step = tg.compile(lambda x: tg.autograd.grad(
        checkpoint(model, x).pow(2).sum(), list(model.parameters())
    ))
    same(step(x), tg.autograd.grad(model(x).pow(2).sum(), list(model.parameters())))
