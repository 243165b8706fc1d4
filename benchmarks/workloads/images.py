"""Networks for images: LeNet, residual networks, a MobileNet block, a U-Net, a transformer."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..jobs import classes, made_of_layers, normal
from .transformers import layer as transformer_layer

CLASSES = 10


def lenet(L: Any, x: Any, y: Any) -> Any:
    x = L.max_pool(L.relu(L.conv(x, 1, 6, 5, bias=True)))
    x = L.max_pool(L.relu(L.conv(x, 6, 16, 5, bias=True, padding=0)))
    x = x.reshape(-1, 400)
    x = L.relu(L.linear(x, 400, 120))
    x = L.relu(L.linear(x, 120, 84))
    return L.cross_entropy(L.linear(x, 84, CLASSES), y)


def residual(L: Any, x: Any, wide: int, narrow: int, stride: int = 1) -> Any:
    y = L.relu(L.batch_norm(L.conv(x, wide, narrow, 3, stride), narrow))
    y = L.batch_norm(L.conv(y, narrow, narrow, 3), narrow)
    if wide != narrow or stride > 1:
        x = L.batch_norm(L.conv(x, wide, narrow, 1, stride), narrow)
    return L.relu(x + y)


def scores(L: Any, x: Any, channels: int, y: Any) -> Any:
    return L.cross_entropy(L.linear(x.mean((2, 3)), channels, CLASSES), y)


def one_residual_block(L: Any, x: Any, y: Any) -> Any:
    x = L.relu(L.conv(x, 3, 16, 3, bias=True))
    return scores(L, residual(L, x, 16, 16), 16, y)


def resnet18(L: Any, x: Any, y: Any) -> Any:
    x, wide = L.relu(L.batch_norm(L.conv(x, 3, 64, 3), 64)), 64
    for narrow, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        x = residual(L, residual(L, x, wide, narrow, stride), narrow, narrow)
        wide = narrow
    return scores(L, x, 512, y)


def mobilenet_block(L: Any, x: Any, y: Any) -> Any:
    """An inverted residual: four times as many channels, a depthwise convolution, and back."""
    z = L.relu(L.batch_norm(L.conv(x, 32, 128, 1), 128))
    z = L.relu(L.batch_norm(L.conv(z, 128, 128, 3, groups=128), 128))
    return scores(L, x + L.batch_norm(L.conv(z, 128, 32, 1), 32), 32, y)


def unet(L: Any, x: Any, mask: Any) -> Any:
    """Two halvings and two doublings with joins; a number for each pixel."""

    def twice(x: Any, wide: int, narrow: int) -> Any:
        x = L.relu(L.conv(x, wide, narrow, 3, bias=True))
        return L.relu(L.conv(x, narrow, narrow, 3, bias=True))

    first = twice(x, 1, 16)
    second = twice(L.max_pool(first), 16, 32)
    x = twice(L.max_pool(second), 32, 64)
    x = twice(L.concatenated([L.upsampled(x), second], 1), 96, 32)
    x = twice(L.concatenated([L.upsampled(x), first], 1), 48, 16)
    return L.binary_cross_entropy(L.conv(x, 16, 1, 1, bias=True), mask)


def pixels(rng: np.random.Generator) -> list[np.ndarray]:
    x = normal(rng, 4, 1, 32, 32)
    return [x, (x > 0).astype(np.float32)]


PATCH, WIDTH = 4, 64


def vit(L: Any, x: Any, y: Any) -> Any:
    """64 patches of 4 x 4, four layers of four heads."""
    x = L.conv(x, 3, WIDTH, PATCH, PATCH, bias=True, padding=0)
    x = L.permuted(x.reshape(-1, WIDTH, 64), 0, 2, 1) + L.parameter(64, WIDTH)
    for _ in range(4):
        x = transformer_layer(L, x, 64, WIDTH, 4, causal=False)
    return L.cross_entropy(L.linear(L.layer_norm(x, WIDTH).mean(1), WIDTH, CLASSES), y)


MOMENTUM = {"lr": 0.01, "momentum": 0.9}
WORKLOADS = [
    made_of_layers("lenet", "LeNet, batch 64", lenet, classes((64, 1, 28, 28), CLASSES), "SGD",
                   MOMENTUM),
    made_of_layers("resnet-block", "Residual block, 16 channels, 16 x 16, batch 8",
                   one_residual_block, classes((8, 3, 16, 16), CLASSES), "SGD", MOMENTUM),
    made_of_layers("resnet-18", "ResNet-18, 32 x 32, batch 4", resnet18,
                   classes((4, 3, 32, 32), CLASSES), "SGD",
                   MOMENTUM | {"lr": 1e-4}),
    made_of_layers("mobilenet-block", "MobileNet block, 32 channels, 16 x 16, batch 16",
                   mobilenet_block, classes((16, 32, 16, 16), CLASSES), "SGD", MOMENTUM),
    made_of_layers("unet", "Small U-Net, 32 x 32, batch 4", unet, pixels, "Adam", {"lr": 1e-3}),
    made_of_layers("vit-tiny", "Vision transformer, 4 layers, width 64, 32 x 32, batch 8", vit,
                   classes((8, 3, 32, 32), CLASSES), "AdamW", {"lr": 1e-3}),
]
