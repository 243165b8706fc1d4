"""What the update rules of optimizers share: the state of a parameter, weight decay, options."""

from __future__ import annotations

import math
from typing import Any

from ..functions.torch.creation import full
from ..ir.dtype import float32, float64
from ..ir.ops.elementwise import where
from ..tracer.mode import get_default_dtype
from ..tracer.tensor.tensor import Tensor
from .optimizer import Group, Optimizer, outside


class Rule(Optimizer):
    """Base of the optimizers whose state of a parameter is tensors that begin at its first step."""

    numbers: tuple[str, ...] = ("step",)  # states that old checkpoints hold as numbers

    def begin(self, p: Tensor, group: Group) -> dict[str, Tensor]:
        """The state of a parameter before its first step."""
        raise NotImplementedError

    def state_of(self, p: Tensor, group: Group) -> dict[str, Tensor]:
        """The state of a parameter, its step counted."""
        state = self.state[p]
        if not state:
            with outside():
                for name, value in self.begin(p, group).items():
                    state[name] = value
        state["step"].add_(1)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for p, values in self.state.items():
            for name in self.numbers:
                if isinstance(values.get(name), (int, float)):
                    values[name] = scalar(p, values[name])


def scalar(p: Tensor, value: Any = 0.0) -> Tensor:
    """A number of the state, as torch keeps it: float32, or float64 if that is the default."""
    dtype = float64 if get_default_dtype() is float64 else float32
    if isinstance(value, Tensor):
        return value.to(dtype)
    return full((), value, dtype=dtype, device=p.device)


def first_rate(group: Group) -> float:
    """The learning rate that a state begins with: later ones make no other program."""
    return float(dict.__getitem__(group, "lr"))  # without a guard


def descended(p: Tensor, grad: Tensor, group: Group, lr: Any) -> Tensor:
    """The gradient to go down, with weight decay; decoupled decay shrinks the parameter now."""
    decay = group["weight_decay"]
    if group["maximize"]:
        grad = -grad
    if decay != 0 and group.get("decoupled_weight_decay"):
        p.mul_(beside(p, 1 - lr * decay))
    elif decay != 0:
        grad = grad + p * decay
    return grad


def beside(tensor: Any, number: Any) -> Any:
    """A number as it takes part in arithmetic with a 0-d tensor: in the tensor's dtype. In a trace
    the number is a float64 tensor, which would make the result float64.
    """
    both = isinstance(tensor, Tensor) and isinstance(number, Tensor)
    return number.to(tensor.dtype) if both and not tensor.ndim else number


def greater(a: Any, b: Any) -> Any:
    """The greater of two numbers, which may be 0-d tensors; b where a is NaN."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return where(a > b, a, b)
    return max(b, a)


def root(number: Any) -> Any:
    """The square root of a number, which may be a 0-d tensor; to the same bits either way."""
    return number.sqrt() if isinstance(number, Tensor) else math.sqrt(number)


def refuse_betas(betas: tuple[float, float]) -> None:
    """Raise torch's error for rates of running averages that are not in [0, 1)."""
    for i, beta in enumerate(betas):
        if not 0 <= beta < 1:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")


def refuse_below_zero(options: dict[str, Any]) -> None:
    """Raise torch's error for options of the newer optimizers that must not be negative."""
    for name, value in options.items():
        if isinstance(value, Tensor) and value.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not value >= 0:
            raise ValueError(f"{name} should be >= 0 but is: {value}")
