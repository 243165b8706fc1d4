"""Steps of an optimizer outside of compiled functions: when they become a program, and its runs.

A program is worth making where the steps without one have taken as long. Their time is reckoned by
what they do, and not measured: numbers may differ in their last digit with and without a program,
and two runs should be equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tracer.change_counter import differentiated_tensors

ENOUGH = 2000  # updates, each of some 50 us: a program takes a tenth of a second
NUMBERS = 4096  # of a parameter, whose update takes as long as the calls of an update do

_compilers: list[Callable[[Callable, Callable[[], bool]], Callable]] = []


def register_compiler(compiler: Callable[[Callable, Callable[[], bool]], Callable]) -> None:
    """Say what compiles steps: this module may not know the compiler. It takes the step, and what
    is asked before it makes a program.
    """
    _compilers[:] = [compiler]


class EagerSteps:
    """The steps of one optimizer."""

    def __init__(self, optimizer: Any):
        self.optimizer = optimizer
        self.updates: float | None = None  # without a program, since one was made
        self.run = _compilers[0](optimizer._step, self.pays)

    def pays(self) -> bool:
        """Whether this step, for which there is no program, is to make one."""
        params = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self.updates is None:  # the first step also makes the state
            follows = any(id(p) in differentiated_tensors for p in params[:1])
            self.updates = ENOUGH if follows else 0.0
            return False
        if self.optimizer.defaults.get("fused"):
            return True
        self.updates += sum(1 + p.numel() / NUMBERS for p in params if p.grad is not None)
        if self.updates < ENOUGH:
            return False
        self.updates = 0.0
        return True


def compiles(optimizer: Any) -> bool:
    """Whether steps of an optimizer may become a program: as its option `fused` says. Where it says
    nothing, those of this package, and others if a compiled function has been differentiated by the
    parameters.
    """
    fused = optimizer.defaults.get("fused")
    if fused is not None or optimizer.defaults.get("differentiable"):
        return bool(fused)
    if type(optimizer).__module__.startswith(f"{__package__}."):
        return True
    firsts = (group["params"][0] for group in optimizer.param_groups if group["params"])
    return any(id(p) in differentiated_tensors for p in firsts)
