"""Recurrent networks: an LSTM that learns to continue a text; a GRU as a layer and as a loop."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..jobs import drawn, jax_job, set_parameters
from ..workload import Data, JaxJob, TorchJob, Workload

LETTERS = 65


def layer_shapes(gates: int, inputs: int, hidden: int) -> list[tuple[int, ...]]:
    rows = gates * hidden
    return [(rows, inputs), (rows, hidden), (rows,), (rows,)]


# ---- characters
def text_data(hidden: int, length: int, batch: int) -> Data:
    rng = np.random.default_rng(0)
    shapes = [(LETTERS, hidden), *layer_shapes(4, hidden, hidden), (LETTERS, hidden), (LETTERS,)]
    text = rng.integers(0, LETTERS, (length + 1, batch))
    return Data(drawn(rng, shapes, hidden**-0.5), [text[:-1].copy(), text[1:].copy()])


def text_torch(T: Any, data: Data) -> TorchJob:
    hidden = data.parameters[0].shape[1]
    embedding, readout = T.nn.Embedding(LETTERS, hidden), T.nn.Linear(hidden, LETTERS)
    lstm = T.nn.LSTM(hidden, hidden)
    parameters = set_parameters(T, [embedding, lstm, readout], data.parameters)

    def loss(x: Any, y: Any) -> Any:
        scores = readout(lstm(embedding(x))[0])
        return T.nn.functional.cross_entropy(scores.reshape(-1, LETTERS), y.reshape(-1))

    batch = [T.from_numpy(a) for a in data.batch]
    return TorchJob(loss, batch, T.optim.Adam(parameters, lr=0.001))


def text_jax(jax: Any, data: Data) -> JaxJob:
    jnp = jax.numpy

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        embedding, w_ih, w_hh, b_ih, b_hh, readout, bias = parameters
        gates = embedding[x] @ w_ih.T + b_ih

        def step(state: Any, gates: Any) -> Any:
            h, c = state
            i, f, g, o = jnp.split(gates + h @ w_hh.T + b_hh, 4, 1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((x.shape[1], w_hh.shape[1]), jnp.float32)
        _, y_all = jax.lax.scan(step, (zeros, zeros), gates)
        scores = jax.nn.log_softmax(y_all @ readout.T + bias)
        return -jnp.take_along_axis(scores, y[..., None], axis=2).mean()

    return jax_job(jax, data, loss, "adam", lr=0.001)


# ---- a series of numbers
def series_data(hidden: int, length: int, batch: int) -> Data:
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((length, batch, hidden)).astype(np.float32) for _ in "xy")
    return Data(drawn(rng, layer_shapes(3, hidden, hidden), hidden**-0.5), [x, y])


def series_torch(T: Any, data: Data, loop: bool) -> TorchJob:
    """The layer, or a Python loop over its cell."""
    hidden = data.parameters[1].shape[1]
    layer = (T.nn.GRUCell if loop else T.nn.GRU)(hidden, hidden)
    parameters = set_parameters(T, [layer], data.parameters)

    def outputs(x: Any) -> Any:
        if not loop:
            return layer(x)[0]
        h, ys = T.zeros(x.shape[1], hidden), []
        for t in range(x.shape[0]):
            h = layer(x[t], h)
            ys.append(h)
        return T.stack(ys)

    def loss(x: Any, y: Any) -> Any:
        return ((outputs(x) - y) ** 2).mean()

    batch = [T.from_numpy(a) for a in data.batch]
    return TorchJob(loss, batch, T.optim.SGD(parameters, lr=0.01))


def series_jax(jax: Any, data: Data) -> JaxJob:
    jnp = jax.numpy

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        w_ih, w_hh, b_ih, b_hh = parameters

        def step(h: Any, gates: Any) -> Any:
            r, z, n = jnp.split(gates, 3, 1)
            hr, hz, hn = jnp.split(h @ w_hh.T + b_hh, 3, 1)
            r, z = jax.nn.sigmoid(r + hr), jax.nn.sigmoid(z + hz)
            n = jnp.tanh(n + r * hn)
            h = (1 - z) * n + z * h
            return h, h

        zeros = jnp.zeros((x.shape[1], w_hh.shape[1]), jnp.float32)
        _, outputs = jax.lax.scan(step, zeros, x @ w_ih.T + b_ih)
        return ((outputs - y) ** 2).mean()

    return jax_job(jax, data, loss, "sgd", lr=0.01)


SERIES = partial(series_data, 16, 100, 32)
WORKLOADS = [
    Workload("char-lstm", "Char-LSTM, 128 hidden units, length 64, batch 16, Adam",
             partial(text_data, 128, 64, 16), text_torch, text_jax, cold_start=True),
    Workload("gru-layer", "nn.GRU, 16 units, 100 steps, batch 32, SGD (JAX: lax.scan)",
             SERIES, partial(series_torch, loop=False), series_jax),
    Workload("gru-loop", "GRUCell in a Python loop, 16 units, 100 steps, batch 32, SGD "
             "(JAX: lax.scan)", SERIES, partial(series_torch, loop=True), series_jax),
]
