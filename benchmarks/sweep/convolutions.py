"""Convolutions of images, by kernel, stride, groups, channels and images."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from .cell import Cell, normal

# images, channels, height and width
IMAGES = {
    "8 x 3 x 32": (8, 3, 32), "8 x 16 x 16": (8, 16, 16), "32 x 32 x 32": (32, 32, 32),
    "32 x 64 x 16": (32, 64, 16), "8 x 256 x 8": (8, 256, 8), "64 x 1 x 28": (64, 1, 28),
    "8 x 16 x 64": (8, 16, 64),
}
# kernel, stride, groups (0: as many as channels)
KINDS = {
    "1x1": (1, 1, 1), "3x3": (3, 1, 1), "3x3 stride 2": (3, 2, 1), "5x5": (5, 1, 1),
    "7x7 stride 2": (7, 2, 1), "3x3 4 groups": (3, 1, 4), "3x3 depthwise": (3, 1, 0),
}


def in_torch(stride: int, groups: int, T: Any, x: Any, w: Any) -> Any:
    half = w.shape[-1] // 2
    return T.nn.functional.conv2d(x, w, None, stride, half, 1, groups)


def in_jax(stride: int, groups: int, jax: Any, x: Any, w: Any) -> Any:
    half = w.shape[-1] // 2
    return jax.lax.conv_general_dilated(
        x, w, (stride, stride), [(half, half)] * 2, feature_group_count=groups,
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
    )


def arrays(image: tuple[int, int, int], kernel: int, groups: int) -> list[np.ndarray]:
    images, channels, size = image
    out = channels if channels > 3 else 16
    weight = normal(out, channels // groups, kernel, kernel, seed=1)
    return [normal(images, channels, size, size), weight / kernel]


def cells() -> Iterator[Cell]:
    for name, (kernel, stride, groups) in KINDS.items():
        for size, image in IMAGES.items():
            parts = groups or image[1]
            if image[1] % parts or (parts > 1 and image[1] <= 3):
                continue
            for wrt in (0, 2):
                yield Cell(
                    f"{name}{' gradient' * (wrt > 0)}", size, partial(in_torch, stride, parts),
                    partial(in_jax, stride, parts), partial(arrays, image, kernel, parts), wrt,
                    rtol=3e-3,
                )
