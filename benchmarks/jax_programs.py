"""Programs of programs.py in JAX: those whose step is a few lines there. Networks start from other
random numbers than those of torch, which makes no difference to what is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from . import jax_optimizers, runge_kutta
from .jobs import jax_training
from .programs import growth, numbers, places
from .workload import JaxJob


class Arrays:
    """What `numbers` and `places` ask of a library."""

    def __init__(self, jax: Any):
        self.from_numpy = jax.numpy.asarray


def linear(jax: Any, fan_in: int, fan_out: int, seed: int = 0) -> tuple[Any, Any]:
    rng, bound = np.random.default_rng(seed), fan_in**-0.5
    values = (rng.uniform(-bound, bound, shape) for shape in ((fan_in, fan_out), (fan_out,)))
    weight, bias = (jax.numpy.asarray(v.astype(np.float32)) for v in values)
    return weight, bias


def cross_entropy(jax: Any, scores: Any, y: Any) -> Any:
    logarithms = jax.nn.log_softmax(scores)
    return -jax.numpy.take_along_axis(logarithms, y[:, None], axis=1).mean()


def mlp(jax: Any, batch: int, *sizes: int) -> JaxJob:
    def loss(parameters: Any, x: Any, y: Any) -> Any:
        *hidden, (weight, bias) = parameters
        for w, b in hidden:
            x = jax.nn.relu(x @ w + b)
        return cross_entropy(jax, x @ weight + bias, y)

    T = Arrays(jax)
    parameters = [linear(jax, m, n) for m, n in pairwise(sizes)]
    optimizer = jax_optimizers.sgd(jax, lr=0.01, momentum=0.9)
    return jax_training(
        jax, loss, parameters, optimizer, numbers(T, batch, sizes[0]), places(T, sizes[-1], batch)
    )


def recurrent(jax: Any, steps: int, width: int = 16) -> JaxJob:
    jnp, T = jax.numpy, Arrays(jax)

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        w, u, b = parameters
        h, total = jnp.zeros((x.shape[1], width)), 0.0
        for t in range(steps):
            h = jnp.tanh(x[t] @ w + h @ u + b)
            total = total + ((h - y[t]) ** 2).mean()
        return total / steps

    parameters = [numbers(T, width, width, scale=0.2, seed=s) for s in (2, 3)]
    return jax_training(
        jax, loss, [*parameters, jnp.zeros(width)], jax_optimizers.sgd(jax, lr=0.01),
        numbers(T, steps, 8, width), numbers(T, steps, 8, width, seed=4)
    )


def lstm(jax: Any, steps: int, width: int = 32, letters: int = 32) -> JaxJob:
    jnp, T = jax.numpy, Arrays(jax)

    def loss(parameters: Any, text: Any) -> Any:
        embedding, (wr, br), (wc, bc) = parameters
        h = c = jnp.zeros((text.shape[1], width))
        total = 0.0
        for t in range(steps):
            gates = jnp.concatenate([embedding[text[t]], h], axis=1) @ wc + bc
            i, f, g, o = jnp.split(gates, 4, axis=1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            total = total + cross_entropy(jax, h @ wr + br, text[t + 1])
        return total / steps

    parameters = (numbers(T, letters, width), linear(jax, width, letters),
                  linear(jax, 2 * width, 4 * width))
    return jax_training(
        jax, loss, parameters, jax_optimizers.adam(jax, lr=1e-3), places(T, letters, steps + 1, 8)
    )


def neural_ode(jax: Any, steps: int) -> JaxJob:
    jnp, T = jax.numpy, Arrays(jax)

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        (w, b), (v, c) = parameters

        def slope(x: Any) -> tuple[Any]:
            return (jnp.tanh(x @ w + b) @ v + c,)

        state = (x,)
        for _ in range(steps):
            state = runge_kutta.step(slope, state, 1.0 / steps)
        return ((state[0] - y) ** 2).mean()

    parameters = [linear(jax, 2, 32), linear(jax, 32, 2)]
    return jax_training(
        jax, loss, parameters, jax_optimizers.adam(jax, lr=1e-3), numbers(T, 64, 2),
        numbers(T, 64, 2, seed=5),
    )


def lotka_volterra(jax: Any, steps: int) -> JaxJob:
    def loss(rates: Any, counts: Any) -> Any:
        slope = partial(growth, tuple(rates))
        state, total = (counts[0, 0], counts[0, 1]), 0.0
        for t in range(1, steps + 1):
            state = x, y = runge_kutta.step(slope, state, 0.1)
            total = total + (x - counts[t, 0]) ** 2 + (y - counts[t, 1]) ** 2
        return total / steps

    rates, T = jax.numpy.asarray([0.6, 0.03, 0.8, 0.03]), Arrays(jax)
    counts = abs(numbers(T, steps + 1, 2)) * 20 + 5
    return jax_training(jax, loss, rates, jax_optimizers.adam(jax, lr=1e-2), counts)


LOOPS = {
    "recurrent loop": recurrent, "LSTM loop": lstm, "neural ODE": neural_ode,
    "Lotka-Volterra": lotka_volterra,
}


def jax_program(name: str) -> Callable[[Any], JaxJob] | None:
    """The program of that name in programs.py, or None if it is not written here."""
    if name.startswith("MLP "):
        sizes = tuple(map(int, name.removeprefix("MLP ").split("-")))
        return lambda jax: mlp(jax, 32 if len(sizes) == 3 else 64, *sizes)
    kind, _, steps = name.removesuffix(" steps").partition(" of ")
    return partial(LOOPS[kind], steps=int(steps)) if kind in LOOPS else None
