"""Numbers that change from call to call make one program, wherever they are found, unless the
function needs to know them; and programs are few.
"""

from __future__ import annotations

import json
import math
import types
import warnings
from dataclasses import dataclass

import numpy as np
import pytest

import tracegrad as tg
from tracegrad import nn

BETA = 1.0


class Net(nn.Module):
    beta = 0.5

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(tg.ones(2, dtype=tg.float64))
        self.temperature = 1.0
        self.epoch = 0

    def forward(self, x):
        return x * self.w / self.temperature


@dataclass
class Config:
    beta: float = 1.0


def _places():
    """name -> (a function of x and a setter of the number)."""
    closed, table, values = 1.0, {"deep": {"beta": 1.0}}, [1.0]
    net, config, space = Net(), Config(), types.SimpleNamespace(beta=1.0)
    array = np.ones(())

    def set_closed(k):
        nonlocal closed
        closed = k

    def set_global(k):
        global BETA
        BETA = k

    return {
        "a closure": (lambda x: x * (1 - closed), set_closed),
        "a global": (lambda x: BETA * x + BETA**2, set_global),
        "an attribute": (lambda x: net(x), lambda k: setattr(net, "temperature", k)),
        "an attribute of an object": (
            lambda x: x - 2 * config.beta, lambda k: setattr(config, "beta", k)),
        "a namespace": (lambda x: x / space.beta, lambda k: setattr(space, "beta", k)),
        "a nested dict": (
            lambda x: x + table["deep"]["beta"], lambda k: table["deep"].update(beta=k)),
        "a list": (lambda x: x.add(x, alpha=values[0]), lambda k: values.__setitem__(0, k)),
        "a number of NumPy": (
            lambda x: x * table["n"], lambda k: table.update(n=np.float64(k))),
        "an array": (lambda x: x * array, lambda k: array.fill(k)),
        "as a filling": (lambda x: x + tg.full((2,), closed), set_closed),
        "as a tensor": (lambda x: x * tg.tensor(closed), set_closed),
        "in clamp": (lambda x: x.clamp(min=closed), set_closed),
        "by functions of math": (
            lambda x: x * math.sqrt(closed) + math.floor(math.exp(-closed)), set_closed),
        "in where": (lambda x: tg.where(x > closed, x, closed), set_closed),
    }


@pytest.mark.parametrize("name", _places())
def test_a_number_that_changes_is_an_input(name):
    function, put = _places()[name]
    f = tg.compile(function)
    x = tg.tensor([1.0, -2.0], dtype=tg.float64)
    for k in range(1, 12):
        put(0.25 * k)
        np.testing.assert_array_equal(f(x).detach(), function(x).detach())
    assert f.cache_info().misses <= 3


@pytest.mark.parametrize("kind", [int, float, np.float32, np.float64, np.int64])
def test_a_number_among_the_arguments(kind):
    function = lambda x, k: x * k + (k - 1)  # noqa: E731
    f = tg.compile(function)
    for k in range(200):
        x = tg.tensor([1.0, k], dtype=tg.float64)
        np.testing.assert_array_equal(f(x, kind(k)), function(x, kind(k)))
    info = f.cache_info()
    assert info.misses == 2 and info.currsize == 2


def _uses():
    return {
        "text": lambda x, k: x * len(str(k)),
        "formatted": lambda x, k: x * len(f"{k:.3f}"),
        "hash": lambda x, k: x * {0.5: 2.0}.get(k, 3.0),
        "membership": lambda x, k: x * (2 if k in (0.5, 1.5) else 3),
        "type": lambda x, k: x * (2 if type(k) == float else 3),  # noqa: E721
        "isinstance": lambda x, k: x * (2 if isinstance(k, float) else 3),
        "no tensor": lambda x, k: x * (2 if isinstance(k, tg.Tensor) else 3),
        "is_tensor": lambda x, k: x * (2 if tg.is_tensor(k) else 3),
        "json": lambda x, k: x * len(json.dumps(k)),
        "math": lambda x, k: x * math.exp(k),
        "int": lambda x, k: x * int(k),
        "a method": lambda x, k: x * (2 if k.is_integer() else 3),
        "a branch": lambda x, k: x * 2 if k > 1.2 else x * 3,
        "truth": lambda x, k: x * 2 if k - 0.5 else x * 3,
        "min and max": lambda x, k: x * min(k, 1.0) + max(k, 1.0),
        "an array": lambda x, k: x * float(np.asarray(k).sum()),
        "a power": lambda x, k: x * (1 - 0.9**k),
        "an abs": lambda x, k: x * abs(k - 1) * round(k),
        "a sum": lambda x, k: x * sum([k, k, 1]),
        "a dict of them": lambda x, k: x * {"k": k}["k"],
        "divmod": lambda x, k: x * divmod(k, 0.4)[0],
        "a conversion": lambda x, k: x.to(tg.float64 if k > 1 else tg.float32),
        "caught": lambda x, k: _caught(x, k),
    }


def _caught(x, k):
    try:
        return x * math.exp(k)
    except Exception:
        return x


