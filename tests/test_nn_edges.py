"""Functions of nn.functional where inputs are awkward: infinite, NaN, at a kink, of an odd shape.
The answer, its gradients and the class of an error are torch's.
"""

import numpy as np
import pytest

import tracegrad as tg
import tracegrad.nn.functional  # noqa: F401

INF, NAN = float("inf"), float("nan")


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def outcome(lib, run, arrays):
    """(value, gradients) or the class of what was raised."""
    tensors = [lib.tensor(a, requires_grad=np.asarray(a).dtype.kind == "f") for a in arrays]
    try:
        y = run(lib.nn.functional, *tensors)
        if y.requires_grad:
            y.sum().backward()
    except Exception as e:
        return type(e).__name__
    return [t if t is None else t.detach().numpy() for t in (y, *(t.grad for t in tensors))]


EDGES = {
    "bce at its ends": (
        lambda F, x, t: F.binary_cross_entropy(x, t.detach(), reduction="none"),
        ([1.0, 0.0, 1.0, 0.0, 0.3], [0.25, 0.75, 1.0, 0.0, 0.5]),
    ),
    "huber far away": (
        lambda F, x, t: F.huber_loss(x, t, reduction="none"),
        ([INF, -INF, NAN, 1.0, 0.5], [0.0, 0.0, 0.0, 0.0, 0.0]),
    ),
    "smooth l1 far away": (
        lambda F, x, t: F.smooth_l1_loss(x, t, reduction="none"),
        ([INF, -INF, NAN, 1.0, 0.5], [0.0, 0.0, 0.0, 0.0, 0.0]),
    ),
    "a margin of nothing": (
        lambda F, x, t: F.margin_ranking_loss(x, x * 0, t.detach(), 0.5, reduction="none"),
        ([NAN, INF, 0.5, -1.0], [1.0, 1.0, -1.0, 1.0]),
    ),
    "probabilities ignore no class": (
        lambda F, x, t: F.cross_entropy(x, t, ignore_index=1),
        ([[0.5, 1.0]], [[0.5, 0.5]]),
    ),
    "a label out of range": (lambda F, x, y: F.multi_margin_loss(x, y), ([[0.5, 1.0]], [2])),
    "a set with a label below -1": (
        lambda F, x, y: F.multilabel_margin_loss(x, y), ([[0.5, 1.0]], [[0, -2]]),
    ),
    "a slope of what is infinite": (lambda F, x, w: F.prelu(x, w), ([[INF, -2.0, 1.0]], [0.5])),
    "an infinite variance": (
        lambda F, x, v: F.gaussian_nll_loss(x, x.detach() * 0, v, reduction="none"),
        ([1.0, 2.0, 3.0], [INF, 0.0, 1.0]),
    ),
    "no features": (lambda F, x, w: F.linear(x, w, w[:, :0].sum(1)), ([[[], []]], [[], [], []])),
    "nearly doubled": (lambda F, x: F.interpolate(x, scale_factor=(2.3, 1)), ([[[[1.0], [2.0]]]],)),
    "more than is left to wrap": (
        lambda F, x: F.pad(x, [-1, 4], mode="circular"), ([[[1.0, 2.0, 3.0]]],),
    ),
    "a number of another type": (lambda F, x: F.pad(x, [1, 0], value=1.5), ([1, 2],)),
    **{
        f"{mode} of no images": (
            lambda F, x, m=mode: F.pad(x[:0], [1, 2], mode=m), ([[[1.0, 2.0, 3.0]]],),
        )
        for mode in ("reflect", "replicate", "circular")
    },
    "a window without a number": (
        lambda F, x: F.max_pool1d(x, 2, 3, 1, 2, ceil_mode=True), ([[[2.0]]],),
    ),
    "small halves": (lambda F, x: F.rms_norm(x.bfloat16(), (2,)).float(), ([1e-3, 2e-3],)),
    "the mean of no channels": (lambda F, x: F.adaptive_avg_pool2d(x[:, :0], 1), ([[[[1.0]]]],)),
}


@pytest.mark.parametrize("name", EDGES)
def test_an_edge_is_torchs(torch, name):
    run, arrays = EDGES[name]
    ours, theirs = outcome(tg, run, arrays), outcome(torch, run, arrays)
    if isinstance(theirs, str):
        assert ours == theirs
        return
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-5)
            assert a.dtype == b.dtype


def test_a_batch_of_nothing_leaves_running_statistics_alone():
    mean, var = tg.zeros(3), tg.ones(3)
    for f in (tg.nn.functional.batch_norm, tg.compile(tg.nn.functional.batch_norm)):
        assert f(tg.zeros(0, 3, 2), mean, var, training=True).shape == (0, 3, 2)
    assert mean.tolist() == [0, 0, 0] and var.tolist() == [1, 1, 1]
