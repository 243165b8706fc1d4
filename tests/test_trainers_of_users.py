"""Trainers (trainers.py) as people write them: what a step sets, and schedules."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
from trainers import batches, check, network, training


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
]


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
