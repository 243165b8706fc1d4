"""What compiled functions hold on to: structure, not the tensors that they were called with."""

from __future__ import annotations

import gc
from weakref import ref

import pytest

import tracegrad as tg

# name -> a function of a fresh tensor, which compiled programs answer
USERS = {}


def user(fn):
    USERS[fn.__name__] = fn
    return fn


@user
def returned(C):
    return C(lambda x: (x.exp() * 2, x.sum()))


@user
def changed_in_place_and_returned(C):
    return C(lambda x: x.add_(1))


@user
def viewed(C):
    return C(lambda x: (x[1:], x.view(-1, 1)))


@user
def read_through_an_array(C):
    f = C(lambda a: a * 2)
    return lambda x: f(x.numpy())


@user
def in_containers(C):
    return C(lambda x: {"y": [x[0] * 2, x[1]["z"] + 1]}), lambda x: (x, {"z": x.clone()})


@user
def differentiated_outside(C):
    f = C(lambda x: (x.exp() * x).sum())

    def run(x):
        f(x.requires_grad_()).backward()
        return x.grad

    return run


@user
def differentiated_inside(C):
    def step(x):
        x.grad = None
        loss = (x.exp() * x).sum()
        loss.backward()
        return loss

    compiled = C(step)
    return lambda x: compiled(x.requires_grad_())


@user
def with_a_gradient_before(C):
    def step(x):
        x.grad.mul_(2)
        (x * x).sum().backward()
        return x.grad

    compiled = C(step)

    def run(x):
        x.requires_grad_()
        x.grad = tg.ones_like(x)
        return compiled(x)

    return run


@user
def branched_on(C):
    return C(lambda x: x + 1 if x.sum() > 0 else x - 1)


@user
def hooked(C):
    f = C(lambda x: (x * x).sum())

    def run(x):
        x.requires_grad_().register_hook(lambda g: g * 2)
        f(x).backward()

    return run


@pytest.mark.parametrize("name", USERS)
def test_a_program_holds_none_of_the_tensors_it_was_called_with(name):
    f = USERS[name](tg.compile)
    f, wrapped = f if isinstance(f, tuple) else (f, lambda x: x)
    gone = []
    for n in (3, 4, 5, 4):
        for _ in range(2):
            x = tg.ones(n)
            gone += [ref(x), ref(x._array)]
            f(wrapped(x))
            del x
    gc.collect()
    assert [r() for r in gone] == [None] * len(gone)
