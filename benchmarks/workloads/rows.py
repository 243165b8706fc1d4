"""Steps whose time goes into rows of numbers: losses, normalisation, logistic regression."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..jobs import classes, made_of_layers, normal

SAMPLES, FEATURES = 569, 30  # those of the breast cancer data of scikit-learn
ROWS, COLUMNS = 4096, 1000
WIDTH = 1024


def logistic(L: Any, x: Any, y: Any) -> Any:
    return L.binary_cross_entropy(L.linear(x, FEATURES, 1)[:, 0], y)


def patients(rng: np.random.Generator) -> list[np.ndarray]:
    x = normal(rng, SAMPLES, FEATURES)
    return [x, (x @ normal(rng, FEATURES) + normal(rng, SAMPLES) > 0).astype(np.float32)]


def softmax_loss(L: Any, y: Any) -> Any:
    return L.cross_entropy(L.parameter(ROWS, COLUMNS), y)


def norm_and_gelu(L: Any, x: Any) -> Any:
    return (L.gelu(L.layer_norm(L.parameter(ROWS, WIDTH) + x, WIDTH)) ** 2).mean()


WORKLOADS = [
    made_of_layers("logistic-regression", f"Logistic regression, {SAMPLES} x {FEATURES}", logistic,
                   patients, "SGD", {"lr": 0.1}),
    made_of_layers("softmax-loss", f"Gradient of softmax and cross-entropy, {ROWS} x {COLUMNS}",
                   softmax_loss, lambda rng: classes((ROWS,), COLUMNS)(rng)[1:], "gradients", {}),
    made_of_layers("layer-norm-gelu", f"Gradients of LayerNorm and GELU, {ROWS} x {WIDTH}",
                   norm_and_gelu, lambda rng: [normal(rng, WIDTH)], "gradients", {}),
]
