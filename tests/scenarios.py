"""How a scenario of capture is tried: a function, and a change of what it reads. The compiled
function gives what the eager one gives, before and after.
"""

from __future__ import annotations

import numpy as np

import tracegrad as tg


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
