"""Models of probability: a mixture of Gaussians, a variational autoencoder."""

from __future__ import annotations

from math import log, pi
from typing import Any

import numpy as np

from ..jobs import made_of_layers, normal

POINTS, WIDTH, PARTS = 2000, 8, 16
PIXELS, HIDDEN, CODE, BATCH = 784, 400, 20, 128


def mixture(L: Any, x: Any) -> Any:
    """The negative log-likelihood; each part has its own variance along each axis."""
    weights, means = L.parameter(PARTS), L.parameter(PARTS, WIDTH)
    scales = L.parameter(PARTS, WIDTH)
    distance = (x[:, None, :] - means) * L.library.exp(-scales)
    logs = -(distance**2).sum(-1) / 2 - scales.sum(-1) - WIDTH / 2 * log(2 * pi)
    weights = weights - L.logsumexp(weights, 0)
    return -L.logsumexp(logs + weights, 1).mean()


def autoencoder(L: Any, x: Any, noise: Any) -> Any:
    y = L.relu(L.linear(x, PIXELS, HIDDEN))
    mean, spread = L.linear(y, HIDDEN, CODE), L.linear(y, HIDDEN, CODE)
    code = mean + noise * L.library.exp(spread / 2)
    y = L.linear(L.relu(L.linear(code, CODE, HIDDEN)), HIDDEN, PIXELS)
    likelihood = L.binary_cross_entropy(y, x) * PIXELS
    return likelihood - (1 + spread - mean**2 - L.library.exp(spread)).sum() / 2 / BATCH


def digits(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.random((BATCH, PIXELS)).astype(np.float32), normal(rng, BATCH, CODE)]


WORKLOADS = [
    made_of_layers("mixture", f"Mixture of {PARTS} Gaussians, {POINTS} points of {WIDTH} numbers",
                   mixture, lambda rng: [normal(rng, POINTS, WIDTH)], "Adam", {"lr": 1e-2}),
    made_of_layers("vae", f"VAE {PIXELS}-{HIDDEN}-{CODE}, batch {BATCH}", autoencoder, digits,
                   "Adam", {"lr": 1e-3}),
]
