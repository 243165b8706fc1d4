"""Convolutions: torch's numbers to second order, eager and compiled; torch's errors."""

from __future__ import annotations

import numpy as np
import pytest
from bodies import body
from images import assert_compiled, assert_same_error, assert_torchs, draw

import tracegrad as tg
import tracegrad.nn.functional as F


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


# (function, input, weight, options)
CASES = [
    ("conv1d", (2, 3, 9), (4, 3, 4), {"padding": "same", "dilation": 2}),
    ("conv1d", (2, 3, 9), (4, 3, 4), {"padding": "valid", "stride": (3,)}),
    ("conv2d", (2, 4, 7, 6), (6, 4, 3, 3), {}),
    ("conv2d", (2, 4, 7, 6), (6, 2, 3, 3), {"groups": 2, "stride": 2, "padding": 1}),
    (
        "conv2d", (2, 4, 7, 6), (8, 1, 3, 2),
        {"groups": 4, "stride": (1, 2), "padding": (0, 1), "dilation": (2, 1)},
    ),
    ("conv2d", (2, 4, 7, 6), (4, 1, 3, 2), {"groups": 4, "padding": 1, "stride": 2}),
    ("conv2d", (2, 4, 7, 6), (5, 4, 1, 1), {}),
    ("conv2d", (2, 4, 7, 6), (5, 4, 2, 2), {"stride": 3}),
    ("conv2d", (4, 7, 6), (5, 4, 3, 3), {"padding": 2}),
    ("conv3d", (1, 2, 4, 5, 6), (3, 2, 2, 3, 2), {"stride": (1, 2, 1), "padding": 1}),
    ("conv_transpose1d", (4, 5), (4, 3, 3), {"padding": 1}),
    ("conv_transpose2d", (2, 4, 5, 4), (4, 3, 3, 3), {}),
    (
        "conv_transpose2d", (2, 4, 5, 4), (4, 3, 3, 3),
        {"stride": 2, "padding": 1, "output_padding": 1},
    ),
    (
        "conv_transpose2d", (2, 4, 5, 4), (4, 2, 2, 3),
        {"stride": 2, "groups": 2, "dilation": (2, 1), "output_padding": (1, 0)},
    ),
    ("conv_transpose3d", (1, 2, 3, 2, 3), (2, 2, 2, 2, 2), {"stride": 2, "padding": 1}),
]
IDS = [f"{name}-{i}" for i, (name, *_) in enumerate(CASES)]


def operands(name, shape, weight, options):
    outputs = weight[1] * options.get("groups", 1) if "transpose" in name else weight[0]
    return [draw(*shape), draw(*weight, seed=2), draw(outputs, seed=3)]


@pytest.mark.parametrize("name, shape, weight, options", CASES, ids=IDS)
def test_a_convolution_is_torchs_to_second_order(torch, name, shape, weight, options):
    assert_torchs(torch, name, operands(name, shape, weight, options), **options)


@pytest.mark.parametrize("name, shape, weight, options", [CASES[i] for i in (0, 3, 4, 8, 11)])
def test_compiled_it_is_the_same(name, shape, weight, options):
    arrays = operands(name, shape, weight, options)
    assert_compiled(lambda *xs: getattr(F, name)(*xs, **options), arrays)


def test_a_convolution_reads_what_does_not_lie_in_order():
    x, w = tg.tensor(draw(5, 6, 3, 2)), tg.tensor(draw(3, 2, 3, 4))
    turned, kernel = x.permute(3, 2, 0, 1), w.permute(3, 0, 1, 2)
    plain = F.conv2d(turned.contiguous(), kernel.contiguous())
    np.testing.assert_allclose(F.conv2d(turned, kernel).numpy(), plain.numpy(), rtol=1e-12)
    compiled = tg.compile(F.conv2d)
    np.testing.assert_allclose(compiled(turned, kernel).numpy(), plain.numpy(), rtol=1e-12)


