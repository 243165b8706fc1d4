"""Signal handlers in the middle of anything; each in a process of its own."""

from __future__ import annotations

import gc
import signal
import time
from contextvars import ContextVar

import pytest
from processes import enough, prints, soon

import tracegrad as tg
from tracegrad.runtime.cpu import compiler, object_cache


class Stop(Exception):
    pass


@prints("True []\n")
def test_a_handler_may_call_the_function_that_it_interrupts():
    w = tg.ones(1000, requires_grad=True)
    f = tg.compile(lambda x: (w.exp() * x).sum() + tg.rand(3).sum() * 0)
    x = tg.ones(1000)
    right = f(x).item()
    calls, wrong = [0], []

    def handler(*_):
        with tg.enable_grad():
            loss = f(x * 2)
            loss.backward()
        calls[0] += 1
        if abs(loss.item() - 2 * right) > 1e-2:
            wrong.append(loss.item())

    soon(handler, 0.0051)
    began = time.time()
    while calls[0] < 200 and time.time() - began < 20:
        loss = f(x)
        if abs(loss.item() - right) > 1e-2:
            wrong.append(loss.item())
        loss.backward()
        if w.grad.isnan().any():
            wrong.append("nan")
        w.grad = None
    enough()
    print(calls[0] > 100, wrong)


@prints("True 3 True True\nTrue True\n")
def test_numba_is_neither_entered_in_its_own_middle_nor_left_there():
    """Two signals come whenever a kernel is compiled."""
    object_cache.read = lambda name: None
    inner, within, compiled, handled = compiler.object_code, [], [], []

    def compile_(*args):
        assert not within
        within.append(1)
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR2)
        made = inner(*args)
        compiled.append(within.pop())
        return made

    compiler.object_code = compile_
    w = tg.ones(5, requires_grad=True)

    def handler(*_):
        assert not within
        if len(handled) < 3:
            handled.append(1)
            n = len(handled)
            tg.compile(lambda x: (w * x * n + n).sum())(tg.ones(5)).backward()

    def stop(*_):
        raise InterruptedError

    signal.signal(signal.SIGUSR1, handler)
    signal.signal(signal.SIGUSR2, stop)
    f = tg.compile(lambda x: (w.exp() * x).sum())
    stops, loss = 0, None
    while loss is None or w.grad is None:
        try:
            loss = f(tg.ones(5))
            loss.backward()
        except InterruptedError:
            stops += 1
    print(stops > 1, len(handled), len(compiled) > 2, abs(loss.item() - 13.591409) < 1e-5)
    print(signal.getsignal(signal.SIGUSR1) is handler, signal.getsignal(signal.SIGUSR2) is stop)


@prints("[15.0, 15.0]\n[3.0, 3.0]\n")
def test_a_handler_in_the_middle_of_a_replay_runs_eagerly():
    """The moment is made: a call of the handler's stands in the guards of the function."""

    class Box:
        hook = None

        @property
        def value(self):
            if Box.hook:
                hook, Box.hook = Box.hook, None
                hook()
            return 2.0

    f = tg.compile(lambda x: x * 3)
    x = tg.ones(2)
    f(x)
    entry = f.tracegrad_state.programs.last()
    walk = entry.replay.__globals__["walk"]

    def walked(span):  # a signal arrives while the table is filled
        entry.replay.__globals__["walk"] = walk
        print(f(tg.full((2,), 5.0)).tolist())
        return walk(span)

    entry.replay.__globals__["walk"] = walked
    print(f(x).tolist())


@prints("True\n")
def test_a_nested_backward_has_memory_of_its_own():
    w = tg.ones(3, requires_grad=True)
    f = tg.compile(lambda x: (w.exp() * x * x).sum())

    @tg.enable_grad()
    def gradient(x):
        return tg.autograd.grad(f(x), w)[0].tolist()

    one, two = tg.ones(3), tg.ones(3) * 2
    wanted = gradient(one), gradient(two)
    (backward,) = f.tracegrad_state.programs.last().derivative.backwards.values()
    executable, found = backward.executable, []
    inner = executable.run

    def ran():
        executable.run = inner
        found.append(gradient(two))
        inner()

    executable.run = ran
    found.insert(0, gradient(one))
    print(tuple(found) == wanted)


