"""Who takes part, and how each turns a workload into steps.

A contestant's `build(framework, workload, data)` gives `run(n)`, which does n steps and gives
the last loss. Imports no framework and no NumPy: a worker's clock starts before those.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .workload import Data, Workload

Run = Callable[[int], Any]


@dataclass(frozen=True)
class Contestant:
    key: str
    label: str
    framework: str
    build: Callable[[Any, Workload, Data], Run]
    trains_only: bool = False  # differs from its sibling only where there is a backward pass


class Gradients:
    """Like an optimizer, for what asks only for gradients: the step changes nothing."""

    def __init__(self, parameters: list[Any]) -> None:
        self.parameters = parameters

    def zero_grad(self) -> None:
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        pass


def repeat(step: Callable[..., Any], batch: list[Any]) -> Run:
    def run(n: int) -> Any:
        for _ in range(n):
            loss = step(*batch)
        return loss

    return run


def training_step(loss_of: Callable[..., Any], optimizer: Any) -> Callable[..., Any]:
    def step(*batch: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_of(*batch)
        loss.backward()
        optimizer.step()
        return loss

    return step


def eager(T: Any, workload: Workload, data: Data) -> Run:
    job = workload.torch_style(T, data)
    step = training_step(job.loss, job.optimizer) if job.optimizer else job.loss
    return repeat(step, job.batch)


def needs_compiler(T: Any) -> None:
    if T.__name__ == "torch" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "c++"))):
        raise RuntimeError("torch.compile needs a C++ compiler")


def loss_only(T: Any, workload: Workload, data: Data) -> Run:
    needs_compiler(T)
    job = workload.torch_style(T, data)
    loss_of = T.compile(job.loss)
    step = training_step(loss_of, job.optimizer) if job.optimizer else loss_of
    return repeat(step, job.batch)


def whole_step(T: Any, workload: Workload, data: Data) -> Run:
    job = workload.torch_style(T, data)
    step = training_step(job.loss, job.optimizer) if job.optimizer else job.loss
    return repeat(T.compile(step), job.batch)


def whole_step_in_torch(T: Any, workload: Workload, data: Data) -> Run:
    """Loss and backward in one compiled function, the optimizer's step in a second one: torch
    breaks a compiled function at `zero_grad()` and inside `optimizer.step()`."""
    needs_compiler(T)
    config = T._dynamo.config
    if not hasattr(config, "trace_autograd_ops"):
        raise RuntimeError("this torch compiles no backward() inside a function")
    config.trace_autograd_ops = True
    job = workload.torch_style(T, data)
    optimizer = job.optimizer

    def gradients(*batch: Any) -> Any:
        loss = job.loss(*batch)
        loss.backward()
        return loss.detach()

    compiled = T.compile(gradients)
    update = optimizer.step if isinstance(optimizer, Gradients) else T.compile(optimizer.step)

    def step(*batch: Any) -> Any:
        optimizer.zero_grad()
        loss = compiled(*batch)
        update()
        return loss

    return repeat(step, job.batch)


def jitted(jax: Any, workload: Workload, data: Data) -> Run:
    jax.config.update("jax_enable_x64", workload.double)
    job = workload.jax_style(jax, data)
    step, state = jax.jit(job.step), job.state

    def run(n: int) -> Any:
        nonlocal state
        for _ in range(n):
            state, loss = step(state, *job.batch)
        return loss

    return run


CONTESTANTS = {
    c.key: c
    for c in (
        Contestant("tracegrad", "tracegrad, whole step", "tracegrad", whole_step),
        Contestant("loss-only", "tracegrad, loss only", "tracegrad", loss_only, trains_only=True),
        Contestant("eager", "PyTorch eager", "torch", eager),
        Contestant("compile", "torch.compile, loss only", "torch", loss_only),
        Contestant("compile-whole", "torch.compile, whole step", "torch", whole_step_in_torch,
                   trains_only=True),
        Contestant("jax", "jax.jit, whole step", "jax", jitted),
    )
}
BASELINE = "tracegrad"
PEERS = [key for key, c in CONTESTANTS.items() if c.framework != "tracegrad"]


def field(workload: Workload, peers: list[str]) -> list[Contestant]:
    """Who takes part in this workload: tracegrad always, and the peers asked for."""
    return [
        c
        for c in CONTESTANTS.values()
        if (c.framework == "tracegrad" or c.key in peers) and (workload.trains or not c.trains_only)
    ]
