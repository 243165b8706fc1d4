"""Layers for images: names, options, initial values, repr and state are torch's; a network."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from bodies import body
from images import draw

import tracegrad as tg
from tracegrad import nn

LAYERS = [
    (lambda nn: nn.Conv1d(3, 4, 3), (2, 3, 9)),
    (lambda nn: nn.Conv2d(3, 4, 3, padding=1), (2, 3, 6, 7)),
    (lambda nn: nn.Conv2d(
        4, 6, (3, 2), stride=2, padding=(1, 0), dilation=2, groups=2, bias=False), (4, 9, 8)),
    (lambda nn: nn.Conv2d(3, 4, 3, padding="same", dilation=2), (2, 3, 6, 7)),
    (lambda nn: nn.Conv2d(3, 4, 3, padding="same", padding_mode="reflect"), (2, 3, 6, 7)),
    (lambda nn: nn.Conv2d(3, 4, 3, padding=(2, 1), padding_mode="circular"), (2, 3, 6, 7)),
    (lambda nn: nn.Conv3d(2, 3, 2), (1, 2, 3, 4, 5)),
    (lambda nn: nn.ConvTranspose1d(3, 4, 3, stride=2), (2, 3, 5)),
    (lambda nn: nn.ConvTranspose2d(
        4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 4, 5, 4)),
    (lambda nn: nn.ConvTranspose3d(2, 3, 2), (1, 2, 3, 2, 2)),
    (lambda nn: nn.MaxPool1d(2), (2, 3, 9)),
    (lambda nn: nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), (2, 3, 6, 7)),
    (lambda nn: nn.MaxPool3d(2), (1, 2, 4, 4, 5)),
    (lambda nn: nn.AvgPool1d(3, 1, 1), (2, 3, 9)),
    (lambda nn: nn.AvgPool2d(2, count_include_pad=False, padding=1), (2, 3, 6, 7)),
    (lambda nn: nn.AvgPool3d((2, 1, 2)), (1, 2, 4, 4, 5)),
    (lambda nn: nn.LPPool1d(2, 3), (2, 3, 9)),
    (lambda nn: nn.LPPool2d(2, 3, stride=2), (2, 3, 6, 7)),
    (lambda nn: nn.AdaptiveAvgPool1d(4), (2, 3, 9)),
    (lambda nn: nn.AdaptiveAvgPool2d((None, 3)), (2, 3, 6, 7)),
    (lambda nn: nn.AdaptiveMaxPool2d(2), (2, 3, 6, 7)),
    (lambda nn: nn.AdaptiveAvgPool3d(2), (1, 2, 4, 4, 5)),
    (lambda nn: nn.ZeroPad2d(1), (2, 3, 6, 7)),
    (lambda nn: nn.ZeroPad1d((1, 2)), (2, 3, 6)),
    (lambda nn: nn.ConstantPad2d((1, 0, 2, 1), 2.5), (2, 3, 6, 7)),
    (lambda nn: nn.ReflectionPad2d(2), (2, 3, 6, 7)),
    (lambda nn: nn.ReplicationPad3d(1), (1, 2, 3, 3, 3)),
    (lambda nn: nn.CircularPad1d((1, 2)), (2, 3, 6)),
    (lambda nn: nn.Upsample(scale_factor=2), (2, 3, 4, 5)),
    (lambda nn: nn.Upsample(size=(7, 3), mode="bilinear"), (2, 3, 4, 5)),
    (lambda nn: nn.UpsamplingNearest2d(scale_factor=2), (2, 3, 4, 5)),
    (lambda nn: nn.UpsamplingBilinear2d(size=7), (2, 3, 4, 5)),
    (lambda nn: nn.PixelShuffle(2), (2, 8, 3, 4)),
    (lambda nn: nn.PixelUnshuffle(2), (2, 3, 4, 6)),
    (lambda nn: nn.ChannelShuffle(2), (2, 4, 3, 3)),
    (lambda nn: nn.Unfold(2, stride=2), (2, 3, 4, 6)),
    (lambda nn: nn.Fold((4, 6), 2, stride=2), (2, 12, 6)),
    (lambda nn: nn.Unflatten(1, (2, 3)), (2, 6, 4)),
]


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.mark.parametrize("make, shape", LAYERS, ids=[body(make) for make, _ in LAYERS])
def test_a_layer_is_torchs(torch, make, shape):
    ours, theirs = make(nn), make(torch.nn)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    name = type(ours).__name__
    wanted = list(inspect.signature(getattr(torch.nn, name)).parameters)
    assert list(inspect.signature(getattr(nn, name)).parameters) == wanted
    state = {k: tg.tensor(v.numpy()) for k, v in theirs.state_dict().items()}
    ours.load_state_dict(state)
    x = draw(*shape).astype("f4")
    want = theirs(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(ours(tg.tensor(x)).detach().numpy(), want, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("make", [
    lambda: nn.Conv2d(4, 6, 3, groups=2), lambda: nn.ConvTranspose2d(4, 6, 3),
], ids=body)
def test_initial_values_are_uniform_within_torchs_bound(make):
    tg.manual_seed(0)
    layer = make()
    bound = nn.init.fans(layer.weight)[0] ** -0.5
    values = layer.weight.detach().numpy()
    assert 0.9 * bound < abs(values).max() <= bound
    assert abs(layer.bias.detach().numpy()).max() <= bound


def test_an_adjoint_can_be_asked_for_a_size(torch):
    x = draw(2, 3, 5, 5).astype("f4")
    ours, theirs = nn.ConvTranspose2d(3, 2, 3, 2), torch.nn.ConvTranspose2d(3, 2, 3, 2)
    ours.load_state_dict({k: tg.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    for size in ((11, 12), (2, 2, 12, 11)):
        y = ours(tg.tensor(x), output_size=size)
        want = theirs(torch.tensor(x), output_size=size).detach().numpy()
        np.testing.assert_allclose(y.detach().numpy(), want, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"valid sizes range from \[11, 11\] to \[12, 12\]"):
        ours(tg.tensor(x), output_size=(13, 11))


def test_fractional_layers_have_torchs_arguments(torch):
    for name in ("FractionalMaxPool2d", "FractionalMaxPool3d"):
        wanted = inspect.signature(getattr(torch.nn, name)).parameters
        assert list(inspect.signature(getattr(nn, name)).parameters) == list(wanted)
    assert nn.FractionalMaxPool2d(2, output_ratio=0.5)(tg.zeros(1, 2, 9, 8)).shape == (1, 2, 4, 4)


def test_what_pooling_answered_can_be_put_back():
    x = tg.tensor(draw(2, 3, 6, 8))
    y, at = nn.MaxPool2d(2, return_indices=True)(x)
    back = nn.MaxUnpool2d(2)(y, at)
    np.testing.assert_array_equal(back.numpy(), np.where(back.numpy() != 0, x.numpy(), 0))
    assert int((back != 0).sum()) == y.numel()


def network(N):
    return N.Sequential(
        N.Conv2d(1, 6, 3, padding=1), N.ReLU(), N.MaxPool2d(2),
        N.Conv2d(6, 8, 3), N.ReLU(), N.MaxPool2d(2), N.Flatten(), N.Linear(8, 10),
    )


def test_a_network_trains_on_digits_as_torch_does(torch):
    torch.manual_seed(0)
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    images = (digits.images / 16).reshape(-1, 1, 8, 8)
    ours, theirs = network(nn).double(), network(torch.nn).double()
    ours.load_state_dict({k: tg.tensor(v.numpy()) for k, v in theirs.state_dict().items()})

    def trainer(T, model):
        optimizer = T.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        def step(x, labels):
            optimizer.zero_grad()
            loss = T.nn.functional.cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()
            return loss

        return step

    step, witness = tg.compile(trainer(tg, ours)), trainer(torch, theirs)
    losses = []
    for k in range(0, 480, 48):
        x, labels = images[k : k + 48], digits.target[k : k + 48]
        loss = step(tg.tensor(x), tg.tensor(labels))
        want = witness(torch.tensor(x), torch.tensor(labels))
        np.testing.assert_allclose(loss.item(), want.item(), rtol=1e-9)
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert step.cache_info().misses <= 2  # the second has momentum
