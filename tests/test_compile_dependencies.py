"""What a compiled function depends on besides its arguments: every way to reach a value is watched,
and what the function itself changes there is refused and undone.
"""

from __future__ import annotations

from collections import deque
from functools import partial

import numpy as np
import pytest

import tracegrad as tg
from tracegrad import nn

SCALE = 1.0


def scaled(x):
    return x * SCALE


class Settings:
    scale = 1.0


class Slotted:
    __slots__ = ("scale",)


class Thing:
    scale = 1.0

    def __init__(self):
        self.w = tg.ones(2)

    @property
    def doubled(self):
        return 2 * SCALE

    def method(self, x):
        return x * SCALE

    @classmethod
    def of_the_class(cls, x):
        return x * cls.scale

    def __call__(self, x):
        return x * self.w

    def __add__(self, x):
        return x + SCALE


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.scales = [1.0]
        self.settings = Slotted()
        self.settings.scale = 1.0

    def forward(self, x):
        return self.helper(x) * self.scales[0] * self.settings.scale

    def helper(self, x):
        return scaled(x) * Settings.scale


def _worlds():
    thing, net, slotted, known, queue = Thing(), Net(), Slotted(), {1}, deque([1.0])
    slotted.scale = 1.0

    def keyword(x, *, k=1.0):
        return x * k

    def change_global(patch):
        patch.setitem(globals(), "SCALE", 3.0)

    return {
        "a global of a function that is called": (lambda x: scaled(x), change_global),
        "a global of a method": (lambda x: thing.method(x), change_global),
        "a global of a property": (lambda x: x * thing.doubled, change_global),
        "a global of an operator": (lambda x: thing + x, change_global),
        "a global of a Module's method": (net, change_global),
        "an attribute of a class": (
            lambda x: x * Settings.scale, lambda p: p.setattr(Settings, "scale", 3.0)),
        "one that a method reads": (net, lambda p: p.setattr(Settings, "scale", 3.0)),
        "one that a class method reads": (
            lambda x: Thing.of_the_class(x), lambda p: p.setattr(Thing, "scale", 3.0)),
        "an attribute found by its name": (
            lambda x: x * getattr(Settings, "scale"),  # noqa: B009
            lambda p: p.setattr(Settings, "scale", 3.0)),
        "a method": (
            lambda x: thing.method(x), lambda p: p.setattr(Thing, "method", lambda s, x: x * 3)),
        "a list in a Module": (net, lambda p: net.scales.__setitem__(0, 3.0)),
        "an object in a Module": (net, lambda p: p.setattr(net.settings, "scale", 3.0)),
        "a slot": (lambda x: x * slotted.scale, lambda p: p.setattr(slotted, "scale", 3.0)),
        "a set": (lambda x: x * len(known), lambda p: known.add(2)),
        "a deque": (lambda x: x * queue[0], lambda p: queue.appendleft(3.0)),
        "a callable object": (thing, lambda p: p.setattr(thing, "w", tg.full((2,), 3.0))),
        "a partial function": (partial(lambda y, x: x * SCALE, None), change_global),
        "a keyword's default": (keyword, lambda p: p.setitem(keyword.__kwdefaults__, "k", 3.0)),
    }


@pytest.mark.parametrize("name", _worlds())
def test_what_code_can_reach_is_seen_when_it_changes(name, monkeypatch):
    function, change = _worlds()[name]
    compiled, x = tg.compile(function), tg.ones(2)
    before = function(x)
    for _ in range(3):
        np.testing.assert_array_equal(compiled(x), before)
    assert compiled.cache_info().misses == 1
    change(monkeypatch)
    assert not np.array_equal(function(x), before)
    np.testing.assert_array_equal(compiled(x), function(x))


def _effects():
    net, seen, table, known = Net(), [], {"a": 1, "b": 2}, {1}
    array = np.ones(2)

    def shuffled():
        table["a"] = table.pop("a")

    return {
        "a list": (lambda x: (seen.append(x * 2), len(seen)), lambda: list(seen)),
        "a list that shrinks": (lambda x: net.scales.pop(), lambda: list(net.scales)),
        "an item of a list in a Module": (
            lambda x: net.scales.insert(0, 2.0), lambda: list(net.scales)),
        "the order of a dict": (lambda x: shuffled(), lambda: list(table)),
        "a set": (lambda x: known.add(2), lambda: set(known)),
        "an attribute of a class": (
            lambda x: setattr(Settings, "scale", 2.0), lambda: Settings.scale),
        "an array": (lambda x: array.__iadd__(1), lambda: array.tolist()),
        "an argument": (lambda x, into: into.append(x), lambda: None),
    }


@pytest.mark.parametrize("name", _effects())
def test_what_the_function_itself_changes_is_refused_and_undone(name):
    function, state = _effects()[name]
    before = state()
    given = [] if name == "an argument" else None
    for _ in range(2):
        with pytest.raises(RuntimeError, match="cannot be replayed"):
            tg.compile(function)(tg.ones(2), *([given] if given is not None else []))
        assert state() == before and not given


def test_a_call_that_raises_leaves_no_traced_tensor_behind():
    net = Net()

    @tg.compile
    def f(x):
        net.scales[0] = x * 2
        net.kept = x * 3
        return x + tg.ones(5)

    with pytest.raises(RuntimeError, match="must match"):
        f(tg.ones(2))
    assert net.scales == [1.0] and not hasattr(net, "kept")
