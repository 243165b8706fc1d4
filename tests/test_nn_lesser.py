"""Layers that are rarely used, gradients of convolutions, and hooks of all modules and optimizers.
"""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as tg
from tracegrad import nn
from tracegrad.nn import hooks as modules
from tracegrad.optim.hooks import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

X = np.random.default_rng(0).normal(size=(6, 8))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("cutoffs", "bias"), [([3, 6], True), ([1], False), ([2, 5, 9], False)])
def test_adaptive_softmax_is_torchs(cutoffs, bias, compiled):
    torch = pytest.importorskip("torch")
    options = {"div_value": 2.0, "head_bias": bias}
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(8, 10, cutoffs, **options).double()
    ours = nn.AdaptiveLogSoftmaxWithLoss(8, 10, cutoffs, **options).double()
    ours.load_state_dict({k: tg.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    assert repr(ours) == repr(theirs)
    target = [0, 9, 3, 5, 2, 6]
    expected = theirs(torch.tensor(X), torch.tensor(target))
    expected.loss.backward()
    run = tg.compile(lambda x, t: tuple(ours(x, t))) if compiled else ours
    output, loss = run(tg.tensor(X), tg.tensor(target))
    loss.backward()
    np.testing.assert_allclose(output.detach().numpy(), expected.output.detach().numpy(), 1e-12)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), 1e-9, 1e-12)
    for name in ("log_prob", "predict"):
        np.testing.assert_allclose(getattr(ours, name)(tg.tensor(X)).detach().numpy(),
                                   getattr(theirs, name)(torch.tensor(X)).detach().numpy(), 1e-12)


def test_adaptive_softmax_refuses_what_torch_refuses():
    for cutoffs in ([], [3, 3], [0, 2], [10], [2.5]):
        with pytest.raises(ValueError, match="cutoffs should be"):
            nn.AdaptiveLogSoftmaxWithLoss(8, 10, cutoffs)
    layer = nn.AdaptiveLogSoftmaxWithLoss(8, 10, [3]).double()
    x = tg.tensor(X)
    for target, words in (([0] * 5 + [10], "in \\[0, 9\\]"), ([0] * 5 + [-1], "in \\[0, 9\\]"),
                          ([0], "same size"), ([[0]], "multi-target")):
        with pytest.raises(RuntimeError, match=words):
            layer(x, tg.tensor(target))
    with pytest.raises(Exception, match="range|bounds"):
        tg.compile(lambda x, t: layer(x, t).loss)(x, tg.tensor([0] * 5 + [10])).item()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
def test_cross_map_normalization_is_torchs(size):
    torch = pytest.importorskip("torch")
    x = X.reshape(1, 12, 2, 2)
    ours, theirs = (m.CrossMapLRN2d(size, alpha=0.7) for m in (nn, torch.nn))
    assert repr(ours) == repr(theirs)
    np.testing.assert_allclose(ours(tg.tensor(x)).numpy(), theirs(torch.tensor(x)).numpy(), 1e-12)
    with pytest.raises(ValueError, match="4D"):
        ours(tg.ones(2, 3))


def test_linear_cross_entropy_is_both():
    layer = nn.LinearCrossEntropyLoss(8, 5, bias=True, label_smoothing=0.1, ignore_index=2)
    x, target = tg.tensor(X).float(), tg.tensor([0, 1, 2, 3, 4, 0])
    expected = nn.functional.cross_entropy(layer.linear(x), target, ignore_index=2,
                                           label_smoothing=0.1)
    assert tg.equal(layer(x, target), expected)
    with pytest.raises(NotImplementedError, match="out_features"):
        nn.LinearCrossEntropyLoss(8, 5, out_features=(2,))


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1, "dilation": 2}])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_gradients_of_convolutions_are_those_of_autograd(n, options):
    x = tg.randn(2, 3, *[7] * n, dtype=tg.float64, requires_grad=True)
    w = tg.randn(4, 3, *[2] * n, dtype=tg.float64, requires_grad=True)
    y = getattr(nn.functional, f"conv{n}d")(x, w, **options)
    g = tg.randn(y.shape, dtype=tg.float64)
    dx, dw = tg.autograd.grad(y, (x, w), g)
    assert tg.allclose(getattr(nn.grad, f"conv{n}d_input")(x.shape, w, g, **options), dx)
    assert tg.allclose(getattr(nn.grad, f"conv{n}d_weight")(x, w.shape, g, **options), dw)


def test_hooks_of_all_modules_are_called_and_removed():
    seen = []
    layer = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    layer[0].register_forward_hook(lambda m, a, y: seen.append("own"))
    handles = [
        modules.register_module_forward_pre_hook(lambda m, a: seen.append("before")),
        modules.register_module_forward_hook(lambda m, a, y: seen.append(type(m).__name__)),
        modules.register_module_full_backward_pre_hook(lambda m, g: seen.append("in")),
        modules.register_module_full_backward_hook(lambda m, i, o: seen.append("out")),
    ]
    try:
        layer(tg.ones(1, 2, requires_grad=True)).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    assert seen[:6] == ["before", "before", "Linear", "own", "before", "Tanh"]
    assert seen.count("in") == seen.count("out") == 3
    seen.clear()
    layer(tg.ones(1, 2)).sum().backward()
    assert seen == ["own"]


def test_a_hook_of_all_modules_reaches_a_compiled_function():
    layer = nn.Linear(2, 2)
    compiled, x = tg.compile(lambda x: layer(x)), tg.ones(1, 2)
    before = compiled(x)
    handle = modules.register_module_forward_hook(lambda m, a, y: y * 2)
    try:
        assert tg.allclose(compiled(x), before * 2)
    finally:
        handle.remove()
    assert tg.allclose(compiled(x), before)


def test_hooks_of_all_optimizers():
    w, seen = tg.ones(1, requires_grad=True), []
    optimizer = tg.optim.SGD([w], 0.1)
    optimizer.register_step_pre_hook(lambda *_: seen.append("own before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("own after"))
    handles = [register_optimizer_step_pre_hook(lambda *_: seen.append("before")),
               register_optimizer_step_post_hook(lambda *_: seen.append("after"))]
    try:
        w.sum().backward()
        optimizer.step()
    finally:
        for handle in handles:
            handle.remove()
    assert seen == ["before", "own before", "own after", "after"]


def test_a_hook_of_all_optimizers_reaches_a_compiled_step():
    w = tg.ones(1, requires_grad=True)
    optimizer = tg.optim.SGD([w], 0.1)

    @tg.compile
    def step():
        optimizer.zero_grad()
        (w * 1.0).sum().backward()
        optimizer.step()

    def tenfold(*_):
        w.grad.mul_(10)

    step()
    handle = register_optimizer_step_pre_hook(tenfold)
    try:
        step()
    finally:
        handle.remove()
    step()
    assert abs(w.item() - (1 - 0.1 - 1.0 - 0.1)) < 1e-6
