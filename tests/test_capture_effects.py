"""What a function changes outside of itself happens at every call of the compiled one as it does
eagerly, or is refused with the line; nothing of it happens while the function is traced.
"""

from __future__ import annotations

import datetime
import io
import itertools
import logging
import os
import queue
import random
import secrets
import threading
import time
import uuid
from time import perf_counter

import numpy as np
import pytest

import tracegrad as tg
from tracegrad import nn

TOTAL = 0
LAST = None


def shown(value):
    """A value as something that can be compared."""
    if isinstance(value, tg.Tensor):
        return (value.requires_grad, value.tolist())
    if isinstance(value, dict):
        return {k: shown(v) for k, v in value.items()}
    return [shown(v) for v in value] if isinstance(value, (list, tuple)) else value


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(tg.tensor([1.0, 2.0]))
        self.register_buffer("running", tg.zeros(2))
        self.calls, self.last, self.log, self.mode = 0, None, {}, "first"


class Plain:
    __slots__ = ("count", "last")

    def __init__(self):
        self.count, self.last = 0, None


def _keeps_a_result():
    net = Net()

    def f(x):
        net.last = x * net.w
        return net.last.sum()

    return f, lambda: net.last


def _makes_an_attribute():
    net = Net()

    def f(x):
        net.activation = [x * 2, {"mean": x.mean()}]
        return x + 1

    return f, lambda: getattr(net, "activation", None)


def _counts():
    net = Net()

    def f(x):
        net.calls += 1
        return x * net.calls

    return f, lambda: net.calls


def _rebinds_a_buffer():
    net = Net()

    def f(x):
        net.running = 0.9 * net.running + 0.1 * x
        return net.running * 2

    return f, lambda: net.running


def _fills_a_dict():
    net = Net()

    def f(x):
        net.log["loss"] = x.sum()
        net.log["n"] = 3
        return x

    return f, lambda: net.log


def _writes_slots():
    plain = Plain()

    def f(x):
        plain.count += 2
        plain.last = x * plain.count
        return x

    return f, lambda: (plain.count, plain.last)


def _rebinds_a_closure_variable():
    count, hidden = 0, tg.zeros(2)

    def f(x):
        nonlocal count, hidden
        count += 1
        hidden = (hidden + x).relu()
        return hidden * count

    return f, lambda: (count, hidden)


def _rebinds_globals():
    global TOTAL, LAST
    TOTAL, LAST = 0, None

    def f(x):
        global TOTAL, LAST
        TOTAL += 2
        LAST = x * TOTAL
        return x

    return f, lambda: (TOTAL, LAST)


def _makes_its_state_at_the_first_use():
    net = Net()

    def f(x):
        if not hasattr(net, "memory"):
            net.memory = tg.zeros_like(x)
        net.memory.add_(x)
        return net.memory * 2

    return f, lambda: getattr(net, "memory", None)


def _goes_back_and_forth():
    net = Net()

    def f(x):
        if net.mode == "first":
            net.mode = "second"
            return x * 2
        net.mode = "first"
        return x * 3

    return f, lambda: net.mode


def _keeps_the_argument_and_a_view():
    net = Net()

    def f(x):
        net.last = [x, x[1:]]
        return x

    return f, lambda: net.last


def _keeps_a_moving_average_of_a_number():
    net = Net()
    net.beta = 1.0

    def f(x):
        net.beta = 0.5 * net.beta
        return x * (net.beta / (1 - net.beta))

    return f, lambda: net.beta


REPLAYED = {f.__name__[1:]: f for f in (
    _keeps_a_result, _makes_an_attribute, _counts, _rebinds_a_buffer, _fills_a_dict, _writes_slots,
    _rebinds_a_closure_variable, _rebinds_globals, _makes_its_state_at_the_first_use,
    _goes_back_and_forth, _keeps_the_argument_and_a_view, _keeps_a_moving_average_of_a_number,
)}


@pytest.mark.parametrize("name", REPLAYED)
def test_what_a_function_sets_is_set_at_every_call(name):
    def run(compile):
        function, state = REPLAYED[name]()
        f, seen = compile(function), []
        for k in range(8):
            y = f(tg.tensor([1.0 + k, 2.0]))
            seen.append((shown(y), shown(state())))
        return seen, f

    eager, _ = run(lambda f: f)
    compiled, f = run(tg.compile)
    assert compiled == eager
    assert f.cache_info().misses <= 3


def test_what_was_kept_has_a_history():
    net, other = Net(), Net()
    f = tg.compile(lambda x: setattr(net, "last", (x * net.w).sum()))
    for _ in range(3):
        f(tg.ones(2))
        net.last.backward()
        (tg.ones(2) * other.w).sum().backward()
        assert net.w.grad.tolist() == other.w.grad.tolist()


def test_a_call_that_fails_sets_nothing():
    net = Net()

    @tg.compile
    def f(x, i):
        net.calls += 1
        net.last = x * 2
        return x[i]

    f(tg.ones(3), tg.tensor([1]))
    with pytest.raises(IndexError):
        f(tg.ones(3), tg.tensor([7]))
    assert net.calls == 1


