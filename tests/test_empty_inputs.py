"""Losses, normalizations and reductions of tensors without elements, against torch: values,
gradients, refusals; cross entropy compiled as well.
"""

from __future__ import annotations

import numpy as np
import pytest

import tracegrad as tg

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

SHAPES = [(0, 0), (0, 3), (3, 0), (0,), (2, 0, 3), (0, 2, 3), (2, 3, 0)]
REDUCTIONS = ["none", "mean", "sum"]
LOSSES = (
    "mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy_with_logits kl_div "
    "poisson_nll_loss soft_margin_loss hinge_embedding_loss"
).split()
OF_ONE = {
    "layer_norm": lambda F, x: F.layer_norm(x, x.shape[-1:]),
    "group_norm": lambda F, x: F.group_norm(x, 1),
    "batch_norm": lambda F, x: F.batch_norm(x, None, None, training=True),
    "instance_norm": lambda F, x: F.instance_norm(x),
    "normalize": lambda F, x: F.normalize(x),
    "log_softmax": lambda F, x: F.log_softmax(x, -1),
    "median": lambda F, x: x.median(),
    "nanmedian": lambda F, x: x.nanmedian(),
    "logsumexp": lambda F, x: x.logsumexp(0),
    "amax": lambda F, x: x.amax(0),
    "var": lambda F, x: x.var(0),
    "prod": lambda F, x: x.prod(),
    "ctc_loss": lambda F, x: F.ctc_loss(
        x, type(x)(x.shape[-2] if x.ndim > 2 else 1, 1).long(), (0,) * 2, (1,) * 2),
    "multi_margin_loss": lambda F, x: F.multi_margin_loss(
        x, type(x)(x.shape[0]).long(), reduction="none"),
}


def outcome(lib, function, shape, compiled=False):
    """The answer and the gradient, or the class of the refusal."""

    def run(x):
        y = function(lib, x)
        return y, *lib.autograd.grad(y.sum(), x)

    x = lib.zeros(shape, requires_grad=True)
    try:
        ys = (tg.compile(run) if compiled else run)(x)
    except Exception as error:
        return next(c for c in type(error).__mro__ if c.__module__ == "builtins")
    return [(tuple(y.shape), y.dtype.is_floating_point, y.tolist()) for y in ys]


def agree(function, shape, compiled=False):
    mine, theirs = outcome(tg, function, shape, compiled), outcome(torch, function, shape)
    if isinstance(theirs, type):
        assert mine is theirs
    else:
        np.testing.assert_equal(mine, theirs)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_nothing(name, reduction):
    def loss(lib, x):
        return getattr(lib.nn.functional, name)(x, lib.ones(x.shape), reduction=reduction)

    for shape in SHAPES:
        agree(loss, shape)


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weight"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cross_entropy_of_nothing(reduction, smoothing, weighted):
    options = {"reduction": reduction, "label_smoothing": smoothing}

    def loss(lib, x, target):
        weight = lib.ones(x.shape[min(x.ndim - 1, 1)]) if weighted else None
        return lib.nn.functional.cross_entropy(x, target, weight=weight, **options)

    def labels(lib, x):
        return loss(lib, x, lib.zeros((x.shape[0], *x.shape[2:]), dtype=lib.int64))

    def probabilities(lib, x):
        return loss(lib, x, lib.ones(x.shape))

    for shape in SHAPES:
        agree(probabilities, shape)
        if len(shape) > 1 and shape != (2, 0, 3):  # torch's message there is of another shape
            agree(labels, shape)
    for shape in ((0, 0), (3, 0)):
        agree(probabilities, shape, compiled=True)
    agree(labels, (0, 0), compiled=True)


@pytest.mark.parametrize("name", OF_ONE)
def test_normalizations_and_reductions_of_nothing(name):
    for shape in SHAPES:
        if name != "multi_margin_loss" or shape != (0, 3):  # torch reads memory nobody wrote
            agree(lambda lib, x: OF_ONE[name](lib.nn.functional, x), shape)
