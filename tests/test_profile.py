"""`compiled.profile()`: what it says of launches, and that it only observes."""

from __future__ import annotations

import json
import signal
import sys
import threading

import numpy as np
import pytest
from fake_gpu import fake_gpus

import tracegrad as tg
from tracegrad import nn
from tracegrad.driver import profiler
from tracegrad.driver.machine import Level, Machine
from tracegrad.nn import functional as F

RATES = Machine(
    "a processor", 2, "2026-01-01",
    (Level("L1", 1 << 15, 4e11, 8e11), Level("memory", 0, 2e10, 4e10)),
    {"float32": (2e11, 4e11), "float64": (1e11, 2e11)},
)


@pytest.fixture(autouse=True)
def rates(monkeypatch):
    monkeypatch.setattr(profiler, "machine", lambda: RATES)


def trained(optimizer, batches=3, profiles=()):
    """The losses of training steps, with a profile before some of them, and what is left."""
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))
    opt = optimizer(model.parameters())
    x, y = tg.randn(10, 6), tg.randint(0, 3, (10,))

    @tg.compile
    def step(x, y):
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss

    losses = []
    for k in range(batches):
        if k in profiles:
            step.profile(x, y, runs=2)
        losses.append(step(x, y).item())
    tensors = [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters())]
    return losses, [t.tolist() for t in tensors], tg.get_rng_state().tolist()


@pytest.mark.parametrize("optimizer", [
    lambda p: tg.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3), tg.optim.AdamW,
], ids=["SGD", "AdamW"])
def test_training_goes_on_as_if_nobody_had_looked(optimizer):
    assert trained(optimizer, profiles=(0, 2)) == trained(optimizer)


def test_launches_have_time_bytes_operations_and_the_users_line():
    w = tg.randn(50, 40, dtype=tg.float64)
    f = tg.compile(lambda x: ((x @ w).exp() + 1).sum(1))
    x = tg.randn(30, 50, dtype=tg.float64)
    found = f.profile(x, runs=3)
    assert found.runs == 3 and 0 < found.launch_seconds
    assert 0 < found.overhead and 0 < found.call
    assert sum(found.share(one) for one in found.launches) == pytest.approx(1)
    product = next(one for one in found.launches if "dot" in one.operations)
    assert product.kind == "gemm" and product.read == 8 * (30 * 50 + 50 * 40)
    assert product.flops >= 2 * 30 * 50 * 40 and product.product_rate == 2e11
    assert product.of_product == product.flops / product.seconds / 2e11
    assert all(one.lines and "test_profile.py" in one.lines[0] for one in found.launches)
    assert sum(one.written for one in found.launches) >= 8 * 30
    assert product.copy_rate == (8e11 if product.read + product.written <= 1 << 16 else 4e10)


def test_bytes_count_once_and_for_what_is_looked_at():
    table = tg.randn(1000, 8)

    def traffic(f, *args):
        *_, one = tg.compile(f).profile(*args, runs=1).launches  # the first may be a check
        return one.read, one.written

    x, v = tg.randn(64, 100), tg.randn(64, 1)
    assert traffic(lambda x: x * x + x, x) == (4 * 6400, 4 * 6400)
    assert traffic(lambda x: x[::2, :10] + 1, x) == (4 * 320, 4 * 320)
    assert traffic(lambda x, v: x + v, x, v) == (4 * 6464, 4 * 6400)
    assert traffic(lambda x: x.softmax(1), x) == (4 * 6400, 4 * 6400)
    assert traffic(lambda i: table[i].exp(), tg.tensor([1, 2])) == (4 * 16 + 16, 4 * 16)
    assert traffic(lambda: table.expand(3, 1000, 8).sum(0) * 0 + tg.ones(8)) == (32_000, 32_000)
    joined = tg.compile(lambda x, v: tg.cat((x, v), 1)).profile(x, v, runs=1).launches
    assert sum(one.read for one in joined) == sum(one.written for one in joined) == 4 * 6464


def test_a_loop_counts_its_iterations():
    def body(h):
        return (h * 1.5).tanh() + h.sum()

    def f(x):
        return tg.while_loop(lambda i, h: i < 7, lambda i, h: (i + 1, body(h)),
                             (tg.tensor(0), x))[1]

    found = tg.compile(f).profile(tg.randn(2000), runs=2)
    assert {one.runs for one in found.launches if "tanh" in one.operations} == {7}
    assert any(e.name == "loop" for e in found.events)


