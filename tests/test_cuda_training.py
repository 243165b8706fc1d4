"""Compiled functions on a GPU that a driver in plain Python plays: the CPU's numbers, and one graph
launch for each step.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from secrets import token_hex

import numpy as np
import pytest

import tracegrad as tg
from benchmarks import gpu
from tracegrad import nn
from tracegrad.driver import program_store
from tracegrad.driver.gpus import using
from tracegrad.nn import functional as F
from tracegrad.runtime.cuda.allocator import OutOfMemoryError
from tracegrad.runtime.cuda.device import CudaDevice
from tracegrad.runtime.cuda.fake_driver import FakeDriver


@contextmanager
def gpus(count=1, **options):
    """Within it there are GPUs, whose memory is never used again."""
    driver = FakeDriver(count, **options)
    with using([CudaDevice(driver, k, caching=False) for k in range(count)]):
        yield driver


def data(*shape, seed=0):
    return tg.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def labels(*values):
    return tg.tensor(values)


def agrees(program, **tolerance):
    """What `program` gives for each kind of device is the same. Gives the log of the driver."""
    tg.manual_seed(0)
    wanted = program("cpu")
    with gpus() as driver:
        tg.manual_seed(0)
        results = program("cuda")
        log = list(driver.log)
    for result, expected in zip(results, wanted, strict=True):
        np.testing.assert_allclose(result, expected, **tolerance or {"rtol": 2e-5, "atol": 2e-6})
    return log


def trained(model, loss_of, optimizer_of, batch, steps=3):
    """A program that trains a model: the losses, and the parameters at the end."""
    def program(device):
        tg.manual_seed(0)
        net = model().to(device)
        optimizer = optimizer_of(net.parameters())
        given = [x.to(device) for x in batch]

        @tg.compile
        def step(*given):
            optimizer.zero_grad()
            loss = loss_of(net, *given)
            loss.backward()
            optimizer.step()
            return loss

        losses = [step(*given).item() for _ in range(steps)]
        return [losses, *(x.cpu().numpy() for x in net.state_dict().values())]

    return program


def squares(net, x, y):
    return ((net(x) - y) ** 2).mean()


def crossed(net, x, y):
    return F.cross_entropy(net(x), y)


def sgd(parameters):
    return tg.optim.SGD(parameters, lr=0.05, momentum=0.9)


def adam(parameters):
    return tg.optim.AdamW(parameters, lr=0.01)


# ---- training steps
def test_a_step_is_one_graph_launch():
    agrees(trained(lambda: nn.Linear(3, 1), squares, sgd, [data(8, 3), data(8, 1, seed=1)]))
    with gpus() as driver:
        net, x = nn.Linear(3, 1).to("cuda"), data(8, 3).to("cuda")
        optimizer = sgd(net.parameters())

        @tg.compile
        def step():
            optimizer.zero_grad()
            loss = (net(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        losses = [step(), step()]
        for _ in range(3):
            driver.log.clear()
            losses.append(step())
            assert [line.split()[0] for line in driver.log] == ["copy_in", "graph"]
        driver.log.clear()
        del losses[:]
        step()
        step()
        assert [line.split()[0] for line in driver.log][-1:] == ["graph"]


def test_a_network_with_adam_and_class_labels():
    def model():
        return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3))

    agrees(trained(model, crossed, adam, [data(3, 2), labels(0, 1, 2)], 2))


@pytest.mark.slow
def test_batch_norm_keeps_its_statistics():
    def model():
        return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2))

    agrees(trained(model, squares, sgd, [data(6, 4), data(6, 2, seed=1)]))


@pytest.mark.slow
def test_a_small_convolutional_network():
    def model():
        return nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 3, 3),
            nn.Tanh(), nn.Flatten(), nn.Linear(12, 4),
        )

    agrees(trained(model, crossed, sgd, [data(3, 1, 8, 8), labels(0, 1, 3)]))


@pytest.mark.slow
def test_a_layer_of_a_transformer():
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.letters, self.head = nn.Embedding(11, 8), nn.Linear(8, 11)
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

        def forward(self, text):
            return self.head(self.layer(self.letters(text))).reshape(-1, 11)

    text = tg.tensor([[1, 5, 2], [3, 3, 9]])
    agrees(trained(Small, lambda net, x: F.cross_entropy(net(x), x.reshape(-1)), sgd, [text], 2))


@pytest.mark.slow
def test_a_recurrent_network_is_one_graph():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(3, 4)

        def forward(self, x):
            return self.lstm(x)[0][-1]

    agrees(trained(Last, squares, sgd, [data(4, 2, 3), data(2, 4, seed=1)], 2))


def test_only_the_loss_compiled():
    def program(device):
        tg.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.Linear(5, 2)).to(device)
        x, y = data(6, 4).to(device), data(6, 2, seed=1).to(device)
        loss_of = tg.compile(lambda x, y: squares(net, x, y))
        losses = []
        for _ in range(2):
            loss = loss_of(x, y)
            loss.backward()
            losses.append(loss.item())
        return [losses, *(p.grad.cpu().numpy() for p in net.parameters())]

    agrees(program)


def test_a_rate_that_a_schedule_changes_is_read_at_each_call():
    def program(device):
        w = data(4).to(device).requires_grad_()
        optimizer = tg.optim.Adam([w], lr=0.1)
        schedule = tg.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)

        @tg.compile
        def step():
            optimizer.zero_grad()
            (w**2).sum().backward()
            optimizer.step()

        for _ in range(3):
            step()
            schedule.step()
        return [w.detach().cpu().numpy()]

    agrees(program)


def test_tensors_that_a_function_makes_on_the_device():
    def program(device):
        x = data(4).to(device)
        made = (
            lambda: tg.arange(4.0, device=device) * x,
            lambda: tg.tensor([1.0, 2.0], device=device) + tg.rand(2, device=device),
            lambda: x * tg.tensor(2.0) + tg.linspace(0, 1, 4, device=x.device),
        )
        return [tg.compile(f)().cpu().numpy() for f in made]

    agrees(program)


# ---- what splits the graph of a step
def _shifted(a):
    return a @ a.t() + 5 * tg.eye(3, device=a.device)


ONE_GRAPH = {
    "elementwise": lambda x: (x * 2).exp(), "labels": lambda x: F.cross_entropy(x, x[0].long()),
    "an index": lambda x: x[[0, 1]].sum(), "random numbers": lambda x: F.dropout(x, 0.5),
    "a loop of known length": lambda x: _scan(x), "sorting": lambda x: x.sort(1)[0].cumsum(0),
    "a number of the CPU": lambda x: x * tg.tensor(2.0), "what is masked": lambda x: x[x > 0].sum(),
    "a loop of Python": lambda x: [x := x.tanh() @ x for _ in range(6)][-1],
}
# what else happens: the host reads (r), waits (w), runs a kernel (h, between copies)
SPLIT = {
    "a factorisation": (lambda x: tg.linalg.cholesky(_shifted(x)).exp(), "ghg"),
    "a number that Python reads": (lambda x: x * x.sum().item(), "gwg"),
    "a branch of Python": (lambda x: x * 2 if x.sum() > 0 else x, "gw"),
    "a branch": (lambda x: tg.cond(x.sum() > 0, lambda a: a * 2, lambda a: a - 1, (x,)),
                 "ggwgggw"),
    "a while loop": (lambda x: tg.while_loop(
        lambda n, y: n < 2, lambda n, y: (n + 1, y * 1.5), (tg.zeros_like(x[0, 0]), x))[1],
        "ggwggwggw"),
    "a value that is printed": (lambda x: (print(x.sum()), x * 2)[1], "gr"),
    "a value for the CPU": (lambda x: (x * 2).cpu(), "gr"),
}


def _scan(x):
    return tg._higher_order_ops.scan(lambda c, s: (c + s, c * s), x[0] * 0, x)[0]


def _walked(f):
    """What the third call of a compiled function asks of the driver, a letter for each."""
    with gpus() as driver:
        x, f = data(3, 3).abs().to("cuda"), tg.compile(f)
        f(x)
        f(x)
        driver.log.clear()
        f(x)
        said = [line.split()[0] for line in driver.log]
    letters = {"graph": "g", "synchronize": "w", "copy_out": "r", "launch": "l"}
    text = "".join(letters.get(line, "") for line in said)
    copies = "copy_in" in said[said.index("graph") + 1 :]
    return re.sub("r+", "h", text).removesuffix("h") if copies else text


@pytest.mark.parametrize("f", ONE_GRAPH.values(), ids=ONE_GRAPH)
def test_a_call_is_one_graph(f):
    assert _walked(f) == "g"


@pytest.mark.parametrize(("f", "walked"), SPLIT.values(), ids=SPLIT)
def test_what_splits_a_graph(f, walked, capsys):
    assert _walked(f) == walked


# ---- what Python looks at
def test_branches_on_values_and_numbers_that_are_read():
    def program(device):
        x = data(6, 4).to(device)

        @tg.compile
        def f(x, k):
            total = x.sum()
            if total.item() > 0:
                return x * 2 + total
            return (x - k) * total.item()

        return [f(x * s, k).cpu().numpy() for s, k in ((1, 1.5), (-1, 2.5), (1, 0.5), (-1, 3.5))]

    agrees(program)


def test_shapes_that_depend_on_values():
    def program(device):
        x = tg.arange(10.0).to(device)

        @tg.compile
        def f(x):
            some = x[x > 3]
            return (some * 2).sum() + some.shape[0]

        return [f(x).item(), f(x * 2).item(), f(x).item()]

    agrees(program)


def test_a_condition_and_a_while_loop():
    def program(device):
        x = data(4).to(device)

        @tg.compile
        def f(x):
            y = tg.cond(x.sum() > 0, lambda x: x * 2, lambda x: x - 1, (x,))
            n, y = tg.while_loop(
                lambda n, y: n < 3, lambda n, y: (n + 1, y * 1.5), (tg.zeros_like(x[0]), y)
            )
            return y

        return [f(x).cpu().numpy(), f(-x).cpu().numpy()]

    agrees(program)


# ---- errors
def test_a_step_without_memory_changes_nothing():
    with gpus(total=1 << 20):
        w = tg.ones(50_000, device="cuda")

        @tg.compile
        def f():
            w.mul_(2.0)
            return tg.outer(w[:2000], w[:2000])

        with pytest.raises(OutOfMemoryError, match=r"Tried to allocate 15\.26 MiB. GPU 0"):
            f()
        assert w[:3].cpu().tolist() == [1.0, 1.0, 1.0]


def test_what_is_for_the_cpu_alone_refuses_a_program_for_a_gpu():
    with gpus():
        w = tg.ones(3, device="cuda")
        f = tg.compile(lambda x: x * w)
        for refused in (
            lambda: f.export("no.tgp", tg.ones(3, device="cuda")),
            lambda: f.cfunc(tg.ones(3, device="cuda")),
            lambda: f.export("no.so", tg.ones(3, device="cuda")),
        ):
            with pytest.raises(RuntimeError, match="is on cuda:0, and what"):
                refused()


# ---- calls
def test_a_result_belongs_to_its_caller():
    with gpus():
        f = tg.compile(lambda x: x + 1)
        results = [f(tg.full((3,), float(k), device="cuda")) for k in range(12)]
        assert [y.cpu().tolist() for y in results] == [[k + 1.0] * 3 for k in range(12)]


def test_tensors_of_another_device_get_another_program():
    with gpus(2):
        f = tg.compile(lambda x: x * 2)
        for where in ("cuda:0", "cpu", "cuda:1", "cpu", "cuda:0", "cuda:1"):
            y = f(tg.ones(3, device=where))
            assert str(y.device) == where
            assert y.cpu().tolist() == [2.0, 2.0, 2.0]


def test_threads_call_one_function():
    with gpus():
        f = tg.compile(lambda x: (x * x).sum())
        wrong = []

        def call(k):
            for _ in range(5):
                if f(tg.full((4,), float(k), device="cuda")).item() != 4.0 * k * k:
                    wrong.append(k)

        threads = [threading.Thread(target=call, args=(k,)) for k in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_a_later_process_would_find_the_program_for_the_same_kind_of_gpu_only():
    with gpus() as driver:
        def call():
            before = program_store.statistics.loaded
            tg.compile(lambda x: tg.exp(x) * 3)(tg.ones(4, device="cuda"))
            return program_store.statistics.loaded > before

        call()
        assert call()
        driver.identity = lambda device: token_hex()
        assert not call()


def test_a_kept_program_of_another_backend_is_not_loaded(monkeypatch):
    name = token_hex()
    monkeypatch.setattr(program_store, "name_of", lambda text, place: name)
    with gpus():
        for device in ("cuda", "cpu", "cuda"):
            x = tg.ones(5, device=device)
            tg.testing.assert_close(tg.compile(lambda x: tg.exp(x) + 1)(x), tg.exp(x) + 1)


# ---- the benchmark
@pytest.mark.slow
def test_the_ladder_of_the_benchmark():
    said = []
    with gpus():
        assert gpu.ladder(tg, said.append), said
    assert len(said) == len(list(gpu.rungs(tg)))


@pytest.mark.skipif(tg.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_benchmark_says_so(capsys):
    assert gpu.main([]) == 1
    assert capsys.readouterr().err.startswith("no CUDA device: ")


@pytest.mark.slow
def test_random_numbers_are_those_of_the_cpu():
    """Twice, so that the second call draws on."""
    def program(device):
        @tg.compile
        def drawn(x):
            fresh = tg.empty_like
            return (
                tg.rand_like(x), tg.randn_like(x), tg.randint(-3, 9, (7,), device=x.device),
                tg.randperm(7, device=x.device), tg.bernoulli(tg.sigmoid(x)), tg.normal(x, 2.0),
                tg.multinomial(tg.softmax(x, -1), 2), fresh(x).exponential_(),
                fresh(x).geometric_(0.3), fresh(x).cauchy_(), fresh(x).log_normal_(),
                nn.functional.dropout(x, 0.4), nn.functional.gumbel_softmax(x),
            )

        x = data(3, 5).to(device)
        return [y.cpu().numpy() for _ in range(2) for y in drawn(x)]

    agrees(program)
