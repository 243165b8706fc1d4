"""Signals in the middle of long calls, which look for them before anything is written."""

from __future__ import annotations

import signal

from processes import prints

import tracegrad as tg
from tracegrad.runtime.cpu import steps


class Stop(Exception):
    pass


def in_short_walks():
    """Look for signals often, and raise Stop at one."""

    def handler(*_):
        raise Stop

    steps.STRETCH = 500_000
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


def stop_a_loop(size):
    """Stop a loop without end over a tensor of that size, by a signal."""
    in_short_walks()
    total = tg.zeros(size)

    @tg.compile
    def forever(x, limit):
        n, y = tg.while_loop(
            lambda n, y: n < limit, lambda n, y: (n + 1, y * 0.5 + x), (tg.tensor(0), x)
        )
        total.add_(y)
        return n

    forever(tg.ones(size), tg.tensor(3))
    total.zero_()
    version = total._version[0]
    signal.signal(signal.SIGALRM, signal.getsignal(signal.SIGUSR1))
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        forever(tg.ones(size), tg.tensor(2**62))
    except Stop:
        print("stopped")
    print(total.sum().item(), total._version[0] - version)
    print(forever(tg.ones(size), tg.tensor(3)).item())


@prints("stopped\n0.0 0\n3\n")
def test_a_loop_without_end_is_stopped():
    stop_a_loop(2)


@prints("stopped\n0.0 0\n3\n")
def test_a_loop_without_end_of_several_threads_is_stopped():
    stop_a_loop(3_000_000)


@prints("stopped\n" * 8)
def test_a_loop_without_end_of_one_thread_is_stopped_among_work_of_several():
    """Whichever thread comes to it first."""
    in_short_walks()
    signal.signal(signal.SIGALRM, signal.getsignal(signal.SIGUSR1))

    @tg.compile
    def f(x, y, limit):
        _, y = tg.while_loop(
            lambda n, y: n < limit, lambda n, y: (n + 1, y * 0.5), (tg.tensor(0), y)
        )
        return ((x * 2).sin() * x).exp(), y

    x, y = tg.ones(2_000_000), tg.ones(2)
    f(x, y, tg.tensor(3))
    for _ in range(8):
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            f(x, y, tg.tensor(2**62))
        except Stop:
            print("stopped")


def test_short_calls_are_one_walk():
    import tracegrad as tg

    f = tg.compile(lambda x: (x @ x).tanh().sum())
    f(tg.ones(100, 100))
    assert f.tracegrad_state.programs.last().executable.early == []
