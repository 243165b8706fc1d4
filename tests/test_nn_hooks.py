"""Hooks on the gradients that pass a Module, against torch."""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as tg

X, W = np.random.default_rng(1).standard_normal((4, 3)), np.arange(6.0).reshape(2, 3)


def network(T):
    class Two(T.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = T.nn.Parameter(T.tensor(W))

        def forward(self, x, scale):
            return x @ self.weight.T, x * scale

    return Two()


def run(T, graded, replace):
    """What the hooks saw, and the gradients that came out."""
    model, seen = network(T), []

    def before(module, grads):
        seen.append([None if g is None else g.clone() for g in grads])
        return tuple(None if g is None else g * 2 for g in grads) if replace else None

    def after(module, into, out):
        seen.extend([[None if g is None else g.clone() for g in gs] for gs in (into, out)])
        return tuple(None if g is None else g + 1 for g in into) if replace and graded else None

    model.register_full_backward_pre_hook(before)
    handle = model.register_full_backward_hook(after)
    x = T.tensor(X, requires_grad=graded)
    out = model(x * 1 if graded else x, 3.0)
    (out[0].sum() * 2 + (out[1].sum() if graded else 0)).backward()
    handle.remove()
    model(x, 3.0)[0].sum().backward()
    return [*[g for gs in seen for g in gs], model.weight.grad, x.grad]


@pytest.mark.parametrize("graded", [True, False])
@pytest.mark.parametrize("replace", [True, False])
def test_hooks_agree_with_torch(graded, replace):
    torch = pytest.importorskip("torch")
    found = [g for g in run(tg, graded, replace) if g is not None]
    expected = [g for g in run(torch, graded, replace) if g is not None]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy())


def test_hooks_are_part_of_a_compiled_step():
    model = network(tg)
    model.register_full_backward_hook(lambda m, into, out: (into[0] * 10, None))

    @tg.compile
    def step(x):
        x = x.detach().requires_grad_()
        return tg.autograd.grad(model(x, 1.0)[0].sum(), x)[0]

    tg.testing.assert_close(step(tg.tensor(X)), tg.tensor(W.sum(0) * 10).expand(4, 3))


def test_a_wrong_count_is_refused():
    model = network(tg)
    model.register_full_backward_hook(lambda m, into, out: (None, None, None))
    with pytest.raises(RuntimeError, match="invalid number"):
        model(tg.tensor(X, requires_grad=True), 1.0)[0].sum().backward()
