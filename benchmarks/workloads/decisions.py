"""A step of deep Q-learning, and the descent of Rosenbrock's function."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..jobs import drawn, made_of_layers, normal

STATE, HIDDEN, ACTIONS, BATCH = 4, 64, 2, 128
LAYERS: list[tuple[int, int]] = [(STATE, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, ACTIONS)]
UNKNOWNS = 1000


def q_learning(
    L: Any, state: Any, action: Any, reward: Any, following: Any, more: Any, *target: Any
) -> Any:
    q = state
    for fan_in, fan_out in LAYERS:
        q = L.linear(q if q is state else L.relu(q), fan_in, fan_out)
    best = following
    for weight, bias in zip(target[::2], target[1::2], strict=True):
        best = (best if best is following else L.relu(best)) @ weight.T + bias
    wanted = reward + 0.99 * more * L.library.amax(best, 1)
    return L.huber(L.chosen(q, action), wanted)


def memory(rng: np.random.Generator) -> list[np.ndarray]:
    """Transitions, and the parameters of the network that says what the next state is worth."""
    transitions = [
        normal(rng, BATCH, STATE), rng.integers(0, ACTIONS, BATCH), normal(rng, BATCH),
        normal(rng, BATCH, STATE), (rng.random(BATCH) < 0.9).astype(np.float32),
    ]
    shapes: list[tuple[int, ...]] = [s for m, n in LAYERS for s in ((n, m), (n,))]
    return transitions + drawn(rng, shapes, 0.3)


def rosenbrock(L: Any, one: Any) -> Any:
    x = L.parameter(UNKNOWNS)
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (one - x[:-1]) ** 2).sum()


WORKLOADS = [
    made_of_layers("dqn", f"Deep Q-learning, 4-64-64-2, batch {BATCH}", q_learning, memory, "Adam",
                   {"lr": 1e-3}),
    made_of_layers("rosenbrock", f"Rosenbrock's function, {UNKNOWNS} unknowns", rosenbrock,
                   lambda rng: [np.ones(1, np.float32)], "SGD", {"lr": 1e-4},
                   start=lambda rng: [0.1 * normal(rng, UNKNOWNS)]),
]
