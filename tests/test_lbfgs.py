"""L-BFGS against torch: steps, states, closures that are compiled or fail."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import tracegrad as tg

torch = pytest.importorskip("torch")

WAYS = {
    "one step length": {"lr": 0.1, "max_iter": 3},
    "Wolfe": {"line_search_fn": "strong_wolfe", "max_iter": 3},
    "Wolfe, few evaluations": {"line_search_fn": "strong_wolfe", "max_eval": 4},
    "a short history": {"line_search_fn": "strong_wolfe", "history_size": 2, "max_iter": 4},
    "a long step": {"line_search_fn": "strong_wolfe", "lr": 20.0, "max_iter": 2},
}


def training(T, how, jit=lambda f: f):
    """Rosenbrock's function, and a parameter without a gradient."""
    ps = [T.tensor(v, dtype=T.float64, requires_grad=True) for v in ([-1.2, 1.0], [[0.5]], [3.0])]
    optimizer = T.optim.LBFGS(ps, **how)

    @jit
    def closure():
        optimizer.zero_grad()
        (x, y), z = ps[0], ps[1]
        loss = (1 - x) ** 2 + 10 * (y - x * x) ** 2 + (z**4).sum()
        loss.backward()
        return loss

    return ps, optimizer, closure


def described(v):
    if isinstance(v, dict):
        return {k: described(x) for k, x in v.items()}
    if isinstance(v, list):
        return [described(x) for x in v]
    return v.tolist() if hasattr(v, "tolist") else v


def close(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(close, a, b))
    return a == (pytest.approx(b, rel=1e-6, abs=1e-9) if isinstance(b, float) else b)


@pytest.mark.parametrize("how", WAYS)
def test_steps_and_states_are_torchs(how):
    path, states = [], []
    for T in (tg, torch):
        ps, optimizer, closure = training(T, WAYS[how])
        rows = []
        for _ in range(20):
            loss = optimizer.step(closure).item()
            rows.append([loss, *(x for p in ps for x in p.detach().reshape(-1).tolist())])
            if len(rows) == 3:
                states.append(described(optimizer.state_dict()))
        path.append(rows)
    np.testing.assert_allclose(*path, rtol=1e-9, atol=1e-9)
    assert close(*states), f"{states[0]}\n{states[1]}"


def test_the_closure_may_be_compiled():
    paths = []
    for jit in (lambda f: f, tg.compile):
        ps, optimizer, closure = training(tg, WAYS["Wolfe"], jit)
        for _ in range(8):
            optimizer.step(closure)
        paths.append(ps[0].tolist())
    np.testing.assert_allclose(*paths, rtol=1e-9)


def test_a_state_goes_on():
    ps, optimizer, closure = training(tg, WAYS["Wolfe"])
    optimizer.step(closure)
    twins, other, again = training(tg, {})
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    with tg.no_grad():
        for p, q in zip(ps, twins, strict=True):
            q.copy_(p)
    optimizer.step(closure)
    other.step(again)
    assert ps[0].tolist() == twins[0].tolist()


def test_a_closure_that_fails_leaves_the_parameters():
    ps, optimizer, closure = training(tg, WAYS["Wolfe"])
    calls = []

    def failing():
        calls.append(1)
        if len(calls) == 2:
            raise KeyError("data")
        return closure()

    with pytest.raises(KeyError):
        optimizer.step(failing)
    assert ps[0].tolist() == [-1.2, 1.0]


def test_what_cannot_be_is_refused():
    w = tg.ones(2, requires_grad=True)
    optim = tg.optim
    with pytest.raises(ValueError, match="doesn't support per-parameter options"):
        optim.LBFGS([{"params": [w]}, {"params": [tg.ones(1, requires_grad=True)]}])
    with pytest.raises(ValueError, match="Invalid learning rate: nan"):
        optim.LBFGS([w], lr=float("nan"))
    with pytest.raises(RuntimeError, match="only 'strong_wolfe' is supported"):
        _, optimizer, closure = training(tg, {"line_search_fn": "armijo"})
        optimizer.step(closure)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'closure'"):
        optim.LBFGS([w]).step()
    _, optimizer, closure = training(tg, {})
    with pytest.raises(RuntimeError, match="compile the closure"):
        tg.compile(lambda: optimizer.step(closure))()
