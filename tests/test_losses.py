"""Losses as functions and as Modules against torch: values and derivatives to second order for
every reduction, compiled as eager, and what is refused.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tracegrad
from tracegrad import nn
from tracegrad.nn import functional as F
from tracegrad.runtime.cpu.compiler import statistics
from tracegrad.testing import assert_kernels

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")

rng = np.random.default_rng(0)
X, Y, Z = (rng.normal(size=(4, 5)) for _ in range(3))
P = rng.uniform(0.05, 0.95, (4, 5))
SIGNS = np.where(Y > 0, 1.0, -1.0)
ROWS = SIGNS[:, 0]
LABELS = np.array([0, 4, 2, 2])
SETS = np.array([[0, 3, -1, 2, 2], [4, 2, 1, 0, -1], [-1, 0, 1, 2, 3], [2, -1, -1, -1, -1]])
W = np.array([0.5, 1.0, 2.0, 0.1, 3.0])

# function -> calls: (the tensors, of which the floating ones are differentiated; the options)
CASES = {
    "l1_loss": [((X, Y), {}), ((X, Y), {"weight": P})],
    "mse_loss": [((X, Y), {}), ((X, Y), {"weight": P})],
    "smooth_l1_loss": [((X, Y), {"beta": 0.5}), ((X, Y), {"beta": 0.0})],
    "huber_loss": [((X, Y), {"delta": 0.7}), ((X, Y), {"weight": P})],
    "kl_div": [((np.log(P), P[::-1]), {}), ((np.log(P), np.log(P[::-1])), {"log_target": True})],
    "poisson_nll_loss": [((X, P * 5), {"full": True}), ((P, P * 5), {"log_input": False})],
    "gaussian_nll_loss": [((X, Y, P), {"full": True}), ((X, Y, P[:, :1]), {}),
                          ((X, Y, P[:, 0]), {})],
    "binary_cross_entropy": [((P, P[::-1].copy()), {}), ((P, P[::-1].copy()), {"weight": P})],
    "binary_cross_entropy_with_logits": [((X, P), {}), ((X, P), {"weight": P, "pos_weight": W})],
    "nll_loss": [((X, LABELS), {}), ((X, LABELS), {"weight": W, "ignore_index": 4}),
                 ((X[0], LABELS[1]), {}), ((X.reshape(2, 5, 2), LABELS.reshape(2, 2)), {})],
    "cross_entropy": [((X, LABELS), {"label_smoothing": 0.1, "weight": W}), ((X, P), {"weight": W}),
                      ((X, LABELS), {"ignore_index": 2}), ((X[0], LABELS[1]), {})],
    "cosine_embedding_loss": [((X, Y, ROWS), {"margin": 0.2}), ((X[0], Y[0], ROWS[0]), {})],
    "hinge_embedding_loss": [((X, SIGNS), {"margin": 0.5})],
    "margin_ranking_loss": [((X, Y, SIGNS), {"margin": 0.3})],
    "multi_margin_loss": [((X, LABELS), {}), ((X, LABELS), {"p": 2, "margin": 0.5, "weight": W}),
                          ((X[0], LABELS[1]), {})],
    "multilabel_margin_loss": [((X, SETS), {}), ((X[0], SETS[0]), {})],
    "multilabel_soft_margin_loss": [((X, P), {"weight": W})],
    "soft_margin_loss": [((X, SIGNS), {})],
    "triplet_margin_loss": [((X, Y, Z), {"swap": True}), ((X, Y, Z), {"p": 1, "margin": 0.5})],
    "triplet_margin_with_distance_loss": [((X, Y, Z), {"swap": True})],
}
CALLS = [(name, k) for name, calls in CASES.items() for k in range(len(calls))]
FIRST_ORDER = ("multi_margin_loss", "multilabel_margin_loss")  # torch's stop there


def made(lib, value):
    return lib.tensor(value.copy()) if isinstance(value, np.ndarray) else value


def call(lib, F, name, k, reduction, order=2):
    arrays, options = CASES[name][k]
    tensors = [made(lib, np.asarray(a)) for a in arrays]
    options = {key: made(lib, v) for key, v in options.items()}
    x = tensors[0].requires_grad_()
    y = getattr(F, name)(*tensors, **options, reduction=reduction)
    w = lib.cos(lib.arange(y.numel(), dtype=y.dtype)).reshape(y.shape)
    (g,) = lib.autograd.grad((y * w).sum(), x, create_graph=True)
    found = [y, g]
    if order > 1:
        found += lib.autograd.grad((g * lib.sin(x)).sum(), x)
    return [v.detach().numpy() for v in found]


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name, k", CALLS)
def test_value_gradient_and_second_gradient_are_torchs(name, k, reduction):
    order = 1 if name in FIRST_ORDER else 2
    ours = call(tracegrad, F, name, k, reduction, order)
    theirs = call(torch, torch.nn.functional, name, k, reduction, order)
    for got, want in zip(ours, theirs, strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-12)


@tracegrad.compile
def everything(x, p):
    total = 0.0
    for name, calls in CASES.items():
        arrays, options = calls[0]
        first = p if arrays[0] is P else p.log() if name == "kl_div" else x
        rest = [made(tracegrad, np.asarray(a)) for a in arrays[1:]]
        options = {key: made(tracegrad, v) for key, v in options.items()}
        total = total + getattr(F, name)(first, *rest, **options)
    return total


def test_all_of_them_in_one_compiled_function_have_the_eager_value_and_gradient():
    x, p = (tracegrad.tensor(v, requires_grad=True) for v in (X, P))
    loss = everything(x, p)
    loss.backward()
    compiled = [loss.item(), x.grad.numpy().copy(), p.grad.numpy().copy()]
    x.grad = p.grad = None
    loss = everything.__wrapped__(x, p)
    loss.backward()
    for got, want in zip(compiled, (loss.item(), x.grad.numpy(), p.grad.numpy()), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["huber_loss", "soft_margin_loss", "poisson_nll_loss"])
def test_an_elementwise_loss_is_one_kernel(name):
    step = tracegrad.compile(lambda x, t: getattr(F, name)(x, t))
    x, t = tracegrad.tensor(X), tracegrad.tensor(SIGNS)
    np.testing.assert_allclose(step(x, t).item(), getattr(F, name)(x, t).item(), rtol=1e-9)
    assert_kernels(step, 1)


MODULES = {
    "L1Loss": (X, Y), "MSELoss": (X, Y), "SmoothL1Loss": (X, Y), "HuberLoss": (X, Y),
    "KLDivLoss": (np.log(P), P), "PoissonNLLLoss": (X, P), "GaussianNLLLoss": (X, Y, P),
    "BCELoss": (P, P), "BCEWithLogitsLoss": (X, P), "NLLLoss": (X, LABELS),
    "CrossEntropyLoss": (X, LABELS), "CosineEmbeddingLoss": (X, Y, ROWS),
    "HingeEmbeddingLoss": (X, SIGNS), "MarginRankingLoss": (X, Y, SIGNS),
    "MultiMarginLoss": (X, LABELS), "MultiLabelMarginLoss": (X, SETS),
    "MultiLabelSoftMarginLoss": (X, P), "SoftMarginLoss": (X, SIGNS),
    "TripletMarginLoss": (X, Y, Z), "TripletMarginWithDistanceLoss": (X, Y, Z),
    "CosineSimilarity": (X, Y), "PairwiseDistance": (X, Y),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_print_and_compute_as_torchs(name):
    ours, theirs = getattr(nn, name)(), getattr(torch.nn, name)()
    assert repr(ours) == repr(theirs)
    got = ours(*(made(tracegrad, a) for a in MODULES[name]))
    want = theirs(*(made(torch, a) for a in MODULES[name]))
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-9)


def test_weights_of_a_module_are_buffers_and_size_average_is_still_understood():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss = nn.MultiMarginLoss(weight=tracegrad.tensor(W), size_average=False)
    assert list(loss.state_dict()) == ["weight"] and loss.reduction == "sum"


ones = lambda t, *shape: t.ones(shape)


@pytest.mark.parametrize(
    "bad",
    [
        lambda F, t: F.multi_margin_loss(ones(t, 3, 5), t.tensor([0, 1])),
        lambda F, t: F.multi_margin_loss(ones(t, 3, 5), t.tensor([0, 1, 2]), p=3),
        lambda F, t: F.multi_margin_loss(ones(t, 3, 5), t.tensor([0, 1, 2]), weight=ones(t, 3)),
        lambda F, t: F.multilabel_margin_loss(ones(t, 3, 5), t.tensor([[0, 1]])),
        lambda F, t: F.cosine_embedding_loss(ones(t, 3, 5), ones(t, 5), ones(t, 3)),
        lambda F, t: F.triplet_margin_loss(ones(t, 3), ones(t, 3), ones(t, 3), margin=-1),
        lambda F, t: F.triplet_margin_with_distance_loss(ones(t, 3), ones(t, 3, 1), ones(t, 3)),
        lambda F, t: F.gaussian_nll_loss(ones(t, 3), ones(t, 3), -ones(t, 3)),
        lambda F, t: F.gaussian_nll_loss(ones(t, 3), ones(t, 3), ones(t, 4)),
        lambda F, t: F.hinge_embedding_loss(ones(t, 3), ones(t, 3), reduction="bad"),
        lambda F, t: F.huber_loss(ones(t, 3), ones(t, 3), delta=0.0),
        lambda F, t: F.mse_loss(ones(t, 3), ones(t, 3), weight=ones(t, 4)),
    ],
)
def test_what_torch_refuses_is_refused_in_its_words(bad):
    with pytest.raises(Exception) as theirs:
        bad(torch.nn.functional, torch)
    with pytest.raises(type(theirs.value)) as ours:
        bad(F, tracegrad)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize(
    "name, label, error, words",
    [
        ("multi_margin_loss", [9], RuntimeError, "target out of range"),
        ("nll_loss", [-1], IndexError, "Target -1 is out of bounds"),
    ],
)
def test_a_label_out_of_range_is_torchs_error_eager_and_compiled(name, label, error, words):
    x, t = tracegrad.ones(1, 5), tracegrad.tensor(label)
    f = getattr(F, name)
    for call in (f, tracegrad.compile(lambda x, t: f(x, t))):
        with pytest.raises(error, match=words):
            call(x, t)


# ---- sequences
@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize(
    "targets, lengths, zero_infinity",
    [
        ([[1, 2], [3, 3]], (2, 2), False),
        ([[1, 2], [3, 9]], (2, 1), False),
        ([1, 2, 3], (2, 1), False),
        ([[1, 2], [3, 3]], (0, 0), False),
        ([[1, 1, 1, 1], [2, 2, 2, 2]], (4, 3), True),
        ([[1, 1, 1, 1], [2, 2, 2, 2]], (4, 3), False),
    ],
)
def test_ctc_loss_and_its_gradient_are_torchs(targets, lengths, zero_infinity, reduction):
    scores = np.random.default_rng(0).normal(size=(6, 2, 4))

    def both(lib, F, durations):
        x = lib.tensor(scores, requires_grad=True)
        y = F.ctc_loss(x.log_softmax(2), lib.tensor(targets), durations, lib.tensor(lengths),
                       reduction=reduction, zero_infinity=zero_infinity)
        return y.detach().numpy(), lib.autograd.grad((y * y).sum(), x)[0].numpy()

    ours = both(tracegrad, F, (6, 4))
    theirs = both(torch, torch.nn.functional, torch.tensor([6, 4]))
    for got, want in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def test_a_ctc_loss_of_longer_sequences_compiles_no_kernel_more():
    def loss(scores, targets, durations, lengths):
        return F.ctc_loss(scores.log_softmax(2), targets, durations, lengths)

    compiled = tracegrad.compile(loss)
    for steps in (5, 20):
        made = statistics.compiled + statistics.loaded
        x = tracegrad.randn(steps, 2, 4, dtype=tracegrad.float64, requires_grad=True)
        rest = [tracegrad.tensor(v) for v in ([1, 2, 3], [steps, steps - 1], [1, 2])]
        compiled(x, *rest).backward()
        found, x.grad = x.grad, None
        loss(x, *rest).backward()
        np.testing.assert_allclose(found.numpy(), x.grad.numpy(), rtol=1e-9, atol=1e-12)
    assert statistics.compiled + statistics.loaded == made


def test_ctc_loss_refuses_lengths_that_do_not_fit():
    lp, targets = tracegrad.zeros(6, 2, 4), tracegrad.tensor([[1, 2], [3, 3]])
    for lengths, blank, words in [
        (((7, 5), (2, 2)), 0, "at most 6, but got value 7"),
        (((6, 5), (2, 3)), 0, "size at least 3 at dimension 1, but got size 2"),
        (((6, 5), (2,)), 0, "target_lengths must be of size batch_size"),
        (((6, 5), (2, 2)), 9, "blank must be in label range"),
    ]:
        with pytest.raises(RuntimeError, match=words):
            F.ctc_loss(lp, targets, *lengths, blank=blank)


@pytest.mark.parametrize("shapes", [((), (1,)), ((4,), (2, 1)), ((1, 3), (2, 3)), ((2, 3), (3,))])
@pytest.mark.parametrize("loss", [
    lambda F, x, w: F.binary_cross_entropy(x, x, weight=w),
    lambda F, x, w: F.binary_cross_entropy_with_logits(x, x, weight=w),
    lambda F, x, w: F.binary_cross_entropy_with_logits(x, x, pos_weight=w),
], ids=["weight", "weight of logits", "pos_weight"])
def test_a_weight_does_not_widen_a_loss(loss, shapes):
    said = []
    for T in (tracegrad, torch):
        x, w = T.full(shapes[0], 0.25), T.full(shapes[1], 2.0)
        try:
            said.append(loss(T.nn.functional, x, w).item())
        except RuntimeError as error:
            said.append(str(error))
    assert said[0] == (said[1] if isinstance(said[1], str) else pytest.approx(said[1]))
