"""Files with objects of classes that the user declares safe, and with no others."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict

import pytest

import tracegrad as tg
from tracegrad import nn
from tracegrad.serialization import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    safe_globals as allowed,
)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.act = nn.Linear(3, 2), nn.functional.relu

    def forward(self, x):
        return self.act(self.layer(x))


class Point:
    __slots__ = ("__dict__", "x")

    def __init__(self, x):
        self.x, self.y = x, 2


class Counted:
    def __init__(self, n):
        self.n = n

    def __getstate__(self):
        return {"half": self.n / 2}

    def __setstate__(self, state):
        self.n = 2 * state["half"]


class Called:
    def __reduce__(self):
        return (pair, (tg.ones(2), 3))


def pair(a, b):
    return (a * 2, b)


def file_of(value):
    file = io.BytesIO()
    tg.save(value, file)
    file.seek(0)
    return file


@pytest.fixture(autouse=True)
def no_others():
    yield
    clear_safe_globals()


def test_a_whole_model_comes_back():
    model, x = Net(), tg.randn(4, 3)
    file = file_of(model)
    with allowed([Net, nn.Linear, nn.functional.relu]):
        again = tg.load(file)
    assert (again(x) == model(x)).all() and isinstance(again.layer.weight, nn.Parameter)
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError, match="Net, which is not allowed.*add_safe_globals"):
        tg.load(file)


@pytest.mark.parametrize("value, safe", [
    (Point(1), [Point]),
    (Counted(6), [Counted]),
    (OrderedDict(a=[Point(tg.ones(2)), Point]), [Point]),
], ids=["slots", "a state of its own", "a class as a value"])
def test_objects_come_back(value, safe):
    add_safe_globals(safe)
    again = tg.load(file_of(value))
    assert type(again) is type(value)
    if isinstance(value, OrderedDict):
        point, kind = again["a"]
        assert kind is Point and point.x.tolist() == [1, 1] and point.y == 2
    else:
        assert all(getattr(again, n) == getattr(value, n) for n in ("x", "y", "n")
                   if hasattr(value, n))


def test_functions_are_called():
    add_safe_globals([(pair, f"{__name__}.pair")])
    a, b = tg.load(file_of(Called()))
    assert a.tolist() == [2, 2] and b == 3
    assert get_safe_globals() == [pair]


def test_only_what_is_named_is_used():
    add_safe_globals([Net])
    for value in (Net(), Point(1), Called(), print, [Called]):
        with pytest.raises(pickle.UnpicklingError, match="not allowed"):
            tg.load(file_of(value))


def test_a_block_puts_back_what_was_safe():
    add_safe_globals([Net])
    with allowed([Point, Net]):
        assert set(get_safe_globals()) == {Net, Point}
    assert get_safe_globals() == [Net]
    clear_safe_globals()
    assert get_safe_globals() == []


@pytest.mark.parametrize("wrong", [3, "os.system", (Net,), (Net, 3)])
def test_wrong_entries(wrong):
    with pytest.raises((TypeError, ValueError)):
        add_safe_globals([wrong])
