"""Recurrent layers compiled, under function transforms, copied, stored, and loaded from torch."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from test_recurrent import CELLS, GATES, KINDS, layer, outcome
from witness import same, torch

import tracegrad as tg

OPTIONS = {"num_layers": 2, "bidirectional": True}


def values(lib, seed=0, shape=(5, 2, 3)):
    return lib.tensor(np.random.default_rng(seed).normal(size=shape))


def total(model, x):
    return (model(x)[0].sin() ** 2).sum()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind, options", KINDS)
def test_compiled_is_eager(kind, options, packed):
    if options.get("num_layers") == 3:
        pytest.skip("covered by two layers")
    eager = outcome(tg, kind, options, packed=packed, second=False)
    same(outcome(tg, kind, options, packed=packed, second=False, run=tg.compile), eager)


@pytest.mark.parametrize("kind", GATES)
def test_second_derivatives_compile(kind):
    same(outcome(tg, kind, {}, run=tg.compile), outcome(tg, kind, {}))


def trained(lib, kind, compiled=lambda f: f):
    """Losses of four steps of training, and the weights after them."""
    model = layer(lib, kind, {"num_layers": 2})
    optimizer = lib.optim.Adam(model.parameters(), lr=0.05)

    def step(x, hx):
        optimizer.zero_grad()
        y, last = model(x, hx)
        loss = ((y - 0.1) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss, tuple(h.detach() for h in last) if kind == "LSTM" else last.detach()

    run, losses, hx = compiled(step), [], None
    for k in range(4):
        loss, hx = run(values(lib, k), hx)
        losses.append(loss.item())
    return losses, [p.detach().numpy() for p in model.parameters()]


@pytest.mark.parametrize("kind", GATES)
def test_a_step_that_carries_the_state_on_trains_as_torchs(kind):
    theirs = trained(torch, kind)
    for compiled in (lambda f: f, tg.compile):
        mine = trained(tg, kind, compiled)
        np.testing.assert_allclose(mine[0], theirs[0], rtol=1e-7)
        for a, b in zip(mine[1], theirs[1], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", GATES)
def test_a_compiled_loss_has_a_backward_outside(kind):
    model = layer(tg, kind, OPTIONS)
    other = copy.deepcopy(model)
    x = values(tg)
    tg.compile(lambda x: total(model, x))(x).backward()
    total(other, x).backward()
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert tg.allclose(p.grad, q.grad, rtol=1e-9)


@pytest.mark.parametrize("kind", GATES)
def test_a_program_is_as_large_for_a_long_sequence_as_for_a_short_one(kind):
    model = layer(tg, kind, OPTIONS)

    @tg.compile
    def step(x):
        model.zero_grad()
        total(model, x).backward()

    launches = []
    for length in (4, 40):
        step(values(tg, shape=(length, 2, 3)))
        launches.append(len(step.program().launches))
    assert launches[0] == launches[1] < 300


def test_dropout_compiled_is_eager():
    found = []
    for compiled in (lambda f: f, tg.compile):
        model = layer(tg, "LSTM", {"num_layers": 3, "dropout": 0.4})
        tg.manual_seed(3)
        run = compiled(lambda x, m=model: m(x)[0])
        found.append([run(values(tg, k)) for k in range(3)])
    same(*found)


@pytest.mark.slow
@pytest.mark.parametrize("kind, options", KINDS)
def test_derivatives_are_those_of_finite_differences(kind, options):
    model = layer(tg, kind, options)
    x = tg.randn(2, 2, 3, dtype=tg.float64, requires_grad=True)
    weights = [p.detach().clone().requires_grad_() for p in model.parameters()]
    names = [n for n, _ in model.named_parameters()]

    def function(x, *weights):
        state = dict(zip(names, weights, strict=True))
        return tg.func.functional_call(model, state, (x,))[0]

    assert tg.autograd.gradcheck(function, (x, *weights))
    if len(weights) <= 5:
        assert tg.autograd.gradgradcheck(lambda x: model(x)[0], (x,))


@pytest.mark.parametrize("kind", GATES)
def test_forward_mode_is_torchs(kind):
    found = []
    for lib, jvp in ((tg, tg.func.jvp), (torch, torch.autograd.functional.jvp)):
        model = layer(lib, kind, OPTIONS)
        found.append(jvp(lambda x, m=model: m(x)[0], (values(lib),), (values(lib, 1),)))
    model = layer(tg, kind, OPTIONS)
    compiled = tg.compile(lambda x, v: jvp_of(model, x, v))
    same(compiled(values(tg), values(tg, 1)), found[0])
    same(*found)


def jvp_of(model, x, v):
    return tg.func.jvp(lambda x: model(x)[0], (x,), (v,))


@pytest.mark.parametrize("kind", GATES)
def test_vmap_of_a_gradient_is_a_loop_of_gradients(kind):
    model = layer(tg, kind, OPTIONS)
    weights = {n: p.detach() for n, p in model.named_parameters()}
    every = values(tg, shape=(4, 5, 2, 3))

    def loss(weights, x):
        return (tg.func.functional_call(model, weights, (x,))[0] ** 2).sum()

    at_once = tg.func.vmap(tg.func.grad(loss), in_dims=(None, 0))(weights, every)
    for k in range(4):
        for name, g in tg.func.grad(loss)(weights, every[k]).items():
            assert tg.allclose(at_once[name][k], g, rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("kind", GATES)
def test_hessians_are_torchs(kind):
    model, theirs = (layer(lib, kind, {}) for lib in (tg, torch))
    found = tg.func.hessian(lambda x: total(model, x))(values(tg, shape=(3, 1, 3)))
    wanted = torch.autograd.functional.hessian(
        lambda x: total(theirs, x), values(torch, shape=(3, 1, 3))
    )
    same([found], [wanted])
    compiled = tg.compile(tg.func.hessian(lambda x: total(model, x)))
    same([compiled(values(tg, shape=(3, 1, 3)))], [wanted])


@pytest.mark.parametrize("kind, options", KINDS + CELLS)
def test_a_checkpoint_of_torch_loads(kind, options, tmp_path):
    theirs = getattr(torch.nn, kind)(3, 4, **options)
    torch.save(theirs.state_dict(), tmp_path / "layer.pt")
    mine = getattr(tg.nn, kind)(3, 4, **options)
    mine.load_state_dict(tg.load(tmp_path / "layer.pt"))
    x = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    a, b = (first(m(lib.tensor(x))) for m, lib in ((mine, tg), (theirs, torch)))
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), atol=1e-6)


def first(y):
    return y[0] if isinstance(y, tuple) else y


@pytest.mark.parametrize("kind, options", KINDS + CELLS)
def test_a_copy_computes_the_same(kind, options):
    model, x = getattr(tg.nn, kind)(3, 4, **options), tg.randn(3, 3)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert repr(other) == repr(model) and tg.equal(first(other(x)), first(model(x)))
    model.double()
    assert first(model(x.double())).dtype is tg.float64


@pytest.mark.parametrize("kind", GATES)
def test_a_replaced_weight_is_used(kind):
    model, x = layer(tg, kind, {}), values(tg)
    run = tg.compile(lambda x: model(x)[0])
    before = run(x)
    model.weight_hh_l0 = tg.nn.Parameter(model.weight_hh_l0.detach() * 2)
    assert not tg.allclose(run(x), before) and tg.allclose(run(x), model(x)[0])


def cell_over_time(cell, x):
    state, ys = None, []
    for t in range(x.shape[0]):
        state = cell(x[t], state)
        ys.append(first(state))
    return tg.stack(ys)


@pytest.mark.parametrize("kind", GATES)
def test_a_loop_of_cells_is_the_layer(kind):
    model, x = layer(tg, kind, {}), values(tg)
    cell = getattr(tg.nn, f"{kind}Cell")(3, 4, dtype=tg.float64)
    cell.load_state_dict({n.removesuffix("_l0"): p for n, p in model.state_dict().items()})
    for run in (lambda f: f, tg.compile):
        y = run(lambda x: cell_over_time(cell, x))(x)
        assert tg.allclose(y, model(x)[0], rtol=1e-9)