@pytest.mark.parametrize("name", _uses())
def test_every_use_of_a_number_is_what_it_is_eagerly(name):
    function = _uses()[name]
    f, x = tg.compile(function), tg.ones(2)
    for k in (0.5, 1.5, 0.5, 2.5, 1.0, -0.0, 0.0, 1e300, 2.0):
        for given in (k, np.float64(k)) if name not in ("json", "type") else (k,):
            try:
                expected = function(x, given)
            except Exception as error:
                with pytest.raises(type(error)):
                    f(x, given)
                continue
            found = f(x, given)
            assert found.dtype is expected.dtype
            np.testing.assert_array_equal(found, expected)


def test_a_dtype_among_the_arguments_is_no_bag_of_numbers():
    f = tg.compile(lambda x, dtype, size: x.to(dtype).expand(size) * 2)
    for dtype in (tg.float64, tg.int32, tg.float64):
        for size in (tg.Size([3, 2]), tg.Size([1, 2])):
            found = f(tg.ones(2), dtype=dtype, size=size)
            assert found.dtype is dtype and found.shape == size
    g = tg.compile(lambda k, dtype: tg.full((2,), k, dtype=dtype))
    for k in (1, 2, 3):
        assert g(k, dtype=tg.float64).tolist() == [k, k]


def test_exceptions_of_arithmetic_are_pythons():
    f = tg.compile(lambda x, k: x / (1 / k))
    for k in (2.0, 4.0, 5.0):
        f(tg.ones(2), k)
    with pytest.raises(ZeroDivisionError):
        f(tg.ones(2), 0.0)
    g = tg.compile(lambda x, k: x * (10**k))
    for k in (2, 3, 4, 30):
        np.testing.assert_array_equal(g(tg.ones(2), k), tg.ones(2) * (10**k))


def test_sizes_are_needed_and_make_a_program_each():
    f = tg.compile(lambda x, n: x.reshape(n, -1).sum(1))
    x = tg.arange(12.0)
    for n in (1, 2, 3, 4, 2, 3):
        np.testing.assert_array_equal(f(x, n), x.reshape(n, -1).sum(1))
    assert f.cache_info().misses == 4


def test_what_the_trace_never_read_makes_no_program():
    net = Net()
    net.settings = {"name": "a"}
    f = tg.compile(net)
    for k in range(6):
        net.epoch = k
        net.note = f"epoch {k}"
        net.settings["name"] = str(k)
        Net.beta = k
        f(tg.ones(2, dtype=tg.float64))
    assert f.cache_info().misses == 1


def test_a_tensor_that_is_another_one_each_time_is_an_input():
    state = types.SimpleNamespace(h=tg.zeros(2), array=np.zeros(2))

    @tg.compile
    def step(x):
        return (state.h + x) * 2 + tg.tensor(state.array)

    for k in range(8):
        eager = (state.h + 1) * 2 + tg.tensor(state.array)
        state.h = step(tg.ones(2))
        np.testing.assert_array_equal(state.h, eager)
        state.array = np.full(2, float(k))
    assert step.cache_info().misses <= 3


def test_a_tensor_lifted_from_a_place_learns_and_is_changed():
    holder = types.SimpleNamespace(w=None)

    def step():
        holder.w.grad = None
        loss = (holder.w * 3).sum()
        loss.backward()
        with tg.no_grad():
            holder.w.sub_(holder.w.grad)
        return loss

    compiled = tg.compile(step)
    for k in range(6):
        w = tg.full((2,), float(k), requires_grad=True)
        holder.w = tg.full((2,), float(k), requires_grad=True)
        expected = step()
        after, grad = holder.w.tolist(), holder.w.grad.tolist()
        holder.w = w
        assert compiled().item() == expected.item()
        assert w.tolist() == after and w.grad.tolist() == grad
    assert compiled.cache_info().misses <= 3


def test_many_traces_for_one_reason_are_said_aloud_once():
    f = tg.compile(lambda x: x * 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for n in range(1, 25):
            f(tg.ones(n))
    assert len(caught) == 1
    words = str(caught[0].message)
    assert "float32[" in words and "pad" in words and caught[0].filename == __file__


def test_threads_do_not_see_the_scalars_of_a_trace():
    import threading

    config = Config()
    stop, wrong = threading.Event(), []

    def read():
        while not stop.is_set():
            if type(config.beta) is not float:
                wrong.append(type(config.beta))

    f = tg.compile(lambda x: x * config.beta)
    thread = threading.Thread(target=read)
    thread.start()
    for k in range(5):
        config.beta = 1.0 + k
        np.testing.assert_array_equal(f(tg.ones(2)), tg.ones(2) * (1.0 + k))
    stop.set()
    thread.join()
    assert type(config.beta) is float


@pytest.mark.parametrize("wrong", [ValueError, TypeError, KeyError])
def test_an_error_of_the_users_is_raised_without_another_run(wrong):
    def f(x, scale):
        if scale > 2.5:
            raise wrong("too large")
        return x * scale

    compiled = tg.compile(f)
    x = tg.ones(3)
    for scale in (1.0, 2.0):
        assert compiled(x, scale).tolist() == [scale] * 3
    with pytest.raises(wrong, match="too large"):
        compiled(x, 3.0)
    assert compiled(x, 2.25).tolist() == [2.25] * 3
    assert compiled.cache_info().currsize <= 2