def test_an_empty_batch_gives_an_empty_answer_and_a_zero_gradient():
    w = tg.tensor(draw(4, 3, 3, 3), requires_grad=True)
    for conv in (F.conv2d, tg.compile(F.conv2d)):
        y = conv(tg.zeros(0, 3, 8, 8, dtype=tg.float64), w)
        assert y.shape == (0, 4, 6, 6)
    F.conv2d(tg.zeros(0, 3, 8, 8, dtype=tg.float64), w).sum().backward()
    assert not w.grad.any()


@pytest.mark.parametrize("dtype", ["int64", "float16", "bfloat16", "float32"])
@pytest.mark.parametrize(("name", "channels"), [("conv2d", (4, 3)), ("conv_transpose2d", (3, 4))])
def test_other_types(torch, name, channels, dtype):
    x, w = (np.rint(3 * draw(*s)) for s in ((2, 3, 5, 5), (*channels, 2, 2)))
    want = getattr(torch.nn.functional, name)(torch.tensor(x), torch.tensor(w)).numpy()
    function = getattr(F, name)
    for conv in (function, tg.compile(function)):
        y = conv(*(tg.tensor(a).to(getattr(tg, dtype)) for a in (x, w)))
        assert str(y.dtype).endswith(dtype)
        np.testing.assert_allclose(y.double().numpy(), want, rtol=8e-3)


ERRORS = [
    lambda T, F, x: F.conv2d(x, T.zeros(4, 5, 3, 3)),
    lambda T, F, x: F.conv2d(T.zeros(8, 8), T.zeros(4, 3, 3, 3)),
    lambda T, F, x: F.conv2d(x, T.zeros(4, 3, 3, 3), T.zeros(3)),
    lambda T, F, x: F.conv2d(x, T.zeros(4, 3, 9, 3)),
    lambda T, F, x: F.conv2d(x, T.zeros(4, 3, 3, 3), stride=0),
    lambda T, F, x: F.conv2d(x, T.zeros(4, 3, 3, 3), padding=-1),
    lambda T, F, x: F.conv2d(x, T.zeros(4, 3, 3, 3), dilation=0),
    lambda T, F, x: F.conv2d(x, T.zeros(4, 3, 3, 3), groups=0),
    lambda T, F, x: F.conv2d(x, T.zeros(4, 1, 3, 3), groups=3),
    lambda T, F, x: F.conv2d(x, T.zeros(2, 1, 3, 3), groups=3),
    lambda T, F, x: F.conv2d(x, T.zeros(4, 3, 3, 3), stride=(1, 1, 1)),
    lambda T, F, x: F.conv2d(x, T.zeros(4, 3, 3, 3), padding="same", stride=2),
    lambda T, F, x: F.conv2d(x, T.zeros(4, 3, 3, 3), padding="foo"),
    lambda T, F, x: F.conv2d(x, T.zeros(4, 3, 3, 3), T.zeros(4, dtype=T.float64)),
    lambda T, F, x: F.conv_transpose2d(x, T.zeros(4, 3, 3, 3)),
    lambda T, F, x: F.conv_transpose2d(x, T.zeros(3, 3, 3, 3), T.zeros(4)),
    lambda T, F, x: F.conv_transpose2d(x, T.zeros(3, 3, 3, 3), output_padding=1),
    lambda T, F, x: F.conv_transpose2d(x, T.zeros(3, 3, 3, 3), output_padding=-1),
]


@pytest.mark.parametrize("program", ERRORS, ids=body)
def test_bad_input_raises_torchs_error(torch, program):
    assert_same_error(torch, program, (2, 3, 8, 8))


def test_a_window_of_one_number_is_a_product_and_a_depthwise_one_a_sum():
    """Neither makes a matrix of patches; bias and activation go with them."""
    x, b = tg.tensor(draw(2, 4, 6, 6)), tg.tensor(draw(4, seed=4))
    dense = tg.compile(lambda x, w: F.relu(F.conv2d(x, w, b)))
    dense(x, tg.tensor(draw(4, 4, 1, 1)))
    tg.testing.assert_kernels(dense, 1)
    depthwise = tg.compile(lambda x, w: F.relu(F.conv2d(x, w, b, groups=4)))
    depthwise(x, tg.tensor(draw(4, 1, 3, 3)))
    tg.testing.assert_kernels(depthwise, 1)