def test_print_prints_at_every_call(capsys):
    @tg.compile
    def f(x):
        print("loss", x.sum(), sep=": ")
        print([x.shape[0], x * 2])
        return x

    for k in range(3):
        f(tg.tensor([1.0 + k, 2.0]))
    assert capsys.readouterr().out == "".join(
        f"loss: {tg.tensor(3.0 + k)!r}\n{[2, tg.tensor([2.0 + 2 * k, 4.0])]}\n" for k in range(3)
    )


def _acts():
    numbers, lines, net = iter([1.0, 2.0]), io.StringIO("1\n2\n"), Net()
    waiting: queue.Queue = queue.Queue()
    generated = (float(k) for k in range(9))
    counter, pairs, mapped = itertools.count(), zip([1.0], [2.0], strict=True), map(float, [1, 2])
    net.batches = iter([tg.ones(2)])
    logger = logging.getLogger("tests")
    generator = np.random.default_rng(0)

    def of_module(x):
        return x * next(net.batches)

    return {
        "an iterator": (lambda x: x * next(numbers), "iterator"),
        "a loop over an iterator": (lambda x: [x * k for k in numbers], "iterator"),
        "a generator": (lambda x: x * next(generated), "iterator"),
        "itertools": (lambda x: x * next(counter), "iterator"),
        "zip": (lambda x: [x * a * b for a, b in pairs], "iterator"),
        "map": (lambda x: [x * a for a in mapped], "iterator"),
        "an iterator in an attribute": (of_module, "iterator"),
        "a queue": (lambda x: x * waiting.get_nowait(), "queue"),
        "a text stream": (lambda x: x * float(lines.readline()), "file"),
        "the thread": (lambda x: x * threading.get_ident(), r"get_ident\(\) was called"),
        "a clock": (lambda x: x * time.time(), r"time\(\) was called"),
        "a clock by its own name": (lambda x: x * perf_counter(), "perf_counter"),
        "the date": (lambda x: x * datetime.datetime.now().year, "clock"),
        "sleep": (lambda x: time.sleep(0), r"sleep\(\) was called"),
        "random bytes": (lambda x: x * os.urandom(1)[0], r"urandom\(\) was called"),
        "secrets": (lambda x: x * secrets.randbelow(5), r"randbelow\(\) was called"),
        "uuid": (lambda x: x * uuid.uuid4().int, r"uuid4\(\) was called"),
        "Python's random numbers": (lambda x: x * random.random(), r"random\(\) was called"),
        "NumPy's random numbers": (lambda x: x * np.random.rand(), r"rand\(\) was called"),
        "a generator without a seed": (
            lambda x: x * np.random.default_rng().normal(), r"default_rng\(\) was called"),
        "a generator of NumPy's": (lambda x: x * generator.normal(), "by the function itself"),
        "a file": (lambda x: x * len(open(__file__).read()), r"open\(\) was called"),
        "a log": (lambda x: logger.warning("here"), "_log"),
    }


@pytest.mark.parametrize("name", _acts())
def test_acts_on_the_world_are_refused_with_the_line(name):
    function, words = _acts()[name]
    for _ in range(2):
        with pytest.raises(RuntimeError, match=words) as caught:
            tg.compile(function)(tg.ones(2))
    if name != "a generator of NumPy's":
        assert "test_capture_effects.py:" in str(caught.value)


def test_a_refusal_is_not_lost_where_the_function_catches_it():
    def f(x):
        try:
            return x * time.time()
        except RuntimeError:
            return x

    with pytest.raises(RuntimeError, match="time"):
        tg.compile(f)(tg.ones(2))


def test_seeded_generators_and_own_iterators_are_fine():
    def f(x):
        draw = np.random.default_rng(3).normal()
        total = x
        for k, v in zip(itertools.count(), [1.0, 2.0], strict=False):
            total = total + k * v * draw
        return total

    compiled = tg.compile(f)
    for _ in range(2):
        np.testing.assert_allclose(compiled(tg.ones(2)), f(tg.ones(2)), rtol=1e-6)


def test_functions_of_the_world_are_back_after_a_trace():
    before = (time.time, random.random, np.random.default_rng, print, open, np.random.RandomState)
    with pytest.raises(RuntimeError):
        tg.compile(lambda x: x * time.time())(tg.ones(2))
    now = (time.time, random.random, np.random.default_rng, print, open, np.random.RandomState)
    assert all(a is b for a, b in zip(before, now, strict=True))
    assert "__getattribute__" not in vars(Net)


def test_an_event_that_another_thread_sets_meanwhile_stays_set():
    go, begun, done = threading.Event(), threading.Lock(), threading.Lock()
    begun.acquire(), done.acquire()

    def f(x):
        before = go.is_set()
        if begun.locked():
            begun.release()
            done.acquire(timeout=20)
        return x * (2 if before else 3)

    def other():
        begun.acquire()
        begun.release()  # a second trace does not wait
        go.set()
        done.release()

    thread = threading.Thread(target=other)
    thread.start()
    compiled = tg.compile(f)
    compiled(tg.ones(2))
    thread.join()
    assert go.is_set()
    assert compiled(tg.ones(2)).tolist() == [2, 2]


@pytest.mark.parametrize("act", ["set", "clear"])
def test_to_set_an_event_is_refused(act):
    go = threading.Event()

    def f(x):
        getattr(go, act)()
        return x * 2

    with pytest.raises(RuntimeError, match=r"'go' is an object of threading that is set"):
        tg.compile(f)(tg.ones(2))
    assert not go.is_set()
