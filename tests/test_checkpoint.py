"""Checkpoints change no gradient: eagerly, nested, under second derivatives, and compiled."""

from __future__ import annotations

import pytest
from both_autograds import X, gradients, same

import tracegrad as tg
from tracegrad import func
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


SECTIONS = {
    "read": lambda a, b: a.exp() * b,
    "linear": lambda a, b: b - a,
    "views": lambda a, b: a.reshape(-1)[:2],
}
WRITES = {
    "argument": lambda a, b: a.neg_(),
    "argument without gradient": lambda a, b: b.fill_(2.0),
    "part of an argument": lambda a, b: b[:1].zero_(),
    "its data": lambda a, b: a.data.mul_(2),
    "nothing": lambda a, b: None,
}


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("listed", [False, True])
def test_a_changed_argument_of_a_checkpoint_is_noticed(section, write, reentrant, listed):
    torch = pytest.importorskip("torch")

    def gradient(T):
        x, b = T.tensor([0.5, 1.5], requires_grad=True), T.tensor([3.0, 4.0])
        a, function = x * 1, SECTIONS[section]
        if listed:
            y = T.utils.checkpoint.checkpoint(
                lambda a, more: function(a, more[0]), a, [b], use_reentrant=reentrant)
        else:
            y = T.utils.checkpoint.checkpoint(function, a, b, use_reentrant=reentrant)
        WRITES[write](a, b)
        try:
            y.sum().backward()
        except RuntimeError as error:
            assert "modified" in str(error) and "inplace" in str(error)
            return None
        return x.grad.tolist()

    mine, expected = gradient(tg), gradient(torch)
    if section == "read" or write == "nothing":
        assert (mine is None) == (expected is None)
    if mine is not None and expected is not None:
        assert mine == pytest.approx(expected)


def test_a_changed_argument_of_a_compiled_checkpoint_is_noticed():
    def step(x, b):
        y = checkpoint(lambda a: a.exp() * b, x)
        x.mul_(2)
        return y.sum()

    x, b = tg.tensor([1.0], requires_grad=True), tg.tensor([2.0])
    for run in (step, tg.compile(step)):
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            run(x * 1, b).backward()


@pytest.mark.parametrize("returned", [
    lambda lib, a, run: run(lambda: a.reshape(-1)[1:]),
    lambda lib, a, run: run(lambda pair: pair[0].T, [a]),
    lambda lib, a, run: run(lambda a: a.detach() * 0 + a[0], a),
    lambda lib, a, run: run(lambda a: (a.exp().view(-1), a.view(-1)), a)[1],
], ids=["outer", "listed", "a result", "one of two"])
@pytest.mark.parametrize("write", [
    lambda a, y: a.mul_(3), lambda a, y: y.mul_(3), lambda a, y: None,
], ids=["base", "view", "nothing"])
def test_a_write_to_a_view_out_of_a_checkpoint_is_not_lost(returned, write):
    torch = pytest.importorskip("torch")

    def gradient(lib):
        x = lib.arange(6.0).reshape(2, 3).requires_grad_()
        a = x * 1
        y = returned(lib, a, lambda f, *args: lib.utils.checkpoint.checkpoint(
            f, *args, use_reentrant=False))
        write(a, y)
        try:
            (y * y).sum().backward()
        except RuntimeError as error:
            assert "modified by an inplace operation" in str(error)
            return None
        return x.grad.tolist()

    mine, theirs = gradient(tg), gradient(torch)
    assert mine in (None, theirs)
    assert mine is not None or write(tg.ones(1), tg.ones(1)) is not None


@pytest.mark.parametrize("way", [lambda f: f, tg.compile], ids=["eager", "compiled"])
def test_a_function_may_take_derivatives(way):
    def force(x):
        return func.grad(lambda t: (t.sin() * x).sum())(x) + func.jvp(tg.tanh, (x,), (x,))[1]

    def total(x, again):
        y = checkpoint(force, x, use_reentrant=False) if again else force(x)
        return tg.autograd.grad(y.sum(), x)[0]

    x = tg.tensor([0.5, -1.0], requires_grad=True)
    assert tg.allclose(way(lambda x: total(x, True))(x), total(x, False))
