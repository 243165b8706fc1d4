"""Trainers as people write them: what a step sets, schedules, hooks of optimizers, states loaded.

Each runs in torch where it is there, eagerly, and compiled as a whole step; all that can be seen
afterwards is the same. `T` is torch or tracegrad, of which both are programs.
"""

from __future__ import annotations

import copy
import io
import math
from types import SimpleNamespace

import numpy as np
import pytest

import tracegrad as tg


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def network(T):
    net = T.nn.Sequential(T.nn.Linear(4, 5), T.nn.Tanh(), T.nn.Linear(5, 2)).double()
    with T.no_grad():
        for k, p in enumerate(net.parameters()):
            p.copy_(T.tensor(numbers(*p.shape, seed=k)))
    return net


def batches(T, count=12):
    return [(T.tensor(numbers(3, 4, seed=k)), T.tensor(numbers(3, 2, seed=-~k * 7)))
            for k in range(count)]  # fmt: skip


def flat(T, tree):
    if isinstance(tree, T.Tensor):
        if T is tg:
            assert tree._node is None, "a tensor of the trace"
        return [np.array(tree.detach().numpy(), float)]
    if isinstance(tree, dict):
        return [x for value in tree.values() for x in flat(T, value)]
    if isinstance(tree, (list, tuple)):
        return [x for value in tree for x in flat(T, value)]
    return [np.array(math.nan if tree is None else tree, float)]


def seen(T, program, compile=lambda f: f):
    return [flat(T, found) for found in program(T, compile)]


def check(program, traces=None):
    """The program, a generator of what can be seen after each step, says the same in every way."""
    made = []

    def compile(f):
        made.append(tg.compile(f))
        return made[-1]

    ways = [seen(tg, program), seen(tg, program, compile)]
    try:
        import torch
    except ImportError:
        pass
    else:
        ways.append(seen(torch, program))
    for other in ways[1:]:
        for k, (a, b) in enumerate(zip(ways[0], other, strict=True)):
            assert len(a) == len(b), k
            for x, y in zip(a, b, strict=True):
                np.testing.assert_allclose(y, x, rtol=1e-9, atol=1e-12, err_msg=f"step {k}")
    if traces is not None:
        assert sum(f.cache_info().misses for f in made) <= traces