def test_the_loss_only_style_has_a_backward_and_leaves_grad_alone():
    model = nn.Linear(20, 5)
    loss = tg.compile(lambda x: model(x).square().mean())
    x = tg.randn(9, 20)
    loss(x).backward()
    before = model.weight.grad.clone()
    found = loss.profile(x, runs=2)
    assert {one.program for one in found.launches} == {"call", "backward"}
    assert found.backward > 0 and tg.equal(model.weight.grad, before)
    model.weight.grad = None
    loss.profile(x, runs=1)
    assert model.weight.grad is None


def test_a_program_with_value_guards_has_its_segments_and_both_halves():
    w = tg.ones(8, requires_grad=True)

    @tg.compile
    def f(x):
        y = x.exp() * x.max().item()
        if y.sum() > 0:
            w.data.mul_(0.5)
        return (y * w).sum()

    found = f.profile(tg.arange(8.0), runs=2)
    assert {one.program for one in found.launches} == {"segment 1", "call", "backward"}
    assert w.tolist() == [1.0] * 8 and all(one.runs == 1 for one in found.launches)


def test_attributes_prints_and_random_numbers_are_as_before(capsys):
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls, self.last = 0, None

        def forward(self, x):
            self.calls += 1
            self.last = x + tg.rand(4)
            print("sum", self.last.sum())
            return self.last

    module = Noisy()
    compiled = tg.compile(module)
    compiled.profile(tg.ones(4), runs=2)
    assert module.calls == 0 and module.last is None and not capsys.readouterr().out
    compiled(tg.ones(4))
    kept, state = module.last, tg.get_rng_state()
    assert "sum" in capsys.readouterr().out
    compiled.profile(tg.ones(4), runs=2)
    assert module.calls == 1 and module.last is kept
    assert tg.equal(tg.get_rng_state(), state) and not capsys.readouterr().out


@pytest.mark.parametrize("f, args", [
    (lambda x: x, (tg.ones(3),)),
    (lambda: 3, ()),
    (lambda x: x * 2, (tg.ones(0, 5),)),
    (lambda x: x.sum(), (tg.ones(0),)),
    (lambda x: x @ x.T, (tg.ones(3, 0),)),
    (lambda x: x * 2, (tg.tensor(1.0),)),
], ids=["identity", "no tensor", "empty", "empty sum", "no depth", "0-d"])
def test_there_may_be_little_to_do(f, args):
    found = tg.compile(f).profile(*args, runs=2)
    assert len(str(found).splitlines()) == 2 + len(found.launches)
    assert json.loads(found.json())["overhead"] == found.overhead


def test_arguments_may_differ_from_those_of_other_calls():
    f = tg.compile(lambda x: x.exp().sum())
    assert f.profile(tg.ones(5), runs=1).launches[0].read == 20
    f(tg.ones(7))
    assert f.profile(runs=1).launches[0].read == 28
    assert f.profile(tg.ones(2, 3), runs=1).launches[0].read == 24
    assert f.profile(x=tg.ones(4), runs=1).launches[0].read == 16


def test_what_the_function_raises_comes_out_and_nothing_has_changed():
    w = tg.ones(3)

    @tg.compile
    def f(i):
        w.add_(1)
        return w[i]

    with pytest.raises(IndexError):
        f.profile(tg.tensor([7]), runs=1)
    assert f(tg.tensor([2])).tolist() == [2.0]
    with pytest.raises(IndexError):
        f.profile(tg.tensor([7]), runs=1)
    assert w.tolist() == [2.0] * 3 and f(tg.tensor([0])).tolist() == [3.0]


def test_wrong_uses_are_refused():
    f = tg.compile(lambda x: x * 2)
    for runs in (0, -1, True, 2.0, "3"):
        with pytest.raises(ValueError, match="runs"):
            f.profile(tg.ones(2), runs=runs)
    g = tg.compile(lambda x: f.profile(x, runs=1) and x)
    with pytest.raises(RuntimeError, match="within a compiled function"):
        g(tg.ones(2))
    with pytest.raises(TypeError, match="missing"):
        tg.compile(lambda x: x * 2).profile()


def test_programs_of_gpus_are_refused_before_they_run():
    with fake_gpus():
        w = tg.zeros(3, device="cuda")
        f = tg.compile(lambda x: w.add_(x))
        for _ in range(2):
            with pytest.raises(RuntimeError, match="runs on cuda:0.*nsys"):
                f.profile(tg.ones(3, device="cuda"), runs=1)
            assert w.tolist() == [0.0] * 3
            w = w * 0


