"""Python loops that are compiled as loops give what they give eagerly."""

from functools import partial

import numpy as np
import pytest
from loops_at_random import N, random_program

import tracegrad as tg
from tracegrad.driver import lowering, program_store
from tracegrad.ir.op import Kind
from tracegrad.ir.rolling.roll import roll

pytestmark = pytest.mark.usefixtures("cache_folder", "rolled")


@pytest.fixture
def rolled(monkeypatch):
    """Loops are found in programs of any size."""
    monkeypatch.setattr(lowering, "roll", partial(roll, size=0))


def loops(f):
    return sum(n.op.kind is Kind.LOOP for n in f.graph().order())


def close(a, b, tolerance=2e-5):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), tolerance, tolerance)


def trained(compiled, step_of, steps=3):
    """The losses and parameters of some steps."""
    tg.manual_seed(0)
    step, parameters, batch = step_of()
    step = tg.compile(step) if compiled else step
    losses = [step(*batch) for _ in range(steps)]
    if compiled:
        assert loops(step)
    return [*losses, *parameters]


def character_lstm():
    F = tg.nn.functional
    embedding, cell, readout = tg.nn.Embedding(7, 5), tg.nn.Linear(10, 20), tg.nn.Linear(5, 7)
    parameters = [p for m in (embedding, cell, readout) for p in m.parameters()]
    optimizer = tg.optim.Adam(parameters, lr=1e-2)

    def step(text):
        optimizer.zero_grad()
        h = c = tg.zeros(3, 5)
        loss = 0.0
        for t in range(N):
            i, f, g, o = cell(tg.cat([embedding(text[t]), h], dim=1)).chunk(4, dim=1)
            c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
            h = tg.sigmoid(o) * tg.tanh(c)
            loss = loss + F.cross_entropy(readout(h), text[t + 1])
        loss.backward()
        optimizer.step()
        return loss

    return step, parameters, [tg.randint(0, 7, (N + 1, 3))]


def dropped_out():
    w = tg.randn(4, 4, requires_grad=True)
    optimizer = tg.optim.SGD([w], lr=0.1, momentum=0.9)

    def step(x):
        optimizer.zero_grad()
        h = x[0]
        for t in range(N):
            h = tg.tanh(tg.nn.functional.dropout(h @ w, 0.3) + x[t])
        loss = (h**2).sum()
        loss.backward()
        optimizer.step()
        return loss

    return step, [w], [tg.randn(N, 2, 4)]


def two_layers():
    """The second loop reads what the first one gave, and hands gradients back to it."""
    a, b = (tg.nn.GRUCell(4, 4) for _ in range(2))
    parameters = [*a.parameters(), *b.parameters()]
    optimizer = tg.optim.SGD(parameters, lr=0.1)

    def step(x):
        optimizer.zero_grad()
        for cell in (a, b):
            h, outputs = tg.zeros(2, 4), []
            for t in range(N):
                h = cell(x[t], h)
                outputs.append(h)
            x = tg.stack(outputs)
        loss = (x**2).mean()
        loss.backward()
        optimizer.step()
        return loss

    return step, parameters, [tg.randn(N, 2, 4)]


@pytest.mark.parametrize("step_of", [character_lstm, dropped_out, two_layers])
def test_training_steps_with_loops(step_of):
    for one, other in zip(trained(False, step_of), trained(True, step_of), strict=True):
        close(one, other)


def test_a_loss_whose_backward_runs_outside():
    cell = tg.nn.Linear(6, 4)
    x = tg.randn(N, 3, 2, requires_grad=True)

    def loss(x):
        h, total = tg.zeros(3, 4), 0.0
        for t in range(N):
            h = tg.tanh(cell(tg.cat([x[t], h], dim=1)))
            total = total + (h**2).mean()
        return total, h

    compiled = tg.compile(loss)
    for chosen in ((0,), (1,), (0, 1)):
        gradients = []
        for f in (loss, compiled):
            results = f(x)
            wanted = [x, *cell.parameters()]
            gradients.append(tg.autograd.grad(sum(results[k].sum() for k in chosen), wanted))
        for one, other in zip(*gradients, strict=True):
            close(one, other)
    assert loops(compiled)


def test_an_index_out_of_range_in_some_iteration_raises_and_changes_nothing():
    table, seen = tg.randn(5, 3), tg.zeros(3)

    @tg.compile
    def f(indices):
        h = tg.zeros(3)
        for t in range(N):
            h = tg.tanh(h + tg.nn.functional.embedding(indices[t], table))
        seen.add_(h)
        return h

    good = tg.arange(N) % 5
    close(f(good), seen)
    bad, before = good.clone(), seen.clone()
    bad[7] = 5
    with pytest.raises(IndexError):
        f(bad)
    assert seen.equal(before)
    f(good)
    assert not seen.equal(before)


def test_a_program_with_loops_is_found_on_disk_and_shown(cache_folder):
    def f(x):
        for t in range(N):
            x = tg.tanh(x) + x * 0.5 + t
        return x

    x, loaded = tg.randn(4), program_store.statistics.loaded
    compiled = [tg.compile(f) for _ in range(2)]
    one, other = (g(x) for g in compiled)
    assert one.equal(other)
    close(one, f(x))
    assert program_store.statistics.loaded == loaded + 1
    shown = [str(g.graph()) for g in compiled]
    assert shown[0] == shown[1] and "for_loop" in shown[0]


@pytest.mark.parametrize("seed", range(3))
def test_random_loops_are_the_same_compiled(seed):
    f, shapes = random_program(seed)
    tg.manual_seed(seed)
    inputs = [(tg.randn(*s, dtype=tg.float64) * 0.5).requires_grad_() for s in shapes]

    def step(*inputs):
        results = f(*inputs)
        gradients = tg.autograd.grad(sum(y.sum() for y in results), inputs, allow_unused=True)
        return (*results, *(g for g in gradients if g is not None))

    for one, other in zip(step(*inputs), tg.compile(step)(*inputs), strict=True):
        close(one, other, 1e-7)