def training(T, compile, optimizer, net, after=lambda: None, before=lambda: None):
    """A compiled step; yields the parameters after each."""

    @compile
    def step(x, y):
        before()
        optimizer.zero_grad()
        loss = ((net(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        after()
        return loss

    for x, y in batches(T):
        loss = step(x, y)
        yield copy.deepcopy([loss.item(), [p.detach() for p in net.parameters()]])


# ---- what a step sets
def warm_up_by_a_counter(T, compile):
    net = network(T)
    optimizer = T.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    trainer = SimpleNamespace(k=0)

    def before():
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * min(1.0, (trainer.k + 1) / 5)
        trainer.k += 1

    for found in training(T, compile, optimizer, net, before=before):
        yield found, trainer.k, optimizer.param_groups[0]["lr"]


def a_rate_that_the_step_sets_and_others_too(T, compile):
    net = network(T)
    optimizer = T.optim.SGD(net.parameters(), lr=0.05)

    def before():
        optimizer.param_groups[0]["lr"] = 0.05

    for found in training(T, compile, optimizer, net, before=before):
        yield found, optimizer.param_groups[0]["lr"]
        optimizer.param_groups[0]["lr"] = 0.3


def a_flag_that_is_what_it_was(T, compile):
    class Slotted:
        __slots__ = ("phase",)

    trainer, slotted = SimpleNamespace(phase=1), Slotted()
    slotted.phase = 1

    @compile
    def step(x):
        trainer.phase = slotted.phase = 1
        return 2 * x

    for _ in range(4):
        yield step(T.ones(2)), trainer.phase, slotted.phase
        trainer.phase = slotted.phase = 0


def a_mode_that_is_what_it_was(T, compile):
    net = network(T)
    step = compile(lambda x: net.train()(x).sum())
    for x, _ in batches(T, 4):
        yield step(x), net.training, net[0].training
        net.eval()


def moments_in_lists(T, compile):
    net = network(T)

    class Own:
        def __init__(self, params):
            self.params, self.k = list(params), 0
            self.m, self.last = [T.zeros_like(p) for p in self.params], [None] * len(self.params)

        def zero_grad(self):
            for p in self.params:
                p.grad = None

        def step(self):
            self.k += 1
            for k, p in enumerate(self.params):
                self.m[k] = 0.9 * self.m[k] + p.grad
                self.last[k] = p.grad.norm()
                p.data = p.data - 0.1 * self.m[k] / self.k

    optimizer = Own(net.parameters())
    for found in training(T, compile, optimizer, net):
        yield found, optimizer.k, copy.deepcopy([optimizer.m, optimizer.last])


def moments_by_the_id_of_a_parameter(T, compile):
    net = network(T)

    class Own:
        def __init__(self, params):
            self.params, self.k, self.m = list(params), 0, {}

        def zero_grad(self):
            for p in self.params:
                p.grad = None

        def step(self):
            self.k += 1
            for p in self.params:
                if id(p) not in self.m:
                    self.m[id(p)] = T.zeros_like(p)
                self.m[id(p)].mul_(0.9).add_(p.grad)
                p.data.sub_(0.1 * self.m[id(p)] / self.k)

    optimizer = Own(net.parameters())
    for found in training(T, compile, optimizer, net):
        yield found, optimizer.k, copy.deepcopy(list(optimizer.m.values()))


def a_table_that_the_step_goes_through(T, compile):
    net = network(T)
    optimizer = T.optim.SGD(net.parameters(), lr=0.1)
    trainer = SimpleNamespace(k=0, table=[0.1, 0.05, 0.2], average=0.0)

    def before():
        trainer.k += 1
        optimizer.param_groups[0]["lr"] = trainer.table[trainer.k % 3] / (1 + int(trainer.k / 10))

    for found in training(T, compile, optimizer, net, before=before):
        yield found, trainer.k, optimizer.param_groups[0]["lr"]


def a_meter_that_asks_for_tensors(T, compile):
    net = network(T)
    optimizer = T.optim.SGD(net.parameters(), lr=0.1)
    meter = SimpleNamespace(sum=0.0, count=0)

    def after():
        value = net[0].weight.detach().norm()
        value = value.detach() if isinstance(value, T.Tensor) else value
        meter.sum, meter.count = meter.sum + value, meter.count + 1

    for found in training(T, compile, optimizer, net, after=after):
        yield found, copy.deepcopy(meter.sum), meter.count


def a_state_in_a_tuple(T, compile):
    """As recurrent modules keep theirs; now and then it is set from outside."""
    net = network(T)
    optimizer = T.optim.SGD(net.parameters(), lr=0.05)
    start = T.zeros(3, 2).double()
    memory = SimpleNamespace(state=(start, ("seen", start + 1)))

    @compile
    def step(x, y):
        fast, (name, slow) = memory.state
        fast = (net(x) + fast).tanh()
        slow = 0.9 * slow + 0.1 * fast
        memory.state = fast.detach(), (name, slow.detach())
        optimizer.zero_grad()
        loss = ((slow - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    for k, (x, y) in enumerate(batches(T)):
        loss = step(x, y)
        fast, (_, slow) = memory.state
        yield copy.deepcopy([loss.item(), fast, slow, net[0].weight.detach()])
        if k == 5:
            memory.state = start, ("seen", start)  # one tensor
        if k == 8:
            memory.state = start, ("named", start + 2)


SETS = [
    a_state_in_a_tuple, moments_in_lists, moments_by_the_id_of_a_parameter,
    a_meter_that_asks_for_tensors, warm_up_by_a_counter,
    a_rate_that_the_step_sets_and_others_too, a_flag_that_is_what_it_was,
    a_mode_that_is_what_it_was,
]  # fmt: skip


@pytest.mark.parametrize("program", SETS, ids=lambda f: f.__name__)
def test_what_a_step_sets_is_set_before_it_is_used(program):
    check(program, traces=4)


def test_an_index_that_is_computed_from_a_number_has_a_program_for_each_outcome():
    check(a_table_that_the_step_goes_through, traces=6)


# ---- schedules
def _own(T):
    class Warm(T.optim.lr_scheduler.LRScheduler):
        def __init__(self, optimizer, steps):
            self.steps = steps
            super().__init__(optimizer)

        def get_lr(self):
            if self.last_epoch < self.steps:
                return [base * (self.last_epoch + 1) / self.steps for base in self.base_lrs]
            return [group["lr"] * 0.9 for group in self.optimizer.param_groups]

    return Warm


SCHEDULES = {
    "of a user": lambda T, o: _own(T)(o, 4),
    "at milestones": lambda T, o: T.optim.lr_scheduler.MultiStepLR(o, [2, 5, 5], 0.5),
    "a function": lambda T, o: T.optim.lr_scheduler.LambdaLR(o, lambda k: min(1, (k + 1) / 4)),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_step_inside(name):
    def program(T, compile):
        net = network(T)
        groups = [{"params": net[0].parameters(), "lr": 0.2}, {"params": net[2].parameters()}]
        optimizer = T.optim.SGD(groups, lr=0.1)
        scheduler = SCHEDULES[name](T, optimizer)
        for found in training(T, compile, optimizer, net, after=scheduler.step):
            yield found, scheduler.last_epoch, scheduler.get_last_lr()

    check(program, traces=6)


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
                    flat(tg, optimizer.state_dict()["state"]), strict=True):  # fmt: skip
        np.testing.assert_array_equal(x, y)
    assert other.param_groups[0]["params"][0] is not net[0].weight
