"""Signal handlers in the middle of anything; each in a process of its own."""

from __future__ import annotations

import signal
import time

import pytest
from processes import enough, prints, soon

import tracegrad as tg
from tracegrad.runtime.cpu import compiler, executable, object_cache


class Stop(Exception):
    pass


def in_short_walks():
    """Look for signals often, and raise Stop at one."""

    def handler(*_):
        raise Stop

    executable.STRETCH = 500_000
    signal.signal(signal.SIGUSR1, handler)


def stopped(f, x, at):
    """A signal comes in walk number `at` of the launches; how many walks there were, and what
    happened.
    """
    names = f.tracegrad_state.programs.last().replay.__globals__
    walk, count = names["walk"], [0]

    def walked(span):
        count[0] += 1
        if count[0] == at:
            signal.raise_signal(signal.SIGUSR1)
        return walk(span)

    names["walk"] = walked
    try:
        f(x)
        return count[0], "done"
    except Stop:
        return count[0], "stopped"
    finally:
        names["walk"] = walk


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
    while time.time() - began < 3:
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
    inner, within, compiled, handled = compiler._compile, [], [], []

    def compile_(*args):
        assert not within
        within.append(1)
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR2)
        made = inner(*args)
        compiled.append(within.pop())
        return made

    compiler._compile = compile_
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
        assert abs(f(tg.ones(3)).item() - want) < 1e-2 * abs(want)
        assert len(f.graph().inputs) == 1, f.graph()
    enough()
    print(len(seen) > 10, set(seen), signal.getsignal(signal.SIGALRM) is once)


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
    while time.time() - began < 4:
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


@prints("True True\nTrue\n")
def test_a_long_call_looks_for_signals_before_it_writes():
    in_short_walks()
    tg.manual_seed(0)
    w = tg.ones(300, 300)

    def step(x):
        y = (x.exp() * tg.rand(300, 300)).tanh() @ x
        w.add_(y @ y)
        return y.sum() + w.sum()

    f = tg.compile(step)
    x = tg.linspace(0, 1, 90_000).reshape(300, 300)
    f(x)
    many = len(f.tracegrad_state.programs.last().executable.early)
    print(many > 5, stopped(f, x, 0) == (many + 1, "done"))
    w.fill_(1)
    before = w.clone(), w._version, tg.get_rng_state()
    for at in (1, 2, many // 2, many):
        assert stopped(f, x, at) == (at, "stopped")
        assert tg.equal(w, before[0]) and w._version == before[1]
        assert tg.equal(tg.get_rng_state(), before[2])
    want = step(x).item(), w.sum().item()
    w.fill_(1)
    tg.set_rng_state(before[2])
    found = f(x).item(), w.sum().item()
    print(all(abs(a - b) < 1e-3 * abs(a) for a, b in zip(want, found, strict=True)))


@prints("True\nIndexError\nIndexError\n(2, 'stopped')\n")
def test_a_long_call_that_fails_or_branches_leaves_nothing_behind():
    in_short_walks()
    k = tg.zeros(3, dtype=tg.int64)

    def f(x):
        y = x.exp().tanh().sin().exp().tanh().sin()
        z = y[:, k] @ y[:3]
        return z + 1 if z.sum() > 0 else z - 1

    g = tg.compile(f)
    x = tg.linspace(0, 1, 90_000).reshape(300, 300)
    for _ in range(2):
        tg.testing.assert_close(g(x), f(x))
    print(len(g.tracegrad_state.programs.last().executable.early) > 3)
    k.fill_(1000)
    for _ in range(2):
        try:
            g(x)
        except IndexError:
            print("IndexError")
    k.fill_(1)
    print(stopped(g, x, 2))
    tg.testing.assert_close(g(x), f(x))
    tg.testing.assert_close(g(-x * 100), f(-x * 100))
    w = tg.ones(300, 300, requires_grad=True)
    h = tg.compile(lambda x: (w.exp().tanh().sin() @ x.exp()).tanh().sum())
    for _ in range(2):
        w.grad = None
        h(x).backward()
        found, w.grad = w.grad, None
        (w.exp().tanh().sin() @ x.exp()).tanh().sum().backward()
        tg.testing.assert_close(found, w.grad)


@prints("stopped\nTrue\nTrue\n")
def test_ctrl_c_at_the_end_of_a_call_leaves_all_that_it_changes_changed():
    in_short_walks()

    class Model:
        count, w, b = 0, tg.ones(3, requires_grad=True), tg.zeros(3)

        @tg.compile
        def step(self, x):
            self.count = self.count + 1
            self.last = (self.w * x).sum()
            self.last.backward()
            self.b.mul_(2).add_(self.w)
            with tg.no_grad():
                self.w.add_(1)
            return self.last

    one, two = Model(), Model()
    two.w, two.b, two.count = tg.ones(3, requires_grad=True), tg.zeros(3), 0
    x = tg.ones(3)
    for _ in range(4):
        one.step(x), two.step(x)
    one.step(x)

    def state(m):
        return m.count, m.w.tolist(), m.w.grad.tolist(), m.b.tolist(), m.last.item(), m.w._version

    names = Model.step.tracegrad_state.programs.last().replay.__globals__
    walk = names["walk"]

    def walked(span):
        wrong = walk(span)
        signal.raise_signal(signal.SIGUSR1)
        return wrong

    names["walk"] = walked
    try:
        one.step(x)
    except Stop:
        print("stopped")
    names["walk"] = walk
    two.step(x), two.step(x)
    print(state(one) == state(two))
    one.b.sum().backward()  # its history was noted as well
    two.b.sum().backward()
    print(one.w.grad.tolist() == two.w.grad.tolist())


def test_short_calls_are_one_walk():
    import tracegrad as tg

    f = tg.compile(lambda x: (x @ x).tanh().sum())
    f(tg.ones(100, 100))
    assert f.tracegrad_state.programs.last().executable.early == []
