"""A workload's training step in torch's style and in JAX's, from its loss and its optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from . import jax_optimizers, layers
from .contestants import Gradients
from .workload import Data, JaxJob, TorchJob, Workload


def torch_optimizer(T: Any, name: str, parameters: list[Any], options: dict[str, float]) -> Any:
    if name == "gradients":
        return Gradients(parameters)
    return getattr(T.optim, name)(parameters, **options)


def jax_training(
    jax: Any, loss: Callable[..., Any], parameters: Any, optimizer: jax_optimizers.Optimizer,
    *batch: Any,
) -> JaxJob:
    """The step of `loss(parameters, *batch)`."""
    start, update = optimizer

    def step(state: Any, *batch: Any) -> tuple[Any, Any]:
        parameters, slots = state
        value, gradients = jax.value_and_grad(loss)(parameters, *batch)
        return update(gradients, slots, parameters), value

    return JaxJob(step, list(batch), (parameters, start(parameters)))


def jax_job(
    jax: Any, data: Data, loss: Callable[..., Any], optimizer: str, **options: float
) -> JaxJob:
    """The same, from a workload's data and the name of the optimizer."""
    rule = getattr(jax_optimizers, optimizer.lower())(jax, **options)
    parameters = [jax.numpy.asarray(p) for p in data.parameters]
    return jax_training(jax, loss, parameters, rule, *map(jax.numpy.asarray, data.batch))


def drawn(rng: np.random.Generator, shapes: Sequence[tuple[int, ...]], bound: float) -> list[Any]:
    return [rng.uniform(-bound, bound, s).astype(np.float32) for s in shapes]


def set_parameters(T: Any, modules: list[Any], values: list[np.ndarray]) -> list[Any]:
    parameters = [p for m in modules for p in m.parameters()]
    with T.no_grad():
        for p, value in zip(parameters, values, strict=True):
            p.copy_(T.from_numpy(value))
    return parameters


# ---- losses that are written once for all libraries, see layers.py
Loss = Callable[..., Any]  # of layers and the batch
Batch = Callable[[np.random.Generator], list[np.ndarray]]


def made_of_layers(
    name: str, title: str, loss: Loss, batch: Batch, optimizer: str, options: dict[str, float],
    start: Batch | None = None, double: bool = False,
) -> Workload:
    """A workload from its loss; `start` gives the parameters if not those of layers."""

    def data() -> Data:
        rng = np.random.default_rng(0)
        arrays = batch(rng)
        if start is not None:
            return Data(start(rng), arrays)
        shapes = layers.Shapes()
        loss(shapes, *[layers.Anything()] * len(arrays))
        return Data(shapes.drawn, arrays)

    def torch_style(T: Any, data: Data) -> TorchJob:
        parameters = [T.from_numpy(p.copy()).requires_grad_() for p in data.parameters]

        def torch_loss(*batch: Any) -> Any:
            return loss(layers.Torch(T, parameters), *batch)

        arrays = [T.from_numpy(a) for a in data.batch]
        return TorchJob(torch_loss, arrays, torch_optimizer(T, optimizer, parameters, options))

    def jax_style(jax: Any, data: Data) -> JaxJob:
        def jax_loss(parameters: list[Any], *batch: Any) -> Any:
            return loss(layers.Jax(jax, parameters), *batch)

        return jax_job(jax, data, jax_loss, optimizer, **options)

    if optimizer != "gradients":
        title = f"{title}, {optimizer}"
    return Workload(name, title, data, torch_style, jax_style, double=double)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def classes(shape: tuple[int, ...], many: int) -> Batch:
    """Inputs of that shape, and a class for each."""
    return partial(_classes, shape, many)


def _classes(shape: tuple[int, ...], many: int, rng: np.random.Generator) -> list[np.ndarray]:
    return [normal(rng, *shape), rng.integers(0, many, shape[0])]
