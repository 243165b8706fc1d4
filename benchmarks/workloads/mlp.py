"""Multi-layer perceptrons with ReLU and cross-entropy, of several sizes and optimizers."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from ..jobs import jax_job
from ..workload import Data, JaxJob, TorchJob, Workload


def data(sizes: tuple[int, ...], batch: int) -> Data:
    rng = np.random.default_rng(0)
    parameters = []
    for fan_in, fan_out in pairwise(sizes):
        for shape in ((fan_out, fan_in), (fan_out,)):
            values = rng.uniform(-1, 1, shape) / np.sqrt(fan_in)
            parameters.append(values.astype(np.float32))
    x = rng.standard_normal((batch, sizes[0])).astype(np.float32)
    y = rng.integers(0, sizes[-1], batch)
    return Data(parameters, [x, y])


def torch_style(T: Any, data: Data, optimizer: str, options: dict[str, float]) -> TorchJob:
    layers: list[Any] = []
    for weight in data.parameters[::2]:
        fan_out, fan_in = weight.shape
        layers += [T.nn.Linear(fan_in, fan_out), T.nn.ReLU()]
    model = T.nn.Sequential(*layers[:-1])
    with T.no_grad():
        for parameter, value in zip(model.parameters(), data.parameters, strict=True):
            parameter.copy_(T.from_numpy(value))

    def loss(x: Any, y: Any) -> Any:
        return T.nn.functional.cross_entropy(model(x), y)

    make = getattr(T.optim, optimizer)
    batch = [T.from_numpy(a) for a in data.batch]
    return TorchJob(loss, batch, make(model.parameters(), **options))


def jax_style(jax: Any, data: Data, optimizer: str, options: dict[str, float]) -> JaxJob:
    def loss(parameters: Any, x: Any, y: Any) -> Any:
        *hidden, weight, bias = parameters
        for w, b in zip(hidden[::2], hidden[1::2], strict=True):
            x = jax.nn.relu(x @ w.T + b)
        scores = jax.nn.log_softmax(x @ weight.T + bias)
        return -jax.numpy.take_along_axis(scores, y[:, None], axis=1).mean()

    return jax_job(jax, data, loss, optimizer, **options)


def workload(
    name: str,
    sizes: tuple[int, ...],
    batch: int,
    optimizer: str,
    cold_start: bool = False,
    **options: float,
) -> Workload:
    layers = "-".join(map(str, sizes))
    settings = ", ".join((optimizer, *(f"{k}={v}" for k, v in options.items())))
    return Workload(
        name,
        f"MLP {layers}, batch {batch}, {settings}",
        partial(data, sizes, batch),
        partial(torch_style, optimizer=optimizer, options=options),
        partial(jax_style, optimizer=optimizer, options=options),
        cold_start=cold_start,
    )


SMALL = (4, 32, 16, 4)
DIGITS = (784, 256, 256, 10)

WORKLOADS = [
    workload("mlp-small-sgd", SMALL, 150, "SGD", cold_start=True, lr=0.01),
    workload("mlp-small-adam", SMALL, 150, "Adam", lr=0.001),
    workload("mlp-small-10000", SMALL, 10_000, "Adam", lr=0.001),
    workload("mlp-digits-64", DIGITS, 64, "SGD", lr=0.01, momentum=0.9),
    workload("mlp-digits-512", DIGITS, 512, "SGD", lr=0.01, momentum=0.9),
]
