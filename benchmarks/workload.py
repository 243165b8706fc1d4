"""What a workload is: data, and the same training step in torch's style and in JAX's.

Initial parameters and batch are NumPy arrays made from a fixed seed, so that every contestant
starts from the same numbers and its losses can be compared with the others'.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Data(NamedTuple):
    parameters: list[np.ndarray]
    batch: list[np.ndarray]


class TorchJob(NamedTuple):
    """`loss(*batch)` is what a step computes; without an optimizer that is the whole step."""

    loss: Callable[..., Any]
    batch: list[Any]
    optimizer: Any = None


class JaxJob(NamedTuple):
    """`step(state, *batch)` gives (new state, loss). It is jitted by the contestant."""

    step: Callable[..., tuple[Any, Any]]
    batch: list[Any]
    state: Any = ()


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    data: Callable[[], Data]
    torch_style: Callable[[Any, Data], TorchJob]  # called with torch or with tracegrad
    jax_style: Callable[[Any, Data], JaxJob]  # called with jax
    trains: bool = True
    double: bool = False  # whether its numbers are of float64
    cold_start: bool = False  # whether the time to the first step is measured too
