"""Trainers (trainers.py) as people write them: hooks, and states that are loaded."""

from __future__ import annotations

import copy
import io
import math

import numpy as np
import pytest
from trainers import batches, check, flat, network, training

import tracegrad as tg


# ---- hooks
def hooks_of_an_optimizer(T, compile):
    net = network(T)
    optimizer = T.optim.SGD(net.parameters(), lr=0.1)
    log = {"steps": 0, "size": None}

    def after(optimizer, args, kwargs):
        log["size"] = sum(p.detach().abs().sum() for p in optimizer.param_groups[0]["params"])

    optimizer.register_step_pre_hook(lambda *_: log.update(steps=log["steps"] + 1))
    optimizer.register_step_post_hook(after)
    for found in training(T, compile, optimizer, net):
        yield found, copy.deepcopy(log)


def one_optimizer_for_each_parameter_in_its_hook(T, compile):
    net = network(T)
    of = {p: T.optim.SGD([p], lr=0.1, momentum=0.9) for p in net.parameters()}

    def hook(p):
        of[p].step()
        of[p].zero_grad()

    for p in net.parameters():
        p.register_post_accumulate_grad_hook(hook)
    step = compile(lambda x, y: ((net(x) - y) ** 2).mean().backward())
    for x, y in batches(T):
        step(x, y)
        yield [copy.deepcopy(p.detach()) for p in net.parameters()]


HOOKS = [hooks_of_an_optimizer, one_optimizer_for_each_parameter_in_its_hook]


@pytest.mark.parametrize("program", HOOKS, ids=lambda f: f.__name__)
def test_hooks_act_at_every_step(program):
    check(program, traces=3)


def test_a_hook_that_comes_later_is_seen():
    def program(T, compile):
        net = network(T)
        optimizer = T.optim.SGD(net.parameters(), lr=0.1)
        log = {"steps": 0}
        for k, found in enumerate(training(T, compile, optimizer, net)):
            yield found, log["steps"]
            if k == 3:
                handle = optimizer.register_step_pre_hook(
                    lambda *_: log.update(steps=log["steps"] + 1)
                )
            if k == 7:
                handle.remove()

    check(program)


# ---- states that are loaded, copied, put into files
def _in_the_old_style(T):
    """As optimizers are published: settings that older files lack, a state of Python numbers."""

    class Belief(T.optim.Optimizer):
        def __init__(self, params, lr=0.05):
            super().__init__(params, {"lr": lr, "betas": (0.9, 0.99), "amsgrad": False})

        def __setstate__(self, state):
            super().__setstate__(state)
            for group in self.param_groups:
                group.setdefault("amsgrad", False)

        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    grad, state = p.grad.data, self.state[p]
                    beta1, beta2 = group["betas"]
                    if len(state) == 0:
                        state["step"], state["weights"] = 0, {"m": T.zeros_like(p.data)}
                        state["v"] = T.zeros_like(p.data)
                    state["step"] += 1
                    m, v = state["weights"]["m"], state["v"]
                    m.mul_(beta1).add_(grad, alpha=1 - beta1)
                    v.mul_(beta2).addcmul_(grad - m, grad - m, value=1 - beta2)
                    scale = math.sqrt(1 - beta2 ** state["step"]) / (1 - beta1 ** state["step"])
                    p.data.addcdiv_(m, v.sqrt().add_(1e-8), value=-group["lr"] * scale)

    return Belief


def _loaded(T, optimizer, kept):
    kept.setdefault("first", copy.deepcopy(optimizer.state_dict()))
    optimizer.load_state_dict(kept["first"])


def _from_a_file(T, optimizer, kept):
    file = io.BytesIO()
    T.save(optimizer.state_dict(), file)
    file.seek(0)
    optimizer.load_state_dict(T.load(file))


def _with_older_groups(T, optimizer, kept):
    found = copy.deepcopy(optimizer.state_dict())
    del found["param_groups"][0]["amsgrad"]
    optimizer.load_state_dict(found)


@pytest.mark.parametrize("change", [_loaded, _from_a_file, _with_older_groups])
def test_a_state_goes_away_and_comes_back(change):
    def program(T, compile):
        net = network(T)
        optimizer = _in_the_old_style(T)(net.parameters())
        kept = {}
        for k, found in enumerate(training(T, compile, optimizer, net)):
            if k % 4 == 3:
                change(T, optimizer, kept)
            state = optimizer.state_dict()
            yield found, state["state"], state["param_groups"][0]["amsgrad"]

    check(program)


def test_an_optimizer_is_copied_with_its_state():
    net = network(tg)
    optimizer = _in_the_old_style(tg)(net.parameters())
    for _ in training(tg, tg.compile, optimizer, net):
        pass
    other = copy.deepcopy(optimizer)
    for x, y in zip(flat(tg, other.state_dict()["state"]),
                    flat(tg, optimizer.state_dict()["state"]), strict=True):
        np.testing.assert_array_equal(x, y)
    assert other.param_groups[0]["params"][0] is not net[0].weight
