"""Compiled functions that look at values: numbers that leave, that are computed with, that decide;
each call says what the eager function and torch say. A program has the number of its ways: each is
traced once, and once more if calls often change between them.
"""

from __future__ import annotations

import math

import pytest
from values import collector, inputs, lockstep, of

PROGRAMS: dict = {}
program = collector(PROGRAMS)

# ---- numbers that leave
PROGRAMS |= {
    "returned": of(lambda T, x: x.sum().item()),
    "one of an argument": of(lambda T, x: (x[0].item(), x[2].item(), x * 2)),
    "in a dict": of(lambda T, x: {"loss": x.sum().item(), "n": x.numel(), "x": x + 1}),
    "a list of them": of(lambda T, x: (x * 2).tolist()),
    "nested lists": of(lambda T, x: T.outer(x, x).tolist()),
    "integers": of(lambda T, x: (x.argmax().item(), (x > 0).sum().item())),
    "whether": of(lambda T, x: (x[0] > 2).item(), 2),
    "arithmetic": of(lambda T, x: (x.sum().item() * 2 - 1) / 3 + abs(x[1].item())),
    "of several": of(lambda T, x: x[0].item() ** 2 + math.exp(-x[2].item())),
    "rounded": of(lambda T, x: round(x.mean().item(), 3)),
    "a constant": of(lambda T, x: (x * 2, T.ones(2).sum().item())),
}


# ---- numbers that are computed with
PROGRAMS |= {
    "scales": of(lambda T, x: x * (2.0 / (1 + x[0].item()))),
    "twice": of(lambda T, x: (x * x[0].item() + 1).sum().item() * x + x[2].item()),
    "a square root": of(lambda T, x: x / math.sqrt(1 + (x * x).sum().item())),
    "fills": of(lambda T, x: T.full((2,), x[0].item()) + x[:2]),
    "divmod": of(lambda T, x: x * divmod(x[0].item(), 2)[1]),
    "clamps": of(lambda T, x: x.clamp(-x[0].item(), x[0].item())),
    "sums a list": of(lambda T, x: x * sum(x.tolist())),
    "a power": of(lambda T, x: x ** x[0].item()),
    "in place": of(lambda T, x: x.clone().mul_(x[0].item()).add_(1, alpha=x[2].item())),
    "the same number again": of(lambda T, x: (n := x.sum().item(), x * n, x - n)),
    "an integer": of(lambda T, x: x * x.argmax().item()),
}


@program(1)
def gradients_of_both_parts(T, compile):
    w = T.tensor([0.5, -1.0, 2.0], requires_grad=True)

    @compile
    def f(x):
        w.grad = None
        y = (w * x).tanh()
        z = (y * (1 + y.sum().item())).exp() * w
        z.sum().backward()
        return z.detach(), y.detach()

    for x in inputs(T):
        yield f(x), w.grad.clone()


@program(1)
def backward_outside(T, compile):
    w = T.tensor([0.5, -1.0, 2.0], requires_grad=True)

    @compile
    def f(x):
        y = (w * x).tanh()
        return (y.exp() * y.mean().item() * w).sum()

    kept = []
    for x in inputs(T):
        w.grad = None
        kept.append(f(x))
        kept[-1].backward(retain_graph=True)
        yield kept[-1], w.grad.clone()
    w.grad = None
    kept[0].backward()  # what it saved is still its own
    yield w.grad


@program(1)
def state_is_written_once(T, compile):
    total, count = T.zeros(3), [0]

    @compile
    def f(x):
        total.add_(x)
        count[0] += 1
        y = total * total.sum().item()
        total.mul_(0.5)
        return y / count[0]

    for x in inputs(T):
        yield f(x), total.clone(), count[0]


# ---- values that decide
PROGRAMS |= {
    "if": of(lambda T, x: x * 2 if x[0].item() > 3 else x - 1, 2),
    "if of two": of(lambda T, x: x * 2 if x[0].item() > 3 and x[1].item() < -2 else x - 1, 3),
    "the larger": of(lambda T, x: max(x[0].item(), 4 * x[2].item()) * x, 2),
    "the largest tensor": of(lambda T, x: max(x[0], x[1] + 2) * x, 2),
    "an assert": of(lambda T, x: x / positive(x[0].item())),
    "is it finite": of(lambda T, x: x if math.isfinite(x.sum().item()) else x * 0),
    "a range": of(lambda T, x: sum((x * k for k in range(int(x[0]) % 3)), x), 6),
    "an index": of(lambda T, x: x * [1.0, 2.0, 3.0][x.argmax().item()], 2),
    "a key": of(lambda T, x: x * {0: 1.0, 1: 3.0, 2: 2.0}[x.argmax().item()], 2),
    "a slice": of(lambda T, x: x[: (x > 0).sum().item()] * 2, 3),
    "a shape": of(lambda T, x: T.zeros((x > 0).sum().item()).sum() + x, 3),
    "chained": of(lambda T, x: x if 1 < x[0].item() < 4 else -x, 3),
}


@program(2)
def what_fails_on_the_other_way(T, compile):
    """The first way reads out of range for an index that goes the other."""
    f = compile(lambda x, i: x[i] * 2 if i < 3 else x.sum())
    for k in (1, 7, 2, 100, 0):
        yield f(inputs(T)[1], T.tensor(k))


