"""SGD, Adam and AdamW for JAX, with torch's arithmetic.

Each gives a pair: `start(parameters)` makes the optimizer's slots, and
`update(gradients, slots, parameters)` gives new parameters and new slots.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Optimizer = tuple[Callable[[Any], Any], Callable[[Any, Any, Any], tuple[Any, Any]]]


def sgd(jax: Any, lr: float, momentum: float = 0.0) -> Optimizer:
    each = jax.tree.map

    def start(parameters: Any) -> Any:
        return each(jax.numpy.zeros_like, parameters) if momentum else ()

    def update(gradients: Any, slots: Any, parameters: Any) -> tuple[Any, Any]:
        if momentum:
            slots = gradients = each(lambda v, g: momentum * v + g, slots, gradients)
        return each(lambda p, g: p - lr * g, parameters, gradients), slots

    return start, update


def adam(
    jax: Any, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer:
    """`weight_decay` is AdamW's."""
    each, jnp = jax.tree.map, jax.numpy
    beta1, beta2 = betas

    def start(parameters: Any) -> Any:
        zeros = each(jnp.zeros_like, parameters)
        return jnp.float32(0), zeros, zeros

    def update(gradients: Any, slots: Any, parameters: Any) -> tuple[Any, Any]:
        t, mean, square = slots
        t = t + 1
        mean = each(lambda m, g: beta1 * m + (1 - beta1) * g, mean, gradients)
        square = each(lambda s, g: beta2 * s + (1 - beta2) * g * g, square, gradients)
        rate, scale = lr / (1 - beta1**t), jnp.sqrt(1 - beta2**t)

        def moved(p: Any, m: Any, s: Any) -> Any:
            p = p * (1 - lr * weight_decay) if weight_decay else p
            return p - rate * m / (jnp.sqrt(s) / scale + eps)

        return each(moved, parameters, mean, square), (t, mean, square)

    return start, update


def adamw(jax: Any, lr: float, weight_decay: float = 0.01) -> Optimizer:
    return adam(jax, lr, weight_decay=weight_decay)


def gradients(jax: Any) -> Optimizer:
    """Keeps the gradients and changes nothing."""
    return lambda parameters: (), lambda gradients, slots, parameters: (parameters, gradients)
