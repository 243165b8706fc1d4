"""`compile(mode="max-autotune")`: programs are timed on copies, the best is kept, on disk too."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

import tracegrad as T
from tracegrad.driver import tuning
from tracegrad.ir.choices import Choices
from tracegrad.runtime.cpu import object_cache

F = T.nn.functional


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    own = lambda name: object_cache.key(f"{tmp_path} {name}")
    monkeypatch.setattr(tuning, "_key", own)
    few = ("columns", False), ("inline", 2), ("thread", 1)
    monkeypatch.setattr(tuning, "CHANGES", few)
    monkeypatch.setattr(tuning, "_tuned", {})
    monkeypatch.setattr(tuning, "ENOUGH", 0.0)


def first_is_best(monkeypatch):
    """Have timings say that the first program that differs is the best one."""
    tried = []
    monkeypatch.setattr(tuning, "faster", lambda other, run: not tried and not tried.append(1))
    monkeypatch.setattr(tuning, "in_turns", lambda one, other: (2.0, 1.0))


def tunes(f):
    return T.compile(f, mode="max-autotune")


def training(tune, whole):
    T.manual_seed(1)
    model = T.nn.Sequential(T.nn.Linear(6, 40), T.nn.Tanh(), T.nn.Linear(40, 3))
    optimizer = T.optim.Adam(model.parameters(), lr=0.01)
    x, y = T.randn(50, 6), T.randint(0, 3, (50,))

    def loss_of(x, y):
        return F.cross_entropy(model(F.dropout(x, 0.1)), y)

    compiled = loss_of if whole else tune(loss_of)

    def step(x, y):
        optimizer.zero_grad()
        loss = compiled(x, y)
        loss.backward()
        optimizer.step()
        return loss

    step = tune(step) if whole else step
    losses = [step(x, y).item() for _ in range(3)]
    return losses, [p.detach().numpy() for p in model.parameters()], step if whole else compiled


@pytest.mark.parametrize("whole", [True, False])
def test_a_step_that_was_tuned_is_that_of_eager(whole, monkeypatch):
    first_is_best(monkeypatch)
    losses, parameters, compiled = training(tunes, whole)
    assert "instead of" in compiled.explain() and compiled.cache_info().misses == 1
    wanted, others, _ = training(lambda f: f, whole)
    np.testing.assert_allclose(losses, wanted, rtol=1e-5)
    for p, q in zip(parameters, others, strict=True):
        np.testing.assert_allclose(p, q, rtol=1e-3, atol=1e-5)


def loss(x):
    return (T.softmax(x.tanh() * 2, 1) * x.exp()).square().sum()


def test_what_was_found_is_kept_on_disk(monkeypatch):
    first_is_best(monkeypatch)
    x = T.randn(30, 40)
    first = tunes(loss)
    wanted = first(x)
    tuning._tuned.clear()
    monkeypatch.delattr(tuning, "Trial")  # nothing is timed
    again = tunes(loss)
    np.testing.assert_allclose(again(x).numpy(), wanted.numpy(), rtol=1e-6)
    assert "found by an earlier process" in again.explain()
    assert again.source() == first.source()


def test_an_interrupt_leaves_the_defaults(monkeypatch):
    def interrupt(other, run):
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "faster", interrupt)
    x = T.ones(30, 40)

    @tunes
    def f(x):
        x.mul_(2)
        return loss(x)

    with pytest.raises(KeyboardInterrupt):
        f(x)
    assert (x == 1).all() and x._version == [0]
    np.testing.assert_allclose(f(x).item(), loss(T.full((30, 40), 2.0)).item(), rtol=1e-5)
    assert "interrupted" in f.explain() and (x == 2).all()


def test_no_time_means_the_defaults(monkeypatch):
    monkeypatch.setattr(tuning, "SECONDS", -1.0)
    f = tunes(loss)
    f(T.randn(30, 40))
    assert "1 programs timed" in f.explain() and "the defaults are best" in f.explain()


def test_what_only_looked_better_is_dropped(monkeypatch):
    monkeypatch.setattr(tuning, "faster", lambda other, run: True)
    monkeypatch.setattr(tuning, "in_turns", lambda one, other: (1.0, 1.0))
    f = tunes(loss)
    f(T.randn(30, 40))
    assert "the defaults are best" in f.explain()


@pytest.mark.parametrize("text", [b"", b"[]", b"3", b'{"memory": 1.0}', b"\xff", None])
def test_a_file_with_other_choices_is_none(text):
    wrong = dict.fromkeys(Choices.__dataclass_fields__, "x")
    object_cache.write(tuning._key("a"), json.dumps(wrong).encode() if text is None else text)
    assert tuning.known("a") is None


def test_an_index_out_of_range_is_the_error_of_the_call():
    f = tunes(lambda x, k: x[k].exp().sum())
    with pytest.raises(IndexError, match="index 9 is out of bounds"):
        f(T.randn(4), T.tensor([1, 9]))
    np.testing.assert_allclose(f(T.zeros(4), T.tensor([1, 3])).item(), 2.0)


def test_every_run_that_is_timed_begins_where_the_call_does():
    """Else the counter would leave the table."""
    counter, table = T.zeros(1, dtype=T.int64), T.ones(4, 30)

    @tunes
    def step():
        row = table.index_select(0, counter)
        with T.no_grad():
            counter.add_(1)
        return row.tanh().sum()

    for k in range(4):
        np.testing.assert_allclose(step().item(), 30 * np.tanh(1.0), rtol=1e-5)
        assert counter.item() == k + 1
    with pytest.raises(IndexError, match="index 4 is out of bounds"):
        step()


def test_a_backward_that_checks_something_is_not_tried_on_other_seeds():
    table, x = T.ones(4, 30), T.ones(30).requires_grad_()

    @tunes
    def f(x):
        y = x * 2
        y.register_hook(lambda g: g + table[(g[0] * 5).long()])
        return y.sum()

    f(x).backward(T.tensor(0.2))
    np.testing.assert_allclose(x.grad.numpy(), 2.4, rtol=1e-6)


def test_arguments_that_do_not_lie_as_usual():
    x = T.arange(240.0).reshape(12, 20) / 100
    backwards = T.from_numpy(x.numpy()).flip(0)
    for view in (x, x.T, x[::2, 3:9], x[0].expand(5, 20), x[:0], backwards):
        np.testing.assert_allclose(
            tunes(loss)(view).numpy(), loss(view).numpy(), rtol=1e-5)


def test_numbers_and_random_numbers_are_those_of_the_call():
    f = tunes(lambda x, n: (T.rand(3) + x * n, T.rand(2)))
    T.manual_seed(3)
    a, b = f(T.ones(3), 2.5)
    T.manual_seed(3)
    assert (a == T.rand(3) + 2.5).all() and (b == T.rand(2)).all()


def test_nothing_is_kept_where_nothing_can_be_written(monkeypatch):
    monkeypatch.setattr(object_cache, "folder", lambda: None)
    assert np.isfinite(tunes(loss)(T.randn(30, 40)).item())


def test_the_mode_is_no_reason_to_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module = T.compile(T.nn.Linear(3, 2), mode="max-autotune-no-cudagraphs")
    assert "max-autotune" not in module.explain()
    module(T.randn(2, 3))
    assert "max-autotune: " in module.explain()
