"""Averages of models against torch: eager, in a compiled step, with buffers; SWALR; update_bn."""

from __future__ import annotations

import numpy as np
import pytest
from bodies import body

import tracegrad as tg

torch = pytest.importorskip("torch")

AVERAGES = {
    "mean": lambda u: {},
    "moving": lambda u: {"avg_fn": u.get_ema_avg_fn(0.9)},
    "mean at once": lambda u: {"multi_avg_fn": u.get_swa_multi_avg_fn()},
    "moving at once": lambda u: {"multi_avg_fn": u.get_ema_multi_avg_fn(0.9)},
    "mean one by one": lambda u: {"avg_fn": u.get_swa_avg_fn()},
    "with buffers": lambda u: {"avg_fn": u.get_ema_avg_fn(0.5), "use_buffers": True},
    "one's own": lambda u: {"avg_fn": lambda average, value, count: average + value * count},
}


def model_of(T):
    model = T.nn.Sequential(T.nn.Linear(2, 3), T.nn.BatchNorm1d(3), T.nn.Linear(3, 1)).double()
    rng = np.random.default_rng(0)
    with T.no_grad():
        for p in model.parameters():
            p.copy_(T.tensor(rng.standard_normal(tuple(p.shape))))
    return model


def averaged(T, how, jit=lambda f: f):
    model = model_of(T)
    average = T.optim.swa_utils.AveragedModel(model, **how(T.optim.swa_utils))
    optimizer = T.optim.SGD(model.parameters(), lr=0.05)

    @jit
    def step(x):
        optimizer.zero_grad()
        (model(x) ** 2).mean().backward()
        optimizer.step()
        average.update_parameters(model)

    rng = np.random.default_rng(1)
    for _ in range(20):
        step(T.tensor(rng.standard_normal((4, 2))))
    return {k: v.tolist() for k, v in average.state_dict().items()}


@pytest.mark.parametrize("how", AVERAGES)
def test_an_average_is_torchs_eager_and_compiled(how):
    expected = averaged(torch, AVERAGES[how])
    for jit in (lambda f: f, tg.compile):
        found = averaged(tg, AVERAGES[how], jit)
        assert found.keys() == expected.keys()
        for key in expected:
            np.testing.assert_allclose(found[key], expected[key], rtol=1e-9)


def test_the_averaged_model_is_called_and_goes_on_from_a_state():
    model = model_of(tg)
    first, second = (tg.optim.swa_utils.AveragedModel(model) for _ in range(2))
    first.update_parameters(model)
    second.load_state_dict(first.state_dict())
    x = tg.randn(4, 2, dtype=tg.float64)
    assert second.n_averaged == 1 and second(x).equal(first(x))


def test_batch_norms_are_updated_as_by_torch():
    rng = np.random.default_rng(2)
    batches = [rng.standard_normal((4, 2)) for _ in range(3)]
    found = []
    for T in (tg, torch):
        model = model_of(T).eval()
        loader = [(T.tensor(b), 0) if i else T.tensor(b) for i, b in enumerate(batches)]
        T.optim.swa_utils.update_bn(loader, model)
        assert not model.training and model[1].momentum == 0.1
        found.append([b.tolist() for b in model.buffers()])
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-9)


@pytest.mark.parametrize("how", [
    {}, {"anneal_epochs": 0}, {"anneal_epochs": 3, "anneal_strategy": "linear"}, {"swa_lr": [1, 2]}
], ids=str)
def test_rates_go_to_that_of_averages(how):
    found = []
    for T in (tg, torch):
        ps = [T.nn.Parameter(T.ones(1)) for _ in range(2)]
        optimizer = T.optim.SGD([{"params": [ps[0]]}, {"params": [ps[1]], "lr": 0.5}], lr=0.1)
        scheduler = T.optim.swa_utils.SWALR(optimizer, **{"swa_lr": 0.02, **how})
        rates = []
        for _ in range(20):
            optimizer.step()
            scheduler.step()
            rates.append(scheduler.get_last_lr())
        found.append(rates)
        assert sorted(scheduler.state_dict()) == sorted([
            "_anneal_strategy", "anneal_epochs", "base_lrs", "last_epoch", "_step_count",
            "_is_initial", "_get_lr_called_within_step", "_last_lr",
        ])
    np.testing.assert_allclose(*found, rtol=1e-9)


ERRORS = [
    lambda u, o, m: u.SWALR(o, 0.1, -1), lambda u, o, m: u.SWALR(o, [0.1, 0.2]),
    lambda u, o, m: u.SWALR(o, 0.1, anneal_strategy="no"), lambda u, o, m: u.get_ema_avg_fn(2),
    lambda u, o, m: u.get_ema_multi_avg_fn(-1), lambda u, o, m: u.AveragedModel(m, None, abs, abs),
]


@pytest.mark.parametrize("program", ERRORS, ids=body)
def test_bad_input_raises_torchs_error(program):
    raised = []
    for T in (torch, tg):
        model = T.nn.Linear(1, 1)
        with pytest.raises(Exception) as caught:
            program(T.optim.swa_utils, T.optim.SGD(model.parameters()), model)
        raised.append((caught.type, str(caught.value)))
    assert raised[0] == raised[1]
