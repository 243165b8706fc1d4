"""Programs on disk: a later process neither simplifies nor lowers, and computes the same bits."""

from __future__ import annotations

import hashlib
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from processes import run

import tracegrad as tg
from tracegrad import nn
from tracegrad.driver import lowering
from tracegrad.nn import functional as F
from tracegrad.runtime.cpu.launch_list import WORKERS


def forbid_lowering() -> None:
    """From now on a program comes from the disk, or the test fails."""

    def refuse(*_, **__):
        print("lowered again")
        raise AssertionError

    lowering.build = refuse


def bits(*tensors) -> str:
    digest = hashlib.sha256()
    for t in tensors:
        digest.update(f"{t.dtype} {tuple(t.shape)}".encode() + t._array.tobytes())
    return digest.hexdigest()[:16]


# ---- what a process runs, twice
def whole_step(model, loss, optimizer, *batch):
    @tg.compile
    def step(*batch):
        optimizer.zero_grad()
        value = loss(model, *batch)
        value.backward()
        optimizer.step()
        return value

    return [step(*batch) for _ in range(3)], step


def mlp():
    model = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3))
    optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
    x, y = tg.randn(5, 6), tg.randint(0, 3, (5,))
    losses, step = whole_step(model, lambda m, x, y: F.cross_entropy(m(x), y), optimizer, x, y)
    return [*losses, *model.parameters()], [step]


def images():
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Dropout(0.3), nn.Linear(27, 4),
    )
    optimizer = tg.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    x, y = tg.randn(2, 1, 8, 8), tg.randint(0, 4, (2,))
    losses, step = whole_step(model, lambda m, x, y: F.cross_entropy(m(x), y), optimizer, x, y)
    return [*losses, *model.parameters(), *model.buffers()], [step]


def attention():
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    optimizer = tg.optim.AdamW(model.parameters(), lr=0.01)
    x = tg.randn(2, 5, 8)
    losses, step = whole_step(model, lambda m, x: (m(x) ** 2).mean(), optimizer, x)
    return [*losses, *model.parameters()], [step]


def loop():
    w = tg.randn(4, 4, requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.1)

    def loss(w, x):
        for _ in range(6):
            x = (x @ w).tanh()
        return x.sum()

    losses, step = whole_step(w, loss, optimizer, tg.randn(3, 4))
    return [*losses, w], [step]


def loss_only():
    """The backward program is cut from the same graph, and made when it is needed."""
    model, x = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 2)), tg.randn(5, 6)

    @tg.compile
    def both(x):
        y = model(x)
        return y.sum(), (y**2).mean()

    one, two = both(x)
    one.backward(retain_graph=True)
    two.backward()
    first = [p.grad.clone() for p in model.parameters()]
    one, two = both(x)
    (one * two).backward()
    return [one, two, *first, *(p.grad for p in model.parameters())], [both]


def values():
    """A branch on a value, an index that is checked, a sort, random numbers, a factorisation."""

    @tg.compile
    def f(x, k):
        if x.sum() > 0:
            x = x * 2
        y = x[k].sort().values + tg.rand(3)
        return y, tg.linalg.cholesky(y.outer(y) + 4 * tg.eye(3)), x.argmax()

    x = tg.tensor([[1.0, -2.0, 3.0], [4.0, 5.0, -6.0]])
    return [*f(x, tg.tensor(1)), *f(-x, tg.tensor(0))], [f]


def wide():
    """Launches that threads share, where there are several."""

    @tg.compile
    def f(x):
        return (x @ x).tanh().sum(0), x.exp() * 2

    return f(tg.randn(300, 300)), [f]


MODELS = {f.__name__: f for f in (mlp, images, attention, loop, loss_only, values, wide)}


def compute(name: str, forbidden: bool) -> None:
    if forbidden:
        forbid_lowering()
    tg.manual_seed(3)
    results, functions = MODELS[name]()
    entries = [e for f in functions for e in f.tracegrad_state.programs]
    assert all(e.low.loaded is forbidden for e in entries)
    print(bits(*results), *(f.program() for f in functions))
    for f in functions:  # made anew, of what this process recorded; raises if it is another graph
        print(len(f.graph().order()), f.source())


@pytest.mark.parametrize("name", MODELS)
def test_a_later_process_lowers_nothing_and_computes_the_same_bits(cache_folder, name):
    """Also on another number of threads, and with sets in another order."""
    cold = run(compute, name, False, env={"PYTHONHASHSEED": "1", "NUMBA_NUM_THREADS": "1"})
    warm = run(compute, name, True, env={"PYTHONHASHSEED": "2", "NUMBA_NUM_THREADS": "2"})
    assert warm == cold


def fuzz(first: int, count: int, forbidden: bool) -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from tests.fuzz.compiled import Outcome, function
    from tests.fuzz.draw import draw

    if forbidden:
        forbid_lowering()
    for index in range(first, first + count):
        program = draw(11, index, True)
        compiled = tg.compile(function(program))
        with np.errstate(all="ignore"):
            outcome = Outcome(program, compiled)
        entries = list(compiled.tracegrad_state.programs)
        tensors = [t for t in flat(list(vars(outcome).values())) if isinstance(t, tg.Tensor)]
        print(index, type(outcome.error).__name__, bits(*tensors))
        for entry in entries:
            print(len(entry.low.graph().order()), entry.program)


def flat(values) -> list:
    nested = isinstance(values, (list, tuple))
    return [v for value in values for v in flat(value)] if nested else [values]


@pytest.mark.slow
def test_programs_at_random_are_found_again(cache_folder):
    pytest.importorskip("torch")
    assert run(fuzz, 0, 5, False) == run(fuzz, 0, 5, True)


@pytest.mark.slow
def test_a_hundred_programs_at_random_are_found_again(cache_folder):
    pytest.importorskip("torch")
    cold = run(fuzz, 0, 100, False, timeout=1500)
    assert run(fuzz, 0, 100, True, timeout=500) == cold


def warm_start() -> None:
    f = tg.compile(lambda x: (x @ x.t()).tanh().sum(0))
    print(f(tg.ones(3, 3)).tolist(), "numba" in sys.modules)


def test_a_process_that_finds_all_on_disk_does_not_import_numba(cache_folder):
    assert run(warm_start).endswith("True\n")
    assert run(warm_start).endswith("False\n")


def warm_start_with_threads() -> None:
    f = tg.compile(lambda x: (x @ x).relu() @ x)
    x = tg.randn(300, 300, generator=tg.Generator().manual_seed(1)) / 17
    before, alone = f(x), "numba" not in sys.modules
    spans = f.tracegrad_state.programs.last().executable._spans
    numba = import_module("numba")
    numba.set_num_threads(1)
    print(alone, spans[0, WORKERS], tg.equal(f(x), before), numba.get_num_threads())


def test_threads_are_shared_before_and_after_numba_is_imported(cache_folder):
    env = {"NUMBA_NUM_THREADS": "2"}
    assert run(warm_start_with_threads, env=env) == "False 2 True 1\n"
    assert run(warm_start_with_threads, env=env) == "True 2 True 1\n"
    for variable, value in (("NUMBA_THREADING_LAYER", "workqueue"), ("NUMBA_NUM_THREADS", "2.5")):
        chosen = env | {variable: value}
        assert run(warm_start_with_threads, env=chosen).startswith("False 2 True 1")
