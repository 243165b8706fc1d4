"""Programs (reruns.py) in which what the function reads changes between a call and its backward."""

from __future__ import annotations

import numpy as np
import pytest
from reruns import Holder, check, leaf
from scenarios import collection

import tracegrad as T
from tracegrad import nn
from tracegrad.nn import functional as F

PROGRAMS, program = collection()


@program
def attributes_that_change_between(compile):
    state, seen = Holder(), T.zeros(3)
    state.calls, state.last = 0, None

    @compile
    def f(x):
        state.calls += 1
        y = x**3 * state.scale * state.calls
        state.last = y.detach()
        y.register_hook(lambda g: [seen.add_(g)] and None)
        return y.sum()

    for k in range(6):
        state.scale = 2.0 + k
        x = leaf()
        y = f(x)
        state.scale = 100.0
        (g,) = T.autograd.grad(y, x, create_graph=True)
        yield y, g, *T.autograd.grad(g.sum(), x), seen, state.last, state.calls, state.scale


@program
def a_hidden_state_that_changes_between(compile):
    state = Holder()
    state.h = T.zeros(3)

    @compile
    def f(x):
        state.h = state.h * 0.5 + x
        return (state.h**3 * state.scale).sum()

    for k in range(6):
        state.scale, state.h = 2.0 + k, state.h.detach()
        x = leaf()
        y, h = f(x), state.h
        state.scale, state.h = 100.0, T.ones(3)
        (g,) = T.autograd.grad(y, x, create_graph=True)
        yield y, g, *T.autograd.grad(g.sum(), x), h, state.h


@program
def settings_of_an_optimizer_that_change_between(compile):
    optimizer = T.optim.SGD([leaf()], lr=0.5)
    (group,) = optimizer.param_groups
    f = compile(lambda x: (x**3).sum() * group["lr"])
    for k in range(3):
        group["lr"] = 0.5 + k
        x = leaf()
        y = f(x)
        group["lr"] = 9.0
        (g,) = T.autograd.grad(y, x, create_graph=True)
        yield g, *T.autograd.grad(g.sum(), x), group["lr"]


@program
def containers_that_change_between(compile):
    settings, factors = {"a": 2.0, "b": "x"}, [1.0, 2.0]
    f = compile(lambda x: (x**3 * settings["a"] * factors[0]).sum() * len(settings["b"]))
    for k in range(4):
        settings["a"], factors[0], settings["b"] = 2.0 + k, 1.0 + k, "xy"[: 1 + k % 2]
        x = leaf()
        y = f(x)
        settings["a"], factors[0], settings["b"] = 50.0, 70.0, "long"
        (g,) = T.autograd.grad(y, x, create_graph=True)
        yield g, *T.autograd.grad(g.sum(), x), settings["a"], factors[0], len(settings["b"])


@program
def arrays_that_change_between(compile):
    a = np.ones(3, np.float32)
    f = compile(lambda x: (x**3 * T.from_numpy(a)).sum())
    for k in range(4):
        a = np.full(3, k + 1, np.float32)
        x = leaf()
        y = f(x)
        a = np.zeros(3, np.float32)
        (g,) = T.autograd.grad(y, x, create_graph=True)
        yield g, *T.autograd.grad(g.sum(), x)


@program
def a_module_whose_mode_and_parts_change_between(compile):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(T.ones(3))
            self.register_buffer("count", T.zeros(()))

        def forward(self, x):
            self.count.add_(1)
            y = x**3 * self.w * self.count.clone()
            return (F.dropout(y, 0.5, self.training)).sum()

    model = Scaled()
    f = compile(model)
    for _ in range(3):
        x, old = leaf(), model.w
        y = f(x)
        model.eval()
        model.w, model.count = nn.Parameter(T.full((3,), 5.0)), T.tensor(7.0)
        (g,) = T.autograd.grad(y, x, create_graph=True)
        g.sum().backward()
        yield g, old.grad, x.grad, model.count, model.w.grad is None, model.training
        model.train()


@program
def generators_that_go_on_between(compile):
    own = T.Generator().manual_seed(3)

    @compile
    def f(x):
        y = x**3 * T.rand(3, generator=own) + T.randn(3)
        y.register_hook(lambda g: g * T.rand(3, generator=own))
        return (y * y).sum()

    for _ in range(3):
        x = leaf()
        y, between = f(x), T.rand(2)
        y.backward(retain_graph=True)
        y.backward()
        yield y, between, x.grad, T.rand(1), T.rand(1, generator=own)
        y = f(x)
        T.manual_seed(99)
        (g,) = T.autograd.grad(y, x, create_graph=True)
        yield g, T.rand(1), *T.autograd.grad(g.sum(), x), T.rand(1, generator=own)


@program
def checked_operands_that_the_function_overwrites(compile):
    """Their old values do not matter to the result, but are checked again."""

    def looked_up(x, i):
        y = T.index_reduce(x, 0, i, x, reduce="prod")
        y.fill_(3.0)
        i.cumsum_(0)
        return y * x

    def gathered(x, i):
        y = x.gather(0, i).zero_()
        i.add_(7)
        return y + x**2

    def divided(x, i):
        rest = 7 % (i + 1)
        i.fill_(-1)
        return (x * rest).fill_(2.0) * x

    for f in map(compile, (looked_up, gathered, divided)):
        for _ in range(3):
            x, i = leaf(), T.tensor([2, 0, 1])
            y = f(x, i)
            (g,) = T.autograd.grad(y.sum(), x, create_graph=True)
            yield y, i, g, *T.autograd.grad(g.sum(), x, allow_unused=True)


@program
def arguments_that_lie_in_larger_memory(compile):
    def second(x, b):
        b.mul_(2)
        return (x[:2] * b.as_strided((2,), (1,), 5)).exp()

    def own(x, b):
        b.cumsum_(0)
        return (x * b.as_strided((3,), (1,))).exp()

    def sized(x, b):
        b.add_(1)
        return x**3 * (b.stride(-1) + 10 * b.storage_offset())

    for f in map(compile, (second, own, sized)):
        for part in (lambda m: m[1], lambda m: m.flatten()[4:8], lambda m: m[1].detach()):
            x, b = leaf(), T.arange(12.0).reshape(3, 4)
            y = f(x, part(b))
            (g,) = T.autograd.grad(y.sum(), x, create_graph=True)
            yield y, b, g, *T.autograd.grad(g.sum(), x)


@pytest.mark.parametrize("name", PROGRAMS)
def test_compiled_it_is_what_it_is_eagerly(name):
    check(PROGRAMS[name])
