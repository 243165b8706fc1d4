"""Optimizers that users write, compiled: state made at the first use, counters of Python, settings
read anywhere. Each is its eager self, step by step.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

import tracegrad as tg
from tracegrad import nn, optim


class Momentum(optim.Optimizer):
    """State by `setdefault`-like creation; the learning rate read from the group."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr, "momentum": 0.9})

    @tg.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "buffer" not in state:
                    state["buffer"] = tg.zeros_like(p)
                state["buffer"].mul_(group["momentum"]).add_(p.grad)
                p.add_(state["buffer"], alpha=-group["lr"])


class OwnAdam(optim.Optimizer):
    """A counter of Python, and tensors that are replaced."""

    def __init__(self, params, lr=1e-2, betas=(0.9, 0.99)):
        super().__init__(params, {"lr": lr, "betas": betas})

    @tg.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                state = self.state[p]
                if len(state) == 0:
                    state["step"] = 0
                    state["m"], state["v"] = tg.zeros_like(p), tg.zeros_like(p)
                state["step"] += 1
                k = state["step"]
                state["m"] = beta1 * state["m"] + (1 - beta1) * p.grad
                state["v"] = beta2 * state["v"] + (1 - beta2) * p.grad * p.grad
                m = state["m"] / (1 - beta1**k)
                v = state["v"] / (1 - beta2**k)
                p.sub_(group["lr"] * m / (v.sqrt() + 1e-8))


