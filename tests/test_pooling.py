"""Poolings: torch's numbers to second order, eager and compiled; ties, NaN, torch's errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bodies import body
from images import assert_compiled, assert_same_error, assert_torchs, derivatives, draw

import tracegrad as tg
import tracegrad.nn.functional as F


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def tied(*shape):
    """Few different numbers, so that many windows have several maxima."""
    return np.rint(2 * draw(*shape))


LINE, PLANE, SPACE = (2, 3, 9), (2, 3, 7, 6), (2, 2, 5, 6, 4)
CASES = [
    ("max_pool1d", LINE, {"kernel_size": 3, "padding": 1}),
    ("max_pool1d", LINE, {"kernel_size": 2, "return_indices": True}),
    ("max_pool2d", PLANE, {"kernel_size": 2}),
    ("max_pool2d", PLANE[1:], {"kernel_size": 3, "stride": 1}),
    ("max_pool2d", PLANE, {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("max_pool2d", PLANE, {"kernel_size": (3, 2), "stride": (2, 1), "dilation": 2, "padding": 1}),
    ("max_pool2d", PLANE, {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    (
        "max_pool2d", PLANE,
        {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2, "ceil_mode": True,
         "return_indices": True},
    ),
    ("max_pool3d", SPACE, {"kernel_size": (2, 3, 2), "padding": 1, "return_indices": True}),
    ("avg_pool1d", LINE, {"kernel_size": 3, "padding": 1}),
    ("avg_pool2d", PLANE, {"kernel_size": 2}),
    ("avg_pool2d", PLANE[1:], {"kernel_size": 2, "stride": (2, 1)}),
    ("avg_pool2d", PLANE, {"kernel_size": (3, 2), "padding": (1, 0), "count_include_pad": False}),
    ("avg_pool2d", PLANE, {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    (
        "avg_pool2d", PLANE,
        {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True,
         "count_include_pad": False},
    ),
    ("avg_pool2d", PLANE, {"kernel_size": 3, "divisor_override": 5}),
    ("avg_pool3d", SPACE, {"kernel_size": (2, 3, 2), "padding": 1}),
    *(
        (f"adaptive_{kind}_pool2d", PLANE, {"output_size": size})
        for kind in ("avg", "max")
        for size in (2, (3, 4), (7, None), 1, (5, 9))
    ),
    ("adaptive_max_pool2d", PLANE, {"output_size": (3, 4), "return_indices": True}),
    *((f"adaptive_{kind}_pool1d", LINE, {"output_size": 4}) for kind in ("avg", "max")),
    *((f"adaptive_{kind}_pool3d", SPACE, {"output_size": (2, 3, 2)}) for kind in ("avg", "max")),
    ("lp_pool1d", LINE, {"norm_type": 2, "kernel_size": 2}),
    ("lp_pool2d", PLANE, {"norm_type": 3, "kernel_size": 2, "ceil_mode": True}),
    ("lp_pool2d", PLANE, {"norm_type": math.inf, "kernel_size": 2}),
    ("lp_pool3d", SPACE, {"norm_type": 2, "kernel_size": 2}),
]
SAMPLE = [c for c in CASES if c[0] in ("max_pool1d", "avg_pool3d", "lp_pool1d")] + [
    CASES[7], CASES[14], CASES[18], CASES[27],
]


def numbers(name, shape):
    if "lp" in name:
        return abs(draw(*shape)) + 0.1
    return tied(*shape) if "max" in name else draw(*shape)


@pytest.mark.parametrize("name, shape, options", CASES)
def test_a_pooling_is_torchs_to_second_order(torch, name, shape, options):
    assert_torchs(torch, name, [numbers(name, shape)], **options)


@pytest.mark.parametrize("name, shape, options", SAMPLE)
def test_compiled_it_is_the_same(name, shape, options):
    assert_compiled(lambda x: getattr(F, name)(x, **options), [numbers(name, shape)])


@pytest.mark.parametrize("rank, shape", [(1, LINE), (2, PLANE), (3, SPACE)])
def test_unpooling_puts_numbers_back(torch, rank, shape):
    x = tg.tensor(draw(*shape))
    y, at = getattr(F, f"max_pool{rank}d")(x, 2, return_indices=True)
    results = []
    for T, space in ((tg, F), (torch, torch.nn.functional)):
        v = T.tensor(y.numpy(), requires_grad=True)
        unpool = getattr(space, f"max_unpool{rank}d")
        u = unpool(v, T.tensor(at.numpy()), 2, output_size=shape[2:])
        (u * u).sum().backward()
        results.append((u.grad_fn.name(), u.detach().numpy(), v.grad.numpy()))
    (ours, *got), (theirs, *want) = results
    assert ours == theirs
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("rank, shape", [(2, PLANE), (3, SPACE)])
def test_fractional_pooling_is_torchs_for_the_same_shifts(torch, rank, shape):
    shifts = np.random.default_rng(5).uniform(size=(*shape[:2], rank))
    results = []
    for T, space in ((tg, F), (torch, torch.nn.functional)):
        pool = getattr(space, f"fractional_max_pool{rank}d")
        options = {"output_ratio": (0.6,) * rank, "return_indices": True}
        results.append(
            derivatives(
                T,
                lambda x, T=T, pool=pool, o=options: pool(
                    x, 2, _random_samples=T.tensor(shifts), **o
                ),
                [draw(*shape)],
            )
        )
    assert results[0][0] == results[1][0]
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    y = tg.compile(getattr(F, f"fractional_max_pool{rank}d"))(tg.tensor(draw(*shape)), 2, 3)
    assert np.isin(y.numpy(), draw(*shape)).all()


def test_nan_wins_and_infinities_are_numbers(torch):
    x = [[[1.0, math.nan, 2.0, 3.0], [5.0, math.inf, -math.inf, -math.inf]]]
    want = torch.nn.functional.max_pool1d(torch.tensor(x), 2)
    for pool in (F.max_pool1d, tg.compile(F.max_pool1d)):
        t = tg.tensor(x, requires_grad=True)
        y = pool(t, 2)
        np.testing.assert_array_equal(y.detach().numpy(), want.numpy())
        y.sum().backward()
        np.testing.assert_array_equal(t.grad.numpy(), [[[0, 1, 0, 1], [0, 1, 1, 0]]])


def test_without_gradients_a_maximum_is_one_reduction():
    pool = tg.compile(lambda x: F.max_pool2d(x, 2))
    pool(tg.tensor(draw(*PLANE)))
    tg.testing.assert_kernels(pool, 1)


@pytest.mark.parametrize("size, kernels", [(2, 4), (3, 5)])
def test_windows_that_share_nothing_need_no_sums(size, kernels):
    """The gradient is one loop; of windows that overlap, a sum along each axis."""

    @tg.compile
    def slope(x):
        return tg.autograd.grad((F.max_pool2d(x, size, 2) ** 2).sum(), x)

    x = tg.tensor(draw(2, 3, 8, 8), requires_grad=True)
    y = F.max_pool2d(x, size, 2)
    (want,) = tg.autograd.grad((y**2).sum(), x)
    np.testing.assert_allclose(slope(x)[0].numpy(), want.numpy(), rtol=1e-12)
    tg.testing.assert_kernels(slope, kernels)


def test_an_empty_batch_and_integers():
    assert F.max_pool2d(tg.zeros(0, 3, 8, 8), 2).shape == (0, 3, 4, 4)
    assert F.adaptive_avg_pool2d(tg.zeros(2, 3, 8, 8), (0, 3)).shape == (2, 3, 0, 3)
    x = tg.tensor([[[[-5, -3], [-7, -9]]]])
    y, at = F.max_pool2d(x, 3, 2, padding=1, return_indices=True)
    assert (y.tolist(), at.tolist()) == ([[[[-3]]]], [[[[1]]]])


ERRORS = [
    lambda T, F, x: F.max_pool2d(x, 0), lambda T, F, x: F.max_pool2d(x, 2, padding=2),
    lambda T, F, x: F.max_pool2d(x, 9), lambda T, F, x: F.max_pool2d(x, (2, 2, 2)),
    lambda T, F, x: F.avg_pool2d(x, 2, 0), lambda T, F, x: F.avg_pool2d(x, 2, padding=2),
    lambda T, F, x: F.avg_pool2d(x, 2, divisor_override=0), lambda T, F, x: F.lp_pool2d(x, 2, 9),
    lambda T, F, x: F.adaptive_avg_pool2d(x, -1),
    lambda T, F, x: F.adaptive_avg_pool2d(x, (2, 2, 2)),
    lambda T, F, x: F.adaptive_max_pool2d(T.zeros(3, 3), 2),
    lambda T, F, x: F.max_unpool2d(x, T.zeros(2, 3, 8, 7).long(), 2),
    lambda T, F, x: F.max_unpool2d(x, x, 2),
    lambda T, F, x: F.max_unpool2d(x, x.long(), 2, output_size=(9, 9)),
]


@pytest.mark.parametrize("program", ERRORS, ids=body)
def test_bad_input_raises_torchs_error(torch, program):
    assert_same_error(torch, program, (2, 3, 8, 8))
