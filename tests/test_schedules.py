"""Learning rate schedules against torch: rates, momentum, states, errors; in a compiled step."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
from bodies import body

import tracegrad as tg

torch = pytest.importorskip("torch")


class Half:
    """A function that has something to save."""

    def __init__(self):
        self.most = 4

    def __call__(self, k):
        return 1 / (1 + min(k, self.most))


def chained(s, o):
    return s.ChainedScheduler([s.ConstantLR(o, 0.25, 4), s.ExponentialLR(o, 0.9)])


def sequential(s, o):
    parts = [s.LinearLR(o, 0.2), s.ExponentialLR(o, 0.9), s.CosineAnnealingLR(o, 6)]
    return s.SequentialLR(o, parts, [3, 8])


SCHEDULES = {
    "StepLR": lambda s, o: s.StepLR(o, 3, gamma=0.5),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.9),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [2, 5, 5, 9], gamma=0.5),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.25, 4),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.2, 0.9, total_iters=6),
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    "LambdaLR of an object": lambda s, o: s.LambdaLR(o, [Half()] * len(o.param_groups)),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda epoch: 1 - 1 / (1 + epoch)),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 7, 2.0),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 7, eta_min=1e-3),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2, eta_min=0.001),
    "equal restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 4),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 3, 5),
    "CyclicLR, half as high": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 3, mode="triangular2"),
    "CyclicLR, lower": lambda s, o: s.CyclicLR(o, 0.01, 0.1, 3, mode="exp_range", gamma=0.9),
    "CyclicLR of a function": lambda s, o: s.CyclicLR(
        o, 0.01, 0.1, 3, scale_fn=Half(), scale_mode="iterations", cycle_momentum=False
    ),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.1, 30),
    "OneCycleLR, linear": lambda s, o: s.OneCycleLR(
        o, 0.1, epochs=5, steps_per_epoch=6, anneal_strategy="linear", three_phase=True
    ),
    "SequentialLR": sequential,
    "ChainedScheduler": chained,
}


def optimizer_of(T, name="SGD", rate=0.05):
    ps = [T.nn.Parameter(T.tensor([1.0, 2.0], dtype=T.float64)) for _ in range(2)]
    options = {"momentum": 0.9} if name == "SGD" else {}
    groups = [{"params": [ps[0]]}, {"params": [ps[1]], "lr": 0.2}]
    return getattr(T.optim, name)(groups, lr=T.tensor(rate) if rate == 0.25 else rate, **options)


def seen(optimizer, scheduler, steps=20, **how):
    rows = []
    for _ in range(steps):
        optimizer.step()
        scheduler.step(**how)
        group = optimizer.param_groups[0]
        momentum = group["betas"][0] if "betas" in group else group["momentum"]
        rates = [*scheduler.get_last_lr(), *(g["lr"] for g in optimizer.param_groups)]
        rows.append([float(x) for x in (*rates, momentum)])
    return rows


def both(make, name="SGD", rate=0.05, **how):
    rows, schedulers = [], []
    for T in (tg, torch):
        optimizer = optimizer_of(T, name, rate)
        schedulers.append(make(T.optim.lr_scheduler, optimizer))
        rows.append(seen(optimizer, schedulers[-1], **how))
    np.testing.assert_allclose(*rows, rtol=1e-9, atol=1e-15)
    return schedulers


def close(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(close, a, b))
    return a == (pytest.approx(b, rel=1e-9, abs=1e-15) if isinstance(b, float) else b)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_gives_torchs_rates_and_state(name, optimizer):
    ours, theirs = (s.state_dict() for s in both(SCHEDULES[name], optimizer))
    theirs.pop("_scale_fn_ref", None)
    assert close(ours, theirs), f"{ours}\n{theirs}"


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_fills_a_rate_that_is_a_tensor(name):
    if name != "OneCycleLR, linear":
        both(SCHEDULES[name], rate=0.25)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_goes_on_from_torchs_state(name):
    theirs, ours = optimizer_of(torch), optimizer_of(tg)
    last = SCHEDULES[name](torch.optim.lr_scheduler, theirs)
    mine = SCHEDULES[name](tg.optim.lr_scheduler, ours)
    seen(theirs, last, 5)
    mine.load_state_dict(copy.deepcopy(last.state_dict()))
    for group, saved in zip(ours.param_groups, theirs.param_groups, strict=True):
        group.update({k: v for k, v in saved.items() if k != "params"})
    np.testing.assert_allclose(seen(ours, mine, 5), seen(theirs, last, 5), rtol=1e-9)


@pytest.mark.parametrize("name", ["StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "LambdaLR",
                                  "ExponentialLR", "PolynomialLR", "CosineAnnealingLR", "restarts"])
def test_a_schedule_takes_an_epoch(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for epoch in (0, 4, 9):
            both(SCHEDULES[name], epoch=epoch)


@pytest.mark.parametrize("name", ["StepLR", "ExponentialLR", "LinearLR", "PolynomialLR",
                                  "CosineAnnealingLR", "MultiplicativeLR", "restarts"])
def test_a_schedule_begins_in_a_later_epoch(name):
    def resumed(s, o):
        SCHEDULES[name](s, o)
        made = SCHEDULES[name].__code__.co_names[0]
        arguments = {
            "StepLR": (3,), "ExponentialLR": (0.9,), "PolynomialLR": (7, 2.0),
            "CosineAnnealingLR": (7,), "MultiplicativeLR": (lambda k: 0.9,),
            "CosineAnnealingWarmRestarts": (3,),
        }.get(made, ())
        return getattr(s, made)(o, *arguments, last_epoch=3)

    both(resumed)


@pytest.mark.parametrize("how", [
    {}, {"mode": "max"}, {"threshold_mode": "abs", "threshold": 0.2}, {"cooldown": 2},
    {"mode": "max", "threshold_mode": "abs"}, {"min_lr": 0.02}, {"min_lr": [0.01, 0.1]},
], ids=str)
def test_a_plateau_is_seen_as_by_torch(how):
    metrics = [3, 2, 2, 2.1, 1.9, 2, 2, 2, float("nan"), 2, 1, 1, 1, 1.5, 1.2, 1, 1, 1, 0.5, 0.6]
    found = []
    for T in (tg, torch):
        optimizer = optimizer_of(T)
        scheduler = T.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.5, patience=1, **how
        )
        rows = []
        for k, metric in enumerate(metrics):
            scheduler.step(T.tensor(float(metric)) if k % 2 else metric)
            rows.append([*scheduler.get_last_lr(), scheduler.num_bad_epochs])
        found.append((rows, scheduler.state_dict()))
    assert found[0] == found[1]


ERRORS = [
    lambda s, o: s.LinearLR(o, start_factor=0), lambda s, o: s.LinearLR(o, end_factor=2),
    lambda s, o: s.ConstantLR(o, 2), lambda s, o: s.StepLR(3, 1),
    lambda s, o: s.LambdaLR(o, [abs]), lambda s, o: s.MultiplicativeLR(o, 3),
    lambda s, o: s.SequentialLR(o, [], []), lambda s, o: s.ChainedScheduler([]),
    lambda s, o: s.SequentialLR(o, [s.StepLR(o, 1)], [1]),
    lambda s, o: s.ChainedScheduler([s.StepLR(o, 1), 3]),
    lambda s, o: s.ChainedScheduler([s.ReduceLROnPlateau(o)]),
    lambda s, o: s.ReduceLROnPlateau(o, factor=1.0), lambda s, o: s.ReduceLROnPlateau(o, "most"),
    lambda s, o: s.ReduceLROnPlateau(o, threshold_mode="no"),
    lambda s, o: s.ReduceLROnPlateau(o, min_lr=[0.1]), lambda s, o: s.ReduceLROnPlateau(3),
    lambda s, o: s.CyclicLR(o, [0.1], 1.0), lambda s, o: s.CyclicLR(o, 0.1, 1.0, mode="no"),
    lambda s, o: s.OneCycleLR(o, 0.1), lambda s, o: s.OneCycleLR(o, 0.1, 0),
    lambda s, o: s.OneCycleLR(o, 0.1, epochs=1.5, steps_per_epoch=2),
    lambda s, o: s.OneCycleLR(o, 0.1, 10, pct_start=2), lambda s, o: s.OneCycleLR(o, [0.1], 10),
    lambda s, o: s.OneCycleLR(o, 0.1, 10, anneal_strategy="no"),
    lambda s, o: [f() for f in [s.OneCycleLR(o, 0.1, 2).step] * 3],
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 0),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 2, T_mult=0),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 2, eta_min="0"),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 2).step(-1),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("program", ERRORS, ids=body)
def test_bad_input_raises_torchs_error(program):
    raised = []
    for T in (torch, tg):
        with pytest.raises(Exception) as caught:
            program(T.optim.lr_scheduler, optimizer_of(T))
        raised.append((caught.type, str(caught.value)))
    assert raised[0] == raised[1]


def test_resuming_needs_the_rates_of_the_beginning():
    for T in (torch, tg):
        with pytest.raises(KeyError, match="'initial_lr' is not specified in param_groups"):
            T.optim.lr_scheduler.StepLR(optimizer_of(T), 1, last_epoch=2)
