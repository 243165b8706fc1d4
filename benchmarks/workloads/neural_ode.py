"""A network as the right side of a differential equation, solved by Runge and Kutta's method."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..workload import Data, JaxJob, TorchJob, Workload
from .recurrent import drawn, jax_job, set_parameters


def ode_data(hidden: int, batch: int) -> Data:
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((batch, 2)).astype(np.float32) for _ in "xy")
    shapes: list[tuple[int, ...]] = [(hidden, 2), (hidden,), (2, hidden), (2,)]
    return Data(drawn(rng, shapes, 0.5), [x, y])


def solution(field: Callable[[Any], Any], x: Any, steps: int) -> Any:
    """The state after one unit of time."""
    h = 1.0 / steps
    for _ in range(steps):
        k1 = field(x)
        k2 = field(x + h / 2 * k1)
        k3 = field(x + h / 2 * k2)
        k4 = field(x + h * k3)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x


def ode_torch(T: Any, data: Data, steps: int) -> TorchJob:
    hidden = data.parameters[0].shape[0]
    field = T.nn.Sequential(T.nn.Linear(2, hidden), T.nn.Tanh(), T.nn.Linear(hidden, 2))
    parameters = set_parameters(T, [field], data.parameters)

    def loss(x: Any, y: Any) -> Any:
        return ((solution(field, x, steps) - y) ** 2).mean()

    batch = [T.from_numpy(a) for a in data.batch]
    return TorchJob(loss, batch, T.optim.Adam(parameters, lr=0.001))


def ode_jax(jax: Any, data: Data, steps: int) -> JaxJob:
    def loss(parameters: Any, x: Any, y: Any) -> Any:
        w1, b1, w2, b2 = parameters

        def field(x: Any) -> Any:
            return jax.numpy.tanh(x @ w1.T + b1) @ w2.T + b2

        return ((solution(field, x, steps) - y) ** 2).mean()

    return jax_job(jax, data, loss, "adam", 0.001)


WORKLOADS = [
    Workload("neural-ode", "Neural ODE, 2-50-2, 30 steps of RK4 as a Python loop, batch 20, Adam",
             partial(ode_data, 50, 20), partial(ode_torch, steps=30), partial(ode_jax, steps=30)),
]
