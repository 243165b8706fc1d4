"""New sizes: the kernels that are there serve them, no warning is given of those that are meant to
change, and what is kept of them is bounded.
"""

from __future__ import annotations

import gc
import inspect
import warnings

import numpy as np
import pytest
from compiled import kernels, traces

import tracegrad as tg
from tracegrad import nn
from tracegrad.driver import dynamic_sizes, programs
from tracegrad.runtime.cpu import object_cache

F = nn.functional


def training(model, loss, lr=0.05):
    optimizer = tg.optim.SGD(model.parameters(), lr=lr, momentum=0.9)

    def step(x, y):
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        return value

    return step


def mlp(T, *sizes):
    T.manual_seed(0)
    layers = []
    for m, n in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [T.nn.Linear(m, n), T.nn.ReLU()]
    return T.nn.Sequential(*layers[:-1])


def convolutions(T):
    T.manual_seed(0)
    return T.nn.Sequential(
        T.nn.Conv2d(1, 4, 3, padding=1), T.nn.BatchNorm2d(4), T.nn.ReLU(), T.nn.MaxPool2d(2),
        T.nn.Flatten(), T.nn.Linear(4 * 36, 10),
    )


class Sentences(nn.Module):
    """Attention over the letters of sentences."""

    def __init__(self):
        super().__init__()
        self.letters, self.readout = nn.Embedding(30, 24), nn.Linear(24, 5)
        self.norm, self.qkv = nn.LayerNorm(24), nn.Linear(24, 72)

    def forward(self, x):
        h = self.letters(x)
        q, k, v = self.qkv(self.norm(h)).chunk(3, dim=-1)
        h = h + F.scaled_dot_product_attention(q, k, v)
        return self.readout(h.mean(1))


def kernels_of(step, batches):
    """How many kernels each batch added to those of the process."""
    added = []
    for batch in batches:
        before = kernels()
        step(*batch)
        added.append(kernels() - before)
    return added


def random_batches(counts, *shape, classes=10):
    rng = np.random.default_rng(0)
    for n in counts:
        x = rng.standard_normal((n, *shape)).astype(np.float32)
        yield tg.from_numpy(x), tg.from_numpy(rng.integers(0, classes, n))


SIZES = (64, 32, 33, 50, 100, 128, 20, 17, 200)


@pytest.mark.parametrize(
    ("model", "shape"),
    [(lambda: mlp(tg, 20, 64, 32, 10), (20,)), (lambda: mlp(tg, 100, 48, 10), (100,)),
     (lambda: convolutions(tg), (1, 12, 12))],
    ids=["small", "wide", "convolutions"],
)
def test_a_new_batch_size_of_a_training_step_compiles_no_kernel(model, shape):
    step = tg.compile(training(model(), F.cross_entropy), dynamic=True)
    assert kernels_of(step, random_batches(SIZES, *shape))[2:] == [0] * (len(SIZES) - 2)


def test_a_mean_over_a_power_of_two_is_the_same_kernel_as_one_over_any_number():
    step = tg.compile(lambda x: F.batch_norm(x, None, None, training=True).mean(), dynamic=True)
    batches = [(tg.randn(n, 5, 3, 3),) for n in (60, 64, 128, 61)]
    assert kernels_of(step, batches)[1:] == [0, 0, 0]


@pytest.mark.parametrize("n", [1, 2, 9, 127, 128, 129, 300, 511, 512, 513, 1500])
def test_sums_in_blocks_are_numpys_for_any_number_of_terms(n):
    x = np.random.default_rng(n).standard_normal((n, 12)).astype(np.float32)
    sums = tg.compile(lambda x: (x.sum(0), x.sum(), x.sum(1), (x * x).mean()), dynamic=True)
    wide = x.astype(np.float64)
    wanted = wide.sum(0), wide.sum(), wide.sum(1), (wide * wide).mean()
    for ours, exact in zip(sums(tg.from_numpy(x)), wanted, strict=True):
        np.testing.assert_allclose(ours.numpy(), exact, rtol=2e-6, atol=1e-4)


@pytest.mark.parametrize("divisor", [0.5, 2.0, 16.0, -64.0, 3.0, 2.0**-130, 2.0**127, 0.0])
@pytest.mark.parametrize("dtype", [tg.float32, tg.float64, tg.float16, tg.bfloat16])
def test_division_by_a_constant_keeps_every_bit(dtype, divisor):
    values = [0.0, -0.0, 1.0, -3.7, 1e-3, 6e4, float("inf"), float("-inf"), float("nan"), 6e-8]
    x = tg.tensor(values * 3).to(dtype)
    forms = lambda x: (x / divisor, (x[:, None] @ x[None]) / divisor, x.sum() / divisor)  # noqa: E731
    for ours, eager in zip(tg.compile(forms)(x), forms(x), strict=True):
        np.testing.assert_array_equal(ours.float().numpy(), eager.float().numpy())


