"""Differential equations: a network as the right side of one, a network as the solution of one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import runge_kutta
from ..jobs import drawn, jax_job, made_of_layers, normal, set_parameters
from ..workload import Data, JaxJob, TorchJob, Workload

STEPS, HIDDEN, BATCH = 30, 50, 20


def neural_ode(L: Any, x: Any, y: Any) -> Any:
    first, shift = L.parameter(HIDDEN, 2), L.parameter(HIDDEN, start=0.0)
    second, bias = L.parameter(2, HIDDEN), L.parameter(2, start=0.0)

    def slope(x: Any) -> tuple[Any]:
        return (L.library.tanh(x @ first.T + shift) @ second.T + bias,)

    state = (x,)
    for _ in range(STEPS):
        state = runge_kutta.step(slope, state, 1.0 / STEPS)
    return ((state[0] - y) ** 2).mean()


def pairs(rng: np.random.Generator) -> list[np.ndarray]:
    return [normal(rng, BATCH, 2), normal(rng, BATCH, 2)]


# ---- Burgers' equation, u_t + u u_x = 0.01 / pi u_xx
POINTS, VISCOSITY = 1000, 0.01 / np.pi
SIZES = ((2, 20), (20, 20), (20, 20), (20, 1))


def points() -> Data:
    rng = np.random.default_rng(0)
    shapes: list[tuple[int, ...]] = [s for m, n in SIZES for s in ((n, m), (n,))]
    inside = rng.uniform((0, -1), (1, 1), (POINTS, 2)).astype(np.float32)
    start = np.stack([np.zeros(100), np.linspace(-1, 1, 100)], 1).astype(np.float32)
    return Data(drawn(rng, shapes, 0.4), [inside, start])


def burgers_torch(T: Any, data: Data) -> TorchJob:
    nn = T.nn
    layers = [part for m, n in SIZES for part in (nn.Linear(m, n), nn.Tanh())]
    model = nn.Sequential(*layers[:-1])
    parameters = set_parameters(T, [model], data.parameters)

    def loss(inside: Any, start: Any) -> Any:
        x = inside.detach().requires_grad_(True)
        u = model(x)
        (slopes,) = T.autograd.grad(u.sum(), x, create_graph=True)
        (second,) = T.autograd.grad(slopes[:, 1].sum(), x, create_graph=True)
        residual = slopes[:, 0] + u[:, 0] * slopes[:, 1] - VISCOSITY * second[:, 1]
        begin = model(start)[:, 0] + T.sin(T.pi * start[:, 1])
        return (residual**2).mean() + (begin**2).mean()

    batch = [T.from_numpy(a) for a in data.batch]
    return TorchJob(loss, batch, T.optim.Adam(parameters, lr=1e-3))


def burgers_jax(jax: Any, data: Data) -> JaxJob:
    jnp = jax.numpy

    def solution(parameters: list[Any], t: Any, x: Any) -> Any:
        y = jnp.stack([t, x])
        for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
            y = jnp.tanh(weight @ y + bias)
        return (parameters[-2] @ y + parameters[-1])[0]

    def loss(parameters: list[Any], inside: Any, start: Any) -> Any:
        u: Callable[..., Any] = partial(solution, parameters)

        def residual(t: Any, x: Any) -> Any:
            value, (by_t, by_x) = jax.value_and_grad(u, (0, 1))(t, x)
            second = jax.grad(jax.grad(u, 1), 1)(t, x)
            return by_t + value * by_x - VISCOSITY * second

        inner = jax.vmap(residual)(inside[:, 0], inside[:, 1])
        begin = jax.vmap(u)(start[:, 0], start[:, 1]) + jnp.sin(jnp.pi * start[:, 1])
        return (inner**2).mean() + (begin**2).mean()

    return jax_job(jax, data, loss, "adam", lr=1e-3)


WORKLOADS = [
    made_of_layers(
        "neural-ode",
        f"Neural ODE, 2-{HIDDEN}-2, {STEPS} steps of RK4 as a Python loop, batch {BATCH}",
        neural_ode, pairs, "Adam", {"lr": 1e-3},
    ),
    Workload("burgers", f"PINN, Burgers' equation, 2-20-20-20-1, {POINTS} points, Adam", points,
             burgers_torch, burgers_jax),
]
