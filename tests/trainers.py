"""How a trainer is tried: in torch where it is there, eagerly, and compiled as a whole step; all
that can be seen after each step is the same. Every program takes `T`, which is torch or
tracegrad.
"""

from __future__ import annotations

import copy
import math

import numpy as np

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
            for k in range(count)]


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
