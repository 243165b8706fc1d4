"""The same optimizers inside a compiled step: equal to eager ones, and never stale."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import tracegrad as tg
from tracegrad import nn, optim
from tracegrad.tracer.change_counter import differentiated_tensors

F = nn.functional
CASES = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"momentum": 0.9, "dampening": 0.5}),
    ("SGD", {"maximize": True, "momentum": 0.5}),
    ("Adam", {}),
    ("Adam", {"amsgrad": True, "weight_decay": 0.1}),
    ("AdamW", {"maximize": True}),
    ("RMSprop", {"momentum": 0.5, "centered": True}),
    ("Adagrad", {"lr_decay": 0.1}),
    ("Adadelta", {"weight_decay": 0.1}),
    ("Adamax", {}),
    ("ASGD", {"t0": 2}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"betas": (0.5, 0.9)}),
    ("Rprop", {}),
    ("Adafactor", {"weight_decay": 0.1}),
]


class Training:
    """A small classifier, one step of it at a time."""

    def __init__(self, make, jit):
        tg.manual_seed(0)
        rng = np.random.default_rng(0)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
        self.optimizer = make(self.model.parameters())
        self.x, self.y = tg.tensor(rng.standard_normal((5, 3))), tg.tensor([0, 1, 1, 0, 1])
        model, optimizer = self.model, self.optimizer

        def step(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss.detach()

        self.step = jit(step)

    def run(self, steps):
        return [self.step(self.x, self.y).item() for _ in range(steps)]


def pair(name, **options):
    def make(parameters):
        return getattr(optim, name)(parameters, lr=0.1, **options)

    return Training(make, lambda f: f), Training(make, tg.compile)


def assert_equal(a, b):
    for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name, options", CASES, ids=str)
def test_a_compiled_step_is_the_eager_one_and_is_traced_once(name, options):
    eager, compiled = pair(name, **options)
    for training in (eager, compiled):
        training.run(3)
        training.optimizer.param_groups[0]["lr"] = 0.03
        training.run(3)
    assert_equal(eager, compiled)
    assert compiled.step.cache_info().misses == 1
    for p, q in zip(eager.model.parameters(), compiled.model.parameters(), strict=True):
        mine, yours = eager.optimizer.state[p], compiled.optimizer.state[q]
        for key in mine:
            np.testing.assert_allclose(yours[key].numpy(), mine[key].numpy(), rtol=1e-12)


def programs(optimizer):
    """How many the steps of an optimizer have made outside of compiled functions."""
    steps = vars(optimizer).get("_eager_steps")
    return 0 if steps is None else steps.run.cache_info().misses


def trained(optimizer_of, compiled_loss):
    """A model after three steps outside of any compiled function, and its optimizer."""
    tg.manual_seed(0)
    model = nn.Linear(3, 2).double()
    x, y = tg.randn(5, 3, dtype=tg.float64), tg.tensor([0, 1, 1, 0, 1])

    def loss_of(x):
        return F.cross_entropy(model(x), y)

    optimizer = optimizer_of(model.parameters())
    loss_of = tg.compile(loss_of) if compiled_loss else loss_of
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(x).backward()
        optimizer.step()
    return model, optimizer


@pytest.mark.parametrize(
    "fused, compiled_loss, compiled_step",
    [
        (None, False, False),
        (None, True, True),
        (True, False, True),
        (False, True, False),
    ],
)
def test_a_step_is_compiled_as_fused_says_or_as_the_loss_is(fused, compiled_loss, compiled_step):
    def make(params):
        return optim.Adam(params, lr=0.1, fused=fused)

    model, optimizer = trained(make, compiled_loss)
    assert programs(optimizer) == compiled_step
    eager, _ = trained(lambda params: optim.Adam(params, lr=0.1, fused=False), False)
    for p, q in zip(model.parameters(), eager.parameters(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-12)


def test_another_models_optimizer_is_not_compiled():
    trained(lambda params: optim.SGD(params, lr=0.1), True)
    _, other = trained(lambda params: optim.SGD(params, lr=0.1), False)
    assert programs(other) == 0


def test_an_optimizer_in_the_place_of_a_model_that_is_gone_is_not_compiled():
    model, optimizer = trained(lambda params: optim.SGD(params, lr=0.1), True)
    ids = [id(p) for p in model.parameters()]
    assert all(i in differentiated_tensors for i in ids)
    del model, optimizer
    gc.collect()
    assert not any(i in differentiated_tensors for i in ids)


def test_a_schedule_does_not_trace_again():
    eager, compiled = pair("SGD")
    for training in (eager, compiled):
        schedule = optim.lr_scheduler.ExponentialLR(training.optimizer, 0.8)
        for _ in range(5):
            training.run(1)
            schedule.step()
    assert_equal(eager, compiled)
    assert compiled.step.cache_info().misses == 1


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_another_option_is_seen(name):
    eager, compiled = pair(name, weight_decay=0.1)
    for training in (eager, compiled):
        training.run(2)
        training.optimizer.param_groups[0]["weight_decay"] = 0.0
        training.run(2)
    assert_equal(eager, compiled)


def test_a_loaded_state_is_seen():
    eager, compiled = pair("Adam")
    for training in (eager, compiled):
        training.run(3)
        fresh = optim.Adam(training.model.parameters(), lr=0.2)
        training.optimizer.load_state_dict(fresh.state_dict())
        training.run(3)
    assert_equal(eager, compiled)


def test_another_parameter_is_seen():
    eager, compiled = pair("SGD", momentum=0.9)
    for training in (eager, compiled):
        training.run(2)
        training.model[0].bias.requires_grad_(False)
        training.run(2)
        training.model[2] = nn.Linear(4, 2).double()
        with tg.no_grad():
            training.model[2].weight.fill_(0.1)
            training.model[2].bias.fill_(0.0)
        training.optimizer.add_param_group({"params": training.model[2].parameters(), "lr": 0.5})
        training.run(2)
    assert_equal(eager, compiled)


def test_mixed_eager_and_compiled_steps_share_the_state():
    eager, compiled = pair("Adam", amsgrad=True)
    eager.run(6)
    compiled.run(2)
    compiled.step, step = compiled.step.__wrapped__, compiled.step
    compiled.run(2)
    compiled.step = step
    compiled.run(2)
    assert_equal(eager, compiled)


@pytest.mark.parametrize("target", [[0, 5, 1], [0, -1, 1]])
def test_a_target_out_of_range_writes_nothing(target):
    model = nn.Linear(2, 3)
    optimizer = optim.SGD(model.parameters(), lr=1.0)

    @tg.compile
    def step(x, y):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    step(tg.ones(3, 2), tg.tensor([0, 1, 2]))
    before = model.weight.detach().clone()
    with pytest.raises(IndexError):
        step(tg.ones(3, 2), tg.tensor(target))
    assert (model.weight == before).all()


def test_dropout_draws_anew_at_every_call_and_rests_in_eval():
    model = nn.Sequential(nn.Linear(2, 50), nn.Dropout(0.5))
    compiled = tg.compile(model)
    x = tg.ones(1, 2)
    tg.manual_seed(3)
    first, second = compiled(x), compiled(x)
    tg.manual_seed(3)
    assert (first == model(x)).all() and (second == model(x)).all()
    assert (first != second).any()
    model.eval()
    assert (compiled(x) == model(x)).all()


def test_a_rate_that_is_another_tensor_is_seen():
    eager, compiled = pair("SGD")
    for training in (eager, compiled):
        for rate in (0.1, tg.tensor(0.2), tg.tensor(0.05), 0.3, tg.tensor(0.4)):
            training.optimizer.param_groups[0]["lr"] = rate
            training.run(2)
    assert_equal(eager, compiled)