def test_a_call_without_a_program_is_refused_before_it_runs():
    class Stateful:
        def __init__(self):
            self.state = {}

    one, w = Stateful(), tg.zeros(3)

    @tg.compile
    def f(x):
        if "sum" not in one.state:
            one.state["sum"] = tg.zeros(3)
        w.add_(1)
        one.state["sum"].add_(x)
        return one.state["sum"].sum()

    for _ in range(2):
        try:
            f.profile(tg.ones(3), runs=1)
        except RuntimeError as error:
            assert "without a program" in str(error)
        assert w.tolist() == [0.0] * 3 and not one.state
    f(tg.ones(3))
    f(tg.ones(3))
    f.profile(tg.ones(3), runs=1)
    assert w.tolist() == [2.0] * 3 and one.state["sum"].tolist() == [2.0] * 3


def test_calls_that_take_different_programs_begin_from_the_same_state():
    count, rate = tg.zeros(()), [1]

    @tg.compile
    def f(x):
        count.add_(1)
        rate[0] = -rate[0]
        return x * 2 if count > 5 else x.exp() if rate[0] < 0 else x.sin()

    found = f.profile(tg.ones(3), runs=8)
    assert "same state" in found.notes[0] and found.runs == 8
    assert {"exp"} <= {name for one in found.launches for name in one.operations}
    assert count.item() == 0 and rate == [1] and f(tg.zeros(2)).tolist() == [1.0, 1.0]


# one that comes in the callback of a weak reference is lost, as Python has it
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_puts_everything_back():
    w = tg.zeros(1000)

    @tg.compile
    def f(x):
        w.add_(x)
        return w.sum()

    f.profile(tg.ones(1000), runs=1)
    interrupted, before = 0, signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for k in range(10):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.001 + 0.0007 * k)
                f.profile(tg.ones(1000), runs=300)
            except KeyboardInterrupt:
                interrupted += 1
            assert w.tolist() == [0.0] * 1000
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 3 and f(tg.ones(1000)).item() == 1000


def test_threads_profile_one_after_the_other_while_others_call():
    f = tg.compile(lambda x: (x.exp() * 2).sum())
    right, wrong = f(tg.ones(300)).item(), []
    over = threading.Event()

    def profiles():
        for _ in range(5):
            wrong.extend(x.runs for x in f.profile(tg.ones(300), runs=2).launches if x.runs != 1)

    def calls():
        while not over.wait(1e-3):
            if f(tg.ones(300)).item() != right:
                wrong.append("value")

    both = [threading.Thread(target=profiles) for _ in range(2)]
    other = threading.Thread(target=calls)
    for thread in (*both, other):
        thread.start()
    for thread in both:
        thread.join()
    over.set()
    other.join()
    assert not wrong


def test_the_trace_is_one_that_browsers_show(tmp_path):
    f = tg.compile(lambda x: (x @ x).exp().sum(0))
    found = f.profile(tg.randn(64, 64), runs=2)
    found.chrome_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    boxes = [e for e in events if e["ph"] == "X"]
    assert {e["ph"] for e in events} == {"X", "M"} and len(boxes) >= 1 + len(found.launches)
    (call,) = (e for e in boxes if e["name"] == "call")
    for e in boxes:
        assert call["ts"] <= e["ts"] and e["ts"] + e["dur"] <= call["ts"] + call["dur"] + 1e-3
    assert any(e["args"].get("operations") == "dot" for e in boxes)


def test_it_is_a_table_of_rich_if_that_is_installed(monkeypatch, capsys):
    found = tg.compile(lambda x: x.exp() + 1).profile(tg.ones(30), runs=1)
    monkeypatch.setitem(sys.modules, "rich", None)
    found.show()
    assert capsys.readouterr().out == f"{found}\n"
    monkeypatch.undo()
    pytest.importorskip("rich")
    assert [c.header for c in found.__rich__().columns][1:4] == ["µs", "share", "kind"]


def test_autocast_is_part_of_the_call():
    f = tg.compile(lambda x: x @ x)
    with tg.autocast("cpu", dtype=tg.bfloat16):
        found = f.profile(tg.randn(16, 16), runs=1)
    assert any("cast" in one.operations for one in found.launches)


@pytest.mark.slow
def test_a_graph_of_many_launches():
    functions = (lambda x: x.cumsum(0), lambda x: x.flip(0).cumprod(0), lambda x: x.cummax(0)[0])
    chosen = np.random.default_rng(0).integers(0, 3, 25_000)  # nothing that repeats is rolled

    @tg.compile
    def f(x):
        for k in chosen.tolist():
            x = functions[k](x)
        return x

    found = f.profile(tg.ones(5), runs=1)
    assert len(found.launches) > 20_000 and len(str(found).splitlines()) < 60
    assert "more launches" in str(found)
