"""Loops of small bodies: a recurrence of sixty numbers, and many training steps in one call.

PyTorch has no scan with a gradient. It computes the sixty numbers as one vector, in a Python loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..jobs import jax_job
from ..workload import Data, JaxJob, TorchJob, Workload

NUMBERS, TIMES = 60, 614
POINTS, STEPS, RATE = 100, 1000, 0.01


# ---- a recurrence
def numbers_data() -> Data:
    rng = np.random.default_rng(0)
    start, x = (rng.standard_normal(n).astype(np.float32) for n in (NUMBERS, TIMES))
    return Data([start], [x])


def following(sin: Any, c: Any, x: Any) -> Any:
    """Each number depends on itself and on the next one."""
    return tuple(c[i] * 0.9 + 0.1 * sin(c[(i + 1) % NUMBERS]) * x for i in range(NUMBERS))


def numbers_torch(T: Any, data: Data) -> TorchJob:
    start = T.from_numpy(data.parameters[0].copy()).requires_grad_()

    def scanned(x: Any) -> Any:
        def step(c: Any, x: Any) -> Any:
            new = following(T.sin, c, x)
            return new, new[0]

        last, rows = T.scan(step, tuple(start.unbind()), x)
        return T.stack(last).sum() + rows.mean()

    def looped(x: Any) -> Any:
        c, rows = start, []
        for t in range(TIMES):
            c = c * 0.9 + 0.1 * T.sin(T.roll(c, -1)) * x[t]
            rows.append(c[0])
        return c.sum() + T.stack(rows).mean()

    loss = scanned if hasattr(T, "scan") else looped
    return TorchJob(loss, [T.from_numpy(data.batch[0])], T.optim.SGD([start], lr=RATE))


def numbers_jax(jax: Any, data: Data) -> JaxJob:
    jnp = jax.numpy

    def loss(start: Any, x: Any) -> Any:
        def step(c: Any, x: Any) -> Any:
            new = following(jnp.sin, c, x)
            return new, new[0]

        last, rows = jax.lax.scan(step, tuple(start), x)
        return jnp.stack(last).sum() + rows.mean()

    return jax_job(jax, data, lambda p, x: loss(p[0], x), "sgd", lr=RATE)


# ---- many training steps
def epoch_data() -> Data:
    rng = np.random.default_rng(0)
    x, noise = (rng.standard_normal(POINTS).astype(np.float32) for _ in range(2))
    return Data([], [x, 2 * x + 1 + noise])


def epoch_torch(T: Any, data: Data) -> TorchJob:
    def epoch(x: Any, y: Any) -> Any:
        w, b = (T.zeros((), requires_grad=True) for _ in range(2))
        optimizer = T.optim.SGD([w, b], lr=RATE)

        def step(_: Any, loss: Any) -> Any:
            optimizer.zero_grad()
            loss = ((x * w + b - y) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss.detach()

        if hasattr(T, "fori_loop"):
            return T.fori_loop(0, STEPS, step, T.zeros(()))
        loss = None
        for i in range(STEPS):
            loss = step(i, loss)
        return loss

    return TorchJob(epoch, [T.from_numpy(a) for a in data.batch])


def epoch_jax(jax: Any, data: Data) -> JaxJob:
    def loss(parameters: Any, x: Any, y: Any) -> Any:
        return ((x * parameters[0] + parameters[1] - y) ** 2).mean()

    def epoch(state: Any, x: Any, y: Any) -> tuple[Any, Any]:
        def step(_: Any, before: Any) -> Any:
            (w, b), _ = before
            value, (dw, db) = jax.value_and_grad(loss)((w, b), x, y)
            return (w - RATE * dw, b - RATE * db), value

        zero = jax.numpy.zeros(())
        return state, jax.lax.fori_loop(0, STEPS, step, ((zero, zero), zero))[1]

    return JaxJob(epoch, [jax.numpy.asarray(a) for a in data.batch])


WORKLOADS = [
    Workload("scan", f"Scan over {TIMES} steps of {NUMBERS} numbers, gradient, SGD",
             numbers_data, numbers_torch, numbers_jax),
    Workload("epoch", f"{STEPS:,} SGD steps of a linear regression on {POINTS} points, as one call",
             epoch_data, epoch_torch, epoch_jax, trains=False),
]
