"""How a scenario of capture is tried: a function, and a change of what it reads. The compiled
function gives what the eager one gives, before and after.
"""

from __future__ import annotations

import types

import numpy as np

import tracegrad as tg

module = types.ModuleType("settings_of_a_user")


class Base:
    rate = 2.0

    def scaled(self, x):
        return x * self.rate


class Sub(Base):
    pass


def collection():
    """A table of scenarios by name, and the decorator that puts one there."""
    table = {}

    def scenario(make):
        table[make.__name__] = make
        return make

    return table, scenario


class Pair:
    """A function that is compiled already, beside the eager one."""

    def __init__(self, eager, compiled):
        self.eager, self.compiled = eager, compiled


def same(x, y):
    np.testing.assert_array_equal(np.asarray(x.detach()), np.asarray(y))


def check(scenario, monkeypatch):
    function, change = scenario(monkeypatch)
    if isinstance(function, Pair):
        function, compiled = function.eager, function.compiled
    else:
        compiled = tg.compile(function)
    x = tg.full((2,), 3.0)
    before = function(x).detach()
    for _ in range(3):
        same(compiled(x), before)
    if hasattr(compiled, "cache_info"):
        assert compiled.cache_info().misses == 1
    change()
    after = function(x).detach()
    assert not np.array_equal(after.numpy(), before.numpy(), equal_nan=True)
    for _ in range(2):
        same(compiled(x), after)


def lockstep(program):
    """Run a generator that compiles by what it is given, calls and changes things in between: once
    eagerly and once compiled. What it yields must be the same. Returns how often was traced.
    """
    compiled = []

    def compile(function):
        compiled.append(tg.compile(function))
        return compiled[-1]

    assert [_told(y) for y in program(compile)] == [_told(y) for y in program(lambda f: f)]
    return max((f.cache_info().misses for f in compiled), default=0)


def _told(value):
    if isinstance(value, tg.Tensor):
        return (value.dtype, value.requires_grad, repr(value.tolist()))
    if isinstance(value, dict):
        return {k: _told(v) for k, v in value.items()}, list(value)
    if isinstance(value, (list, tuple)):
        return [_told(v) for v in value]
    return value