@prints("True {0.0} True\n")
def test_what_a_handler_computes_is_not_traced():
    total, seen = tg.zeros(1), []

    def handler(*_):
        total.add_(1)
        y = total * 2 + g(total)
        seen.append(y.item() - 3 * total.item())

    g = tg.compile(lambda t: t * 1.0)

    def step(x):
        for _ in range(60):
            x = x * 1.01 + 0.5
        return x.sum()

    want = step(tg.ones(3)).item()
    once = soon(handler, 0.002)
    for _ in range(20):
        f = tg.compile(step)
        found = f(tg.ones(3)).item()
        assert abs(found - want) < 1e-2 * abs(want)
        assert len(f.graph().inputs) == 1, f.graph()
    enough()
    print(len(seen) > 10, set(seen), signal.getsignal(signal.SIGALRM) is once)


@prints("{6.0}\n")
def test_a_finalizer_may_compute_wherever_garbage_is_collected():
    """In CPython 3.11 that is also within the change of a context variable, where np.errstate in a
    finalizer would crash.
    """
    ContextVar("another").set(1)
    x, sums = tg.ones(3), set()

    class Finalized:
        def __init__(self):
            self.me = self

        def __del__(self):
            sums.add((x * 2).sum().item())

    for k in range(3000):
        gc.collect(0)
        gc.disable()
        gc.set_threshold(10**6)
        Finalized()
        gc.set_threshold(1 + k % 30)  # a collection at that many new objects from here
        gc.enable()
        assert (x + k).sum().item() == 3 + 3 * k
    print(sums)


@prints("True {0.0} <class 'float'>\n")
def test_what_a_handler_computes_is_not_mapped_over():
    total, seen = tg.zeros(1), []

    def handler(*_):
        total.add_(1)
        seen.append((total * 2).item() - 2 * total.item())

    def f(x):
        for _ in range(50):
            x = x * 1.01 + 0.5
        return x.sum()

    x = tg.ones(4, 3)
    want = tg.vmap(f)(x)
    soon(handler, 0.001)
    for _ in range(30):
        assert tg.equal(tg.vmap(f)(x), want)
    enough()
    print(len(seen) > 10, set(seen), type(total.item()))


@prints("ended True\n" * 3 + "[2.0, 2.0] [2.0, 2.0]\n")
def test_a_handler_that_raises_ends_a_trace_and_nothing_else():
    class Enough(Exception):
        pass

    def handler(*_):
        raise Enough

    def endless(x):
        while True:
            x = x + 1

    f = tg.compile(endless)
    for _ in range(3):
        once = soon(handler, 0.05)
        try:
            f(tg.ones(2))
        except Enough:
            enough()
            print("ended", signal.getsignal(signal.SIGALRM) is once)
    print((tg.ones(2) + 1).tolist(), tg.compile(lambda x: x + 1)(tg.ones(2)).tolist())


@pytest.mark.slow
@prints("True\n")
def test_ctrl_c_while_compiling_leaves_a_library_that_works():
    def handler(*_):
        raise KeyboardInterrupt

    stopped = 0
    for k in range(25):
        f = tg.compile(lambda x, k=k: (x * (k + 2)).tanh().sum(0) + x.exp().sum(1) + k)
        soon(handler, 0.01 + 0.02 * k)
        try:
            f(tg.ones(k + 3, k + 3))
            enough()
        except KeyboardInterrupt:
            enough()
            stopped += 1
        x = tg.linspace(0, 1, (k + 3) ** 2).reshape(k + 3, k + 3)
        tg.testing.assert_close(f(x), (x * (k + 2)).tanh().sum(0) + x.exp().sum(1) + k)
    print(stopped > 3)


@prints("True 0\n")
def test_what_a_step_changes_is_whole_after_ctrl_c():
    armed = []

    def handler(*_):
        if armed:
            armed.clear()
            raise Stop

    tg.manual_seed(0)
    model = tg.nn.Linear(300, 300)
    a, b = model.weight, tg.zeros(1)
    optimizer = tg.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    @tg.compile
    def step(x):
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        b.add_(1)
        return loss

    x = tg.ones(300, 300)
    step(x)
    stops = mixed = 0
    began = time.time()
    soon(handler, 0.0011)
    while stops < 200 and time.time() - began < 20:
        before = a._version[0], b._version[0], b.item()
        try:
            armed.append(1)
            step(x)
            armed.clear()
        except Stop:
            stops += 1
        after = a._version[0], b._version[0], b.item()
        mixed += len({now == then for now, then in zip(after, before, strict=True)}) > 1
    enough()
    print(stops > 50, mixed)
