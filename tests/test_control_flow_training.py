"""Loops whose functions train and write: parameters, optimizer state, buffers, random numbers."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import traces

import tracegrad as tg
from tracegrad import nn, optim
from tracegrad.ir.op import Kind

RNG = np.random.default_rng(0)
X = tg.tensor(RNG.standard_normal((6, 16, 3)))
Y = X.sum(-1, keepdim=True).sin()
OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "Adam": lambda p: optim.Adam(p, lr=0.01),
    "AdamW": lambda p: optim.AdamW(p, lr=0.01, amsgrad=True),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5),
}


class Training:
    """A network, its optimizer, and an epoch as one scan or as a loop in Python."""

    def __init__(self, optimizer, layers=(), zero=True):
        tg.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 8), *layers, nn.Tanh(), nn.Linear(8, 1)).double()
        self.optimizer, self.zero = optimizer(self.model.parameters()), zero
        tg.manual_seed(1)

    def step(self, total, batch):
        x, y = batch
        if self.zero:
            self.optimizer.zero_grad()
        loss = ((self.model(x) - y) ** 2).mean()
        loss.backward()
        self.optimizer.step()
        return total + loss.detach(), loss.detach()

    def epoch(self, x, y):
        return tg.scan(self.step, tg.zeros((), dtype=tg.float64), (x, y))

    def unrolled(self, x, y):
        total, losses = tg.zeros((), dtype=tg.float64), []
        for batch in zip(x, y, strict=True):
            total, loss = self.step(total, batch)
            losses.append(loss)
        return total, tg.stack(losses)

    def state(self):
        tensors = [*self.model.state_dict().values(), *(p.grad for p in self.model.parameters())]
        for state in self.optimizer.state.values():
            tensors += [v for v in state.values() if isinstance(v, tg.Tensor)]
        return [np.asarray(t.detach()) for t in tensors]


def trained(how, *args, **options):
    """The results of three epochs, and the state after them."""
    training = Training(*args, **options)
    epoch = training.unrolled if how == "python" else training.epoch
    epoch = tg.compile(epoch) if how == "compiled" else epoch
    results = [np.asarray(y) for _ in range(3) for y in epoch(X, Y)]
    return [*results, *training.state(), np.asarray(tg.rand(2))], epoch


def agree(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("how", ["eager", "compiled"])
def test_an_epoch_is_one_loop(name, how):
    found, epoch = trained(how, OPTIMIZERS[name])
    agree(found, trained("python", OPTIMIZERS[name])[0])
    if how == "compiled":
        assert traces(epoch) <= 2
        loops = [y for y in epoch.graph().order() if y.op.kind is Kind.LOOP]
        assert {y.params["length"] for y in loops} == {len(X)}


@pytest.mark.parametrize("layers", [(nn.BatchNorm1d(8),), (nn.Dropout(0.3),)], ids=str)
def test_buffers_and_random_numbers_are_carried(layers):
    def made():
        return [type(layer)(8) if isinstance(layer, nn.BatchNorm1d) else layer for layer in layers]

    found, epoch = trained("compiled", OPTIMIZERS["momentum"], made())
    agree(found, trained("python", OPTIMIZERS["momentum"], made())[0])
    assert any(y.op.kind is Kind.LOOP for y in epoch.graph().order())


def test_gradients_that_add_up_are_carried():
    found, _ = trained("compiled", OPTIMIZERS["SGD"], zero=False)
    agree(found, trained("python", OPTIMIZERS["SGD"], zero=False)[0])


def test_a_setting_of_the_optimizer_is_read_at_each_call():
    training, other = Training(OPTIMIZERS["SGD"]), Training(OPTIMIZERS["SGD"])
    epoch = tg.compile(training.epoch)
    for lr in (0.1, 0.01, 0.2):
        for t in (training, other):
            t.optimizer.param_groups[0]["lr"] = lr
        epoch(X, Y)
        other.unrolled(X, Y)
    agree(training.state(), other.state())
    assert traces(epoch) == 1


# ---- tensors that the function writes
def test_a_tensor_from_outside_that_is_written_is_carried():
    def f(x, log):
        seen = tg.zeros(3, dtype=x.dtype)

        def step(h, v):
            seen.add_(v)
            log[0] += 1
            return h + seen, seen * 1

        h, ys = tg.scan(step, x[0] * 0, x)
        return h, ys, seen

    x = tg.tensor(RNG.standard_normal((5, 3)))
    logs = tg.zeros(2), tg.zeros(2)
    compiled = tg.compile(f)
    for a, b in zip(compiled(x, logs[0]), f(x, logs[1]), strict=True):
        np.testing.assert_allclose(a, b)
    assert logs[0].tolist() == logs[1].tolist() == [5, 0]
    assert any(y.op.kind is Kind.LOOP for y in compiled.graph().order())


def test_a_tensor_and_its_view_that_is_written_agree():
    def f(x):
        base = tg.zeros(3, dtype=x.dtype)
        view = base[1:]

        def step(h, v):
            view.add_(v[1:])
            return h + base, h

        return (*tg.scan(step, x[0] * 0, x), base)

    x = tg.tensor(RNG.standard_normal((5, 3)))
    for a, b in zip(tg.compile(f)(x), f(x), strict=True):
        np.testing.assert_allclose(a, b)


def test_values_with_a_history_that_are_written_keep_it():
    def f(x, w):
        w = w.detach().requires_grad_()
        seen = tg.zeros(3, dtype=x.dtype)

        def step(h, v):
            seen.add_(h * w)
            return h + v, h * 1

        h, _ = tg.scan(step, x[0] * 0, x)
        return tg.autograd.grad((seen * h).sum(), w)[0]

    x, w = tg.tensor(RNG.standard_normal((5, 3))), tg.ones(3, dtype=tg.float64)
    np.testing.assert_allclose(tg.compile(f)(x, w), f(x, w))


def test_a_loop_that_trains_has_no_derivative():
    training = Training(OPTIMIZERS["SGD"])

    @tg.compile
    def f(x, y):
        def step(total, batch):
            out = ((training.model(batch[0]) - batch[1]) ** 2).mean()
            with tg.no_grad():
                for p in training.model.parameters():
                    p.mul_(0.9)
            return total + out, out

        return tg.scan(step, tg.zeros((), dtype=tg.float64), (x, y))[0].backward()

    with pytest.raises(RuntimeError, match="modified by an inplace"):
        f(X, Y)


def test_a_gradient_that_reaches_other_iterations_unrolls_the_loop():
    def f(x, w):
        w = w.detach().requires_grad_()

        def step(h, v):
            w.grad = None
            (h * w * v * tg.rand(3, dtype=v.dtype)).sum().backward(retain_graph=True)
            return h + w * v, w.grad

        h, gs = tg.scan(step, tg.zeros(3, dtype=x.dtype), x)
        return h.detach(), gs, w.grad

    found = []
    for run in (f, tg.compile(f)):
        tg.manual_seed(0)
        found.append(run(X[0, :4], tg.ones(3, dtype=tg.float64)))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b)


def test_training_until_a_loss_is_small_is_one_loop():
    def trained(compiled):
        training = Training(OPTIMIZERS["Adam"])

        def step(loss, n):
            training.optimizer.zero_grad()
            loss = ((training.model(X[0]) - Y[0]) ** 2).mean()
            loss.backward()
            training.optimizer.step()
            return loss.detach(), n + 1

        def until(most):
            first = tg.tensor(9.0, dtype=tg.float64)
            return tg.while_loop(lambda loss, n: loss > 0.5 * most, step, (first, 0))

        run = tg.compile(until) if compiled else until
        results = [y for most in (1.0, 0.6, 0.4, 0.4) for y in run(tg.tensor(most))]
        return [*(np.asarray(y) for y in results), *training.state()], run

    found, run = trained(True)
    agree(found, trained(False)[0])
    assert any(y.op.kind is Kind.LOOP for y in run.graph().order())


def test_a_check_of_the_body_waits_for_the_condition():
    def f(n):
        return tg.while_loop(lambda n, s: n != 0, lambda n, s: (n - 1, s + 12 // n), (n, 0))[1]

    for n in (0, 3):
        assert tg.compile(f)(tg.tensor(n)) == f(tg.tensor(n))


# ---- what Python does in the function
class Counter:
    count = 0


def test_a_change_of_an_object_is_refused():
    counter = Counter()

    @tg.compile
    def f(x):
        def step(h, v):
            counter.count += 1
            return h + v, v

        return tg.scan(step, tg.zeros(3, dtype=tg.float64), x)

    with pytest.raises(RuntimeError, match=r"scan: the function changes attribute 'count'"):
        f(X[0])
    assert counter.count == 0


def test_what_is_printed_is_printed_in_each_iteration(capsys):
    @tg.compile
    def f(x):
        def step(h, v):
            print("here")
            return h + v, v

        return tg.scan(step, tg.zeros(3, dtype=tg.float64), x)

    f(X[0])
    assert capsys.readouterr().out == "here\n" * 16


def test_a_value_that_decides_unrolls_the_loop():
    def f(x):
        def step(h, v):
            return (h + v if v.sum() > 0 else h - v), h

        return tg.scan(step, tg.zeros(3, dtype=tg.float64), x)

    compiled = tg.compile(f)
    for x in (X[0], -X[0]):
        for a, b in zip(compiled(x), f(x), strict=True):
            np.testing.assert_allclose(a, b)


def test_a_tensor_that_leaves_its_function_is_refused_where_it_is_used():
    kept = []

    def f(x):
        kept = []

        def step(h, v):
            kept.append(h * v)
            return h + v, v

        tg.scan(step, tg.zeros(3, dtype=tg.float64), x)
        return kept[0] + 1

    with pytest.raises(RuntimeError, match="the function of a loop or a branch is used outside"):
        tg.compile(f)(X[0])
    assert kept == []


@pytest.mark.parametrize("compiled", [False, True])
def test_what_a_loop_copied_or_did_not_keep_may_be_written_before_backward(compiled):
    def f(h, xs, b):
        y = h * 1
        y = tg.scan(lambda c, x: (c * x * (b * 2), None), y, xs)[0]
        y = tg.cond(y.sum() > 0, lambda c: c * (b * 3), lambda c: c, (y,))
        xs.mul_(5), b.mul_(7)
        return tg.autograd.grad(y.sum(), h)[0]

    h = tg.ones(3, requires_grad=True)
    g = (tg.compile(f) if compiled else f)(h, tg.ones(4, 3), tg.ones(3))
    assert g.tolist() == [48.0] * 3


@pytest.mark.parametrize("compiled", [False, True])
def test_buffers_are_written_and_parameters_get_gradients_in_one_loop(compiled):
    bn = tg.nn.BatchNorm1d(2)
    xs = tg.sin(tg.arange(30.0)).reshape(5, 3, 2)

    def f(xs):
        return tg.scan(lambda c, x: (c + bn(x).abs().sum(), None), tg.zeros(()), xs)[0]

    (tg.compile(f) if compiled else f)(xs).backward()
    assert bn.num_batches_tracked == 5
    assert bn.weight.grad.abs().sum() > 1


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("pred", [True, tg.tensor(True)])
def test_a_branch_writes_a_copy_of_its_operand(compiled, pred):
    def f(x):
        return tg.cond(pred, lambda a: a.mul_(2), lambda a: a, (x,)), x

    y, x = (tg.compile(f) if compiled else f)(tg.ones(2))
    assert y.tolist() == [2.0, 2.0] and x.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("both", [False, True])
def test_a_branch_writes_tensors_from_outside(both):
    def run(way):
        total, count, norm = tg.zeros(2), tg.tensor(0), nn.BatchNorm1d(2)
        w = tg.tensor([1.5, -0.5], requires_grad=True)

        def yes(x):
            total.add_(x.detach())
            count.add_(1)
            return norm(tg.stack([x, x * total.clone() * w]))[1]

        def no(x):
            if both:
                total.mul_(0.5)
            return x * 2 * w

        def step(x):
            w.grad = None
            y = tg.cond(x.sum() > 0, yes, no, (x,))
            y = y + tg.map(lambda v: tg.cond(v.sum() > 0, yes, no, (v,)), tg.stack([x, -x])).sum(0)
            y.square().sum().backward()
            return y.detach()

        function = way(step)
        for k in (1.0, -1.0, 3.0):
            yield function(tg.tensor([k, 0.5 * k]))
            yield from (total.clone(), count.clone(), w.grad, *norm.state_dict().values())

    for a, b in zip(run(tg.compile), run(lambda f: f), strict=True):
        assert tg.allclose(a, b, rtol=1e-4, atol=1e-6)
