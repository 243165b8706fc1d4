"""A step of Runge and Kutta's method of fourth order, for numbers of any library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

State = tuple[Any, ...]


def step(slope: Callable[..., State], state: State, h: float) -> State:
    """The state `h` later; `slope(*state)` gives the derivative of each of its numbers."""

    def after(slopes: State, h: float) -> State:
        return tuple(x + h * k for x, k in zip(state, slopes, strict=True))

    k1 = slope(*state)
    k2 = slope(*after(k1, h / 2))
    k3 = slope(*after(k2, h / 2))
    k4 = slope(*after(k3, h))
    mean = tuple(a + 2 * b + 2 * c + d for a, b, c, d in zip(k1, k2, k3, k4, strict=True))
    return after(mean, h / 6)
