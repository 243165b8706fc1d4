"""Linear regression by hand: w * x + b on 100 points, mean squared error, SGD."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..jobs import jax_job
from ..workload import Data, JaxJob, TorchJob, Workload

POINTS = 100
LR = 0.01


def data() -> Data:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(POINTS).astype(np.float32)
    noise = rng.standard_normal(POINTS).astype(np.float32)
    start = [np.ones(1, np.float32), np.zeros(1, np.float32)]
    return Data(start, [x, 3 * x + 2 + 0.1 * noise])


def torch_style(T: Any, data: Data) -> TorchJob:
    w, b = (T.from_numpy(p).requires_grad_() for p in data.parameters)

    def loss(x: Any, y: Any) -> Any:
        return ((w * x + b - y) ** 2).mean()

    return TorchJob(loss, [T.from_numpy(a) for a in data.batch], T.optim.SGD([w, b], lr=LR))


def jax_style(jax: Any, data: Data) -> JaxJob:
    def loss(parameters: Any, x: Any, y: Any) -> Any:
        w, b = parameters
        return ((w * x + b - y) ** 2).mean()

    return jax_job(jax, data, loss, "sgd", lr=LR)


WORKLOADS = [
    Workload(
        "linear-regression",
        f"Linear regression, N={POINTS}, SGD",
        data,
        torch_style,
        jax_style,
    )
]