class Lion(optim.Optimizer):
    """`update`-style code with a tensor for a counter, in a plain dict of its own."""

    def __init__(self, params, lr=1e-2):
        super().__init__(params, {"lr": lr, "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.01})

    @tg.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p not in self.state:
                    self.state[p] = {"m": tg.zeros_like(p), "t": tg.zeros(())}
                state = self.state[p]
                state["t"] += 1
                p.mul_(1 - group["lr"] * group["weight_decay"])
                update = (state["m"] * group["beta1"] + p.grad * (1 - group["beta1"])).sign()
                p.add_(update, alpha=-group["lr"])
                state["m"].lerp_(p.grad, 1 - group["beta2"])


class Warming(optim.Optimizer):
    """Settings that the step itself changes, and a counter in an attribute."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})
        self.calls = 0

    @tg.no_grad()
    def step(self, closure=None):
        self.calls += 1
        for group in self.param_groups:
            group["lr"] = 0.1 / (1 + 0.5 * self.calls)
            scale = 2.0 if group["lr"] > 0.05 else 1.0
            for p in group["params"]:
                p.sub_(p.grad * (scale * group["lr"]))


class InSubclass(optim.SGD):
    """One of ours with something added."""

    @tg.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad.mul_(1 / (1 + self.state[p].get("seen", 0)))
                self.state[p]["seen"] = self.state[p].get("seen", 0) + 1
        return super().step(closure)


OWN = [Momentum, OwnAdam, Lion, Warming, InSubclass]


def _state(optimizer):
    found = optimizer.state_dict()
    for values in found["state"].values():
        for value in values.values():
            assert not isinstance(value, tg.Tensor) or value._node is None
    return found


def _flat(tree):
    if isinstance(tree, tg.Tensor):
        return [np.asarray(tree.detach())]
    if isinstance(tree, dict):
        return [x for k in sorted(tree, key=str) for x in _flat(tree[k])]
    if isinstance(tree, (list, tuple)):
        return [x for t in tree for x in _flat(t)]
    return [np.asarray(tree)] if isinstance(tree, (int, float)) else []


def _train(kind, compile, style, change=None, steps=7):
    w = nn.Parameter(tg.tensor([1.0, -2.0, 3.0], dtype=tg.float64))
    b = nn.Parameter(tg.tensor(0.5, dtype=tg.float64))
    optimizer = kind([w, b], lr=0.1)
    loss_of = lambda x: ((x * w + b) ** 2).mean()  # noqa: E731

    def whole(x):
        optimizer.zero_grad()
        loss = loss_of(x)
        loss.backward()
        optimizer.step()
        return loss

    step = compile(whole) if style == "whole step" else None
    loss_of = compile(loss_of) if step is None else loss_of
    update = compile(optimizer.step) if style == "step alone" else optimizer.step
    seen = []
    for k in range(steps):
        x = tg.tensor([1.0, 2.0, 3.0], dtype=tg.float64) * (1 + k / 10)
        if step is not None:
            loss = step(x)
        else:
            optimizer.zero_grad()
            loss = loss_of(x)
            loss.backward()
            update()
        seen.append(_flat([loss, w, b, _state(optimizer)]))
        if change is not None and k == steps // 2:
            change(optimizer)
    return seen, step


@pytest.mark.parametrize("style", ["whole step", "loss only", "step alone"])
@pytest.mark.parametrize("kind", OWN, ids=lambda k: k.__name__)
def test_an_optimizer_of_a_user_trains_as_it_does_eagerly(kind, style):
    eager, _ = _train(kind, lambda f: f, style)
    compiled, step = _train(kind, tg.compile, style)
    for k, (a, b) in enumerate(zip(eager, compiled, strict=True)):
        assert len(a) == len(b), k
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(y, x, rtol=1e-12, err_msg=f"step {k}")
    if step is not None:
        assert step.cache_info().misses <= 4


def _loaded(optimizer):
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def _slower(optimizer):
    for group in optimizer.param_groups:
        group["lr"] *= 0.5


def _reset(optimizer):
    optimizer.state.clear()


@pytest.mark.parametrize("change", [_loaded, _slower, _reset])
@pytest.mark.parametrize("kind", OWN, ids=lambda k: k.__name__)
def test_what_is_done_to_it_in_between_is_seen(kind, change):
    eager, _ = _train(kind, lambda f: f, "whole step", change)
    compiled, _ = _train(kind, tg.compile, "whole step", change)
    for a, b in zip(eager, compiled, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(y, x, rtol=1e-12)


# ---- settings read outside of the optimizer's own step
def _settings():
    def text(optimizer):
        return float(str(optimizer.param_groups[0]["lr"]))

    def branch(optimizer):
        return 2.0 if optimizer.param_groups[0]["lr"] > 0.07 else 1.0

    return {
        "arithmetic": lambda optimizer: optimizer.param_groups[0]["lr"] * 2,
        "text": text,
        "branch": branch,
        "state_dict": lambda optimizer: optimizer.state_dict()["param_groups"][0]["lr"],
        "defaults": lambda optimizer: optimizer.defaults["lr"],
        "other option": lambda optimizer: optimizer.param_groups[0]["momentum"],
        "scheduler": lambda optimizer: optimizer.scheduler.get_last_lr()[0],
    }


@pytest.mark.parametrize("name", _settings())
def test_settings_are_read_at_every_call(name):
    read = _settings()[name]

    def run(compile):
        w = nn.Parameter(tg.ones(2))
        optimizer = optim.SGD([w], lr=0.1, momentum=0.5)
        optimizer.scheduler = optim.lr_scheduler.StepLR(optimizer, 1)
        f = compile(lambda x: x * read(optimizer))
        seen = []
        for k in range(4):
            seen.append(f(tg.ones(2)).tolist())
            optimizer.param_groups[0]["lr"] = 0.1 / (k + 2)
            optimizer.param_groups[0]["momentum"] = 0.5 / (k + 2)
            optimizer.defaults["lr"] = 0.3 / (k + 2)
        return seen

    assert run(tg.compile) == run(lambda f: f)


def _schedulers():
    schedule = optim.lr_scheduler
    return {
        "StepLR": lambda o: schedule.StepLR(o, 2, 0.5),
        "ExponentialLR": lambda o: schedule.ExponentialLR(o, 0.9),
        "LinearLR": lambda o: schedule.LinearLR(o, total_iters=4),
        "CosineAnnealingLR": lambda o: schedule.CosineAnnealingLR(o, 5),
        "LambdaLR": lambda o: schedule.LambdaLR(o, lambda k: 1 / (1 + k)),
        "restarts": lambda o: schedule.CosineAnnealingWarmRestarts(o, 3),
        "CyclicLR": lambda o: schedule.CyclicLR(o, 0.01, 0.1, 3, cycle_momentum=False),
        "SequentialLR": lambda o: schedule.SequentialLR(
            o, [schedule.ConstantLR(o, 0.1), schedule.StepLR(o, 2)], [3]
        ),
        "ChainedScheduler": lambda o: schedule.ChainedScheduler(
            [schedule.PolynomialLR(o, 9), schedule.StepLR(o, 2)]
        ),
    }


@pytest.mark.parametrize("name", _schedulers())
def test_a_schedule_inside_the_step(name):
    def run(compile):
        w = nn.Parameter(tg.tensor([1.0, 2.0], dtype=tg.float64))
        optimizer = optim.SGD([w], lr=0.1)
        scheduler = _schedulers()[name](optimizer)

        @compile
        def step(x):
            optimizer.zero_grad()
            ((x * w) ** 2).sum().backward()
            optimizer.step()
            scheduler.step()

        seen = []
        for _ in range(8):
            step(tg.ones(2, dtype=tg.float64))
            rates, epoch = scheduler.get_last_lr(), getattr(scheduler, "last_epoch", 0)
            seen.append([*w.tolist(), *rates, epoch])
        return np.array(seen)

    np.testing.assert_allclose(run(tg.compile), run(lambda f: f), rtol=1e-12)
    assert math.isfinite(run(tg.compile)[-1, 0])