def positive(number):
    assert number > 0
    return number


@program(3)
def newton(T, compile):
    @compile
    def root(x):
        y, error, steps = x.abs() + 1, 1.0, 0
        while error > 1e-3:
            z = 0.5 * (y + x.abs() / y)
            error, y, steps = (z - y).abs().max().item(), z, steps + 1
        return y, steps

    for x in (*inputs(T), *inputs(T)):
        yield root(x)


# ---- around optimizer steps
def training(T, compile, body, optimizer="Adam"):
    model = T.nn.Linear(3, 1)
    with T.no_grad():
        model.weight.copy_(T.tensor([[0.3, -0.2, 0.1]]))
        model.bias.zero_()
    opt = getattr(T.optim, optimizer)(model.parameters(), lr=0.1)
    step = compile(lambda x: body(T, model, opt, x))
    for k, x in enumerate((*inputs(T), *inputs(T))):
        yield step(x.reshape(1, 3) * (10 if k == 3 else 1)), model.weight, opt.state_dict()["state"]


def loss_of(model, opt, x):
    opt.zero_grad()
    loss = model(x).pow(2).mean()
    loss.backward()
    return loss


def logs(T, model, opt, x):
    loss = loss_of(model, opt, x)
    opt.step()
    return loss.item()


def skips_what_is_large(T, model, opt, x):
    loss = loss_of(model, opt, x)
    norm = T.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    if T.isfinite(norm) and norm < 20:
        opt.step()
    return loss.item(), norm.item()


def clips_by_hand(T, model, opt, x):
    loss_of(model, opt, x)
    norm = sum(p.grad.pow(2).sum() for p in model.parameters()).sqrt().item()
    if norm > 1.0:
        for p in model.parameters():
            p.grad.mul_(1.0 / (norm + 1e-6))
    opt.step()
    return norm


def sets_the_rate(T, model, opt, x):
    loss = loss_of(model, opt, x)
    for group in opt.param_groups:
        group["lr"] = 0.1 / (1 + loss.item())
    opt.step()
    return opt.param_groups[0]["lr"]


def branches_before_backward(T, model, opt, x):
    opt.zero_grad()
    loss = model(x).pow(2).mean()
    if loss.item() > 1:
        loss = loss * 0.5
    loss.backward()
    opt.step()
    return loss.detach()


for _body, _ways in (
    (logs, 1), (skips_what_is_large, 2), (clips_by_hand, 2), (sets_the_rate, 1),
    (branches_before_backward, 2),
):
    for _name in ("Adam", "SGD"):
        PROGRAMS[f"{_body.__name__} {_name}"] = (
            lambda T, compile, b=_body, n=_name: training(T, compile, b, n), _ways
        )


# ---- shapes that depend on values
PROGRAMS |= {
    "nonzero": of(lambda T, x: (x > 0).nonzero(), 3),
    "nonzero as a tuple": of(lambda T, x: x[(x > 0).nonzero(as_tuple=True)] * 2, 3),
    "argwhere": of(lambda T, x: T.argwhere(x) + 1, 3),
    "where": of(lambda T, x: T.where(x > 0)[0] * 2, 3),
    "unique": of(lambda T, x: T.unique(x.round(), return_inverse=True, return_counts=True), 3),
    "unique in a row": of(lambda T, x: T.unique_consecutive(x > 0, return_counts=True), 3),
    "bincount": of(lambda T, x: T.bincount(x.abs().long()), 6),
    "bincount with weights": of(lambda T, x: T.bincount(x.abs().long() % 3, x.abs()), 6),
    "repeats": of(lambda T, x: x.repeat_interleave(x.abs().long() % 3), 6),
    "selects twice": of(lambda T, x: x[(x > 0).nonzero()[:, 0]][(x > 9).nonzero()[:, 0]].sum(), 3),
}


def writes_to_what_is_computed(T, x):
    w = T.tensor(2.0, requires_grad=True)
    count, same = T.bincount(x.abs().long()), T.bincount(x.abs().long())
    count[1:].add_(count[:-1] * 3)
    where = (x > 0).nonzero()
    where.neg_()
    weighed = T.bincount(x.abs().long(), x.abs())
    weighed.mul_(w)
    return count, same, where, T.unique(x).fill_(3.0), *T.autograd.grad(weighed.sum(), w)


PROGRAMS["writes to what is computed"] = of(writes_to_what_is_computed, 6)


@program(4)
def gradients_through_positions(T, compile):
    w = T.tensor([0.5, -1.0, 2.0], requires_grad=True)

    @compile
    def f(x):
        w.grad = None
        y = w * x
        kept = y[(y > 0).nonzero()[:, 0]].exp()
        (kept.sum() + y.sum()).backward()
        return kept.detach()

    for x in (*inputs(T), *inputs(T)):
        yield f(x), w.grad


@pytest.mark.parametrize("name", PROGRAMS)
def test_in_lockstep(name):
    run, ways = PROGRAMS[name]
    traces = max(f.cache_info().misses for f in lockstep(run))
    assert traces == 1 if ways == 1 else traces <= 2 * ways
