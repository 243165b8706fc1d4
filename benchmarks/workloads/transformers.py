"""Language models: GPT with 4 layers of width 128, nanoGPT's configuration for CPUs, a tiny one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..jobs import made_of_layers
from ..workload import Workload

LETTERS = 65


def layer(L: Any, x: Any, length: int, width: int, heads: int, causal: bool = True) -> Any:
    y = L.linear(L.layer_norm(x, width), width, 3 * width)
    q, k, v = (L.permuted(p.reshape(-1, length, heads, width // heads), 0, 2, 1, 3)
               for p in L.split(y, 3))
    y = L.permuted(L.attention(q, k, v, causal), 0, 2, 1, 3).reshape(-1, length, width)
    x = x + L.linear(y, width, width)
    y = L.gelu(L.linear(L.layer_norm(x, width), width, 4 * width))
    return x + L.linear(y, 4 * width, width)


def gpt(layers: int, width: int, heads: int, length: int, L: Any, x: Any, y: Any) -> Any:
    x = L.embedding(x, LETTERS, width) + L.parameter(length, width)
    for _ in range(layers):
        x = layer(L, x, length, width, heads)
    scores = L.linear(L.layer_norm(x, width), width, LETTERS)
    return L.cross_entropy(scores.reshape(-1, LETTERS), y.reshape(-1))


def text(length: int, batch: int, rng: np.random.Generator) -> list[np.ndarray]:
    letters = rng.integers(0, LETTERS, (batch, length + 1))
    return [letters[:, :-1].copy(), letters[:, 1:].copy()]


def workload(
    name: str, title: str, layers: int, width: int, heads: int, length: int, batch: int
) -> Workload:
    loss: Callable[..., Any] = partial(gpt, layers, width, heads, length)
    size = f"{layers} x {width}, {heads} heads, length {length}, batch {batch}"
    return made_of_layers(name, f"{title}, {size}", loss, partial(text, length, batch), "AdamW",
                          {"lr": 1e-3})


WORKLOADS = [
    workload("gpt", "GPT", 4, 128, 4, 64, 8),
    workload("nanogpt", "nanoGPT's configuration for CPUs", 4, 128, 4, 64, 12),
    workload("microgpt", "Tiny GPT", 1, 16, 4, 16, 1),
]