# ---- training
def test_a_ragged_last_batch_trains_as_in_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    data = rng.standard_normal((150, 20)).astype(np.float32)
    labels = rng.integers(0, 3, 150)
    losses = {}
    weights = [p.detach().numpy().copy() for p in mlp(tg, 20, 32, 3).parameters()]
    for T in (tg, torch):
        model = mlp(T, 20, 32, 3)
        with T.no_grad():
            for p, w in zip(model.parameters(), weights, strict=True):
                p.copy_(T.from_numpy(w))
        optimizer = T.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

        def step(x, y, T=T, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = T.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        run = tg.compile(step) if T is tg else step
        losses[T] = [
            float(run(T.from_numpy(data[k : k + 64]), T.from_numpy(labels[k : k + 64])).item())
            for _ in range(5) for k in range(0, 150, 64)
        ]
        if T is tg:
            assert traces(run) == 2
    np.testing.assert_allclose(losses[tg], losses[torch], rtol=1e-4)


def kept(step):
    """How many programs there are, without those that nobody can call any more."""
    gc.collect()
    return step.cache_info().currsize


def bytes_on_disk():
    folder = object_cache.folder()
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def sentences(lengths):
    rng = np.random.default_rng(1)
    for n in lengths:
        yield tg.from_numpy(rng.integers(0, 30, (3, n))), tg.from_numpy(rng.integers(0, 5, 3))


def test_many_lengths_of_sentences_keep_few_programs_and_kernels(monkeypatch):
    monkeypatch.setattr(programs, "MOST_SIGNATURES", 10)
    step = tg.compile(training(Sentences(), F.cross_entropy), dynamic=True)
    lengths = [*range(10, 40)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        added = kernels_of(step, sentences(lengths))
    assert sum(added[1:]) <= added[0]  # a length that is a width, too, may have kernels of its own
    assert traces(step) == len(lengths) and kept(step) == 10
    step(*next(sentences([39])))
    assert traces(step) == len(lengths)  # the latest are there
    step(*next(sentences([10])))
    assert traces(step) == len(lengths) + 1


@pytest.mark.slow
def test_three_hundred_lengths_of_sentences_are_bounded():
    step = tg.compile(training(Sentences(), F.cross_entropy), dynamic=True)
    lengths = [int(n) for n in np.random.default_rng(0).permutation(np.arange(5, 305))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        added = kernels_of(step, sentences(lengths))
    first = added[0]
    assert sum(added) <= 4 * first and sum(map(bool, added[20:])) <= 20
    assert kept(step) <= programs.MOST_SIGNATURES
    entries = list(step.tracegrad_state.programs)
    assert sum(len(e.program.launches) for e in entries) <= programs.MOST_LAUNCHES
    assert sum(e.memory() for e in entries) <= 2 * programs.MOST_IDLE
    assert bytes_on_disk() < object_cache.limit()


# ---- which programs go
def test_the_program_that_was_not_used_for_longest_goes(monkeypatch):
    monkeypatch.setattr(programs, "MOST_SIGNATURES", 9)
    f = tg.compile(lambda x: x + 1, dynamic=True)
    for n in range(1, 10):
        f(tg.ones(n))
    f(tg.ones(1))
    f(tg.ones(10))  # in place of that for two
    f(tg.ones(1))
    assert traces(f) == 10
    f(tg.ones(2))
    assert traces(f) == 11


@pytest.mark.slow
def test_few_large_programs_are_kept_however_many_launches_they_have(monkeypatch):
    monkeypatch.setattr(programs, "MOST_LAUNCHES", 1)
    f = tg.compile(lambda x: x.cumsum(0).sum(), dynamic=True)
    for _ in range(2):
        for n in range(2, 2 + programs.FEWEST_SIGNATURES):
            f(tg.ones(n))
    assert traces(f) == programs.FEWEST_SIGNATURES
    f(tg.ones(50))
    assert kept(f) == programs.FEWEST_SIGNATURES


# ---- what is said of sizes
def warns(f, sizes, make=tg.ones):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for n in sizes:
            f(make(n))
    return bool(seen)


MANY = range(3, 20)


def test_sizes_that_change_often_are_warned_of_unless_they_are_dynamic():
    assert warns(tg.compile(lambda x: x * 2), MANY)
    assert warns(tg.compile(lambda x: x * 2, dynamic=False), MANY)
    assert not warns(tg.compile(lambda x: x * 2, dynamic=True), MANY)
    assert not warns(tg.compile(nn.Linear(4, 4), dynamic=True), MANY, lambda n: tg.ones(n, 4))


def test_a_marked_size_of_the_first_call_is_dynamic_in_all():
    f = tg.compile(lambda x: x * 2)
    x = tg.ones(2, 3)
    tg.mark_dynamic(x, 0)
    f(x)
    assert not warns(f, MANY, lambda n: tg.ones(n, 3))
    assert warns(f, MANY, lambda n: tg.ones(3, n))


def test_dynamic_sizes_beside_another_call_are_no_reason_to_warn():
    f = tg.compile(lambda x, training: x * 2 if training else x, dynamic=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in MANY:
            f(tg.ones(n), True)
            f(tg.ones(4), False)


def test_sizes_outside_of_the_limits_are_warned_of():
    def f(x):
        return x * 2

    for low, high, expected in ((None, 5, True), (30, None, True), (3, 20, False)):
        g, x = tg.compile(f), tg.ones(3)
        tg.mark_dynamic(x, 0, min=low, max=high)
        g(x)
        assert warns(g, MANY) is expected


def test_a_static_size_among_dynamic_ones_is_warned_of():
    f, x = tg.compile(lambda x: x * 2, dynamic=True), tg.ones(2, 2)
    tg.mark_static(x, -1)
    f(x)
    assert not warns(f, MANY, lambda n: tg.ones(n, 2))
    assert warns(f, MANY, lambda n: tg.ones(2, n))


def test_the_last_mark_counts():
    for marks, expected in (
        ((tg.mark_static, tg.mark_dynamic), False), ((tg.maybe_mark_dynamic, tg.mark_static), True)
    ):
        f, x = tg.compile(lambda x: x * 2), tg.ones(2)
        for mark in marks:
            mark(x, [0])
        f(x)
        assert warns(f, MANY) is expected


def test_marks_are_no_state_that_a_program_depends_on_and_go_with_the_tensor():
    layer = nn.Linear(2, 2)
    layer.weight.note = 1
    f, x = tg.compile(lambda x: layer(x).sum()), tg.ones(3, 2)
    for mark in (tg.mark_dynamic, tg.mark_static):
        f(x)
        mark(x, 0)
        mark(layer.weight, [0, 1])
    f(x)
    assert traces(f) == 1
    before = len(dynamic_sizes._marked)
    del x
    gc.collect()
    assert len(dynamic_sizes._marked) == before - 1


def test_another_dtype_is_no_change_of_size():
    f = tg.compile(lambda x: x * 2, dynamic=True)
    for dtype in (tg.float32, tg.float64):
        f(tg.ones(3, dtype=dtype))
    assert "float64" in f.explain()


def test_marks_are_refused_where_they_would_mean_nothing():
    x = tg.ones(2, 3)
    for mark in (tg.mark_dynamic, tg.maybe_mark_dynamic, tg.mark_static):
        for index, error in ((2, IndexError), (-3, IndexError), ("a", AssertionError),
                             (1.5, AssertionError), ([0, 7], IndexError)):
            with pytest.raises(error):
                mark(x, index)
        with pytest.raises(TypeError, match="expects a Tensor, got int"):
            mark(3, 0)
    with pytest.raises(IndexError, match="no dimensions"):
        tg.mark_dynamic(tg.tensor(1.0), 0)
    tg.mark_static(tg.tensor(1.0))
    with pytest.raises(AssertionError, match="bool or None"):
        tg.compile(lambda x: x, dynamic="yes")

    @tg.compile
    def inside(x):
        tg.mark_static(x)
        tg.mark_dynamic(x, 0)
        return x

    with pytest.raises(RuntimeError, match="inside a compiled function"):
        inside(x)


@pytest.mark.parametrize("name", ["mark_dynamic", "maybe_mark_dynamic", "mark_static"])
def test_the_signatures_are_torchs(name):
    torch = pytest.importorskip("torch")
    import torch._dynamo as theirs

    assert torch is not None
    ours = inspect.signature(getattr(tg._dynamo, name)).parameters.values()
    wanted = inspect.signature(getattr(theirs, name)).parameters.values()
    assert [(p.name, p.kind, p.default) for p in ours] == [
        (p.name, p.kind, p.default) for p in wanted
    ]
