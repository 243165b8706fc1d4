"""Muon: momentum whose matrix is made nearly orthogonal."""

from __future__ import annotations

import math
from typing import Any

from ..functions.torch.creation import zeros_like
from ..ir.dtype import bfloat16, float32
from ..tracer.tensor.tensor import Tensor
from .optimizer import Group, Optimizer, outside
from .rules import refuse_below_zero

COEFFICIENTS = (3.4445, -4.775, 2.0315)


class Muon(Optimizer):
    """p -= lr * r * O, where O is near the orthogonal matrix closest to the momentum.

    Jordan et al. (2024), https://kellerjordan.github.io/posts/muon/. O comes from `ns_steps`
    Newton-Schulz iterations in bfloat16; r is sqrt(max(1, rows / columns)), or
    0.2 * sqrt(max(rows, columns)) with adjust_lr_fn="match_rms_adamw". weight_decay shrinks p by
    lr * weight_decay first. Parameters are matrices.

    Raises ValueError for options out of range, other parameters or none.

    >>> w = torch.eye(2, requires_grad=True)
    >>> optimizer = optim.Muon([w], lr=0.1)
    >>> (w * torch.eye(2)).sum().backward()
    >>> optimizer.step()
    >>> bool((w.diagonal() < 0.95).all())
    True
    """

    def __init__(self, params: Any, lr: Any = 1e-3, weight_decay: float = 0.1,
                 momentum: float = 0.95, nesterov: bool = True,
                 ns_coefficients: tuple[float, float, float] = COEFFICIENTS, eps: float = 1e-7,
                 ns_steps: int = 5, adjust_lr_fn: str | None = None):
        refuse_below_zero({"Learning rate": lr, "momentum": momentum, "weight decay": weight_decay})
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        super().__init__(params, {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        })

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        for p in self.param_groups[-1]["params"]:
            if p.ndim != 2:
                self.param_groups.pop()
                raise ValueError(
                    "Muon only supports 2D parameters whereas we found a parameter with size: "
                    f"{p.size()}"
                )

    def update(self, p: Tensor, grad: Tensor, group: Group, lr: Any) -> None:
        state, momentum = self.state[p], group["momentum"]
        if "momentum_buffer" not in state:
            with outside():
                state["momentum_buffer"] = zeros_like(p)
        mean = state["momentum_buffer"]
        mean.add_((grad - mean) * (1 - momentum))
        along = grad + (mean - grad) * momentum if group["nesterov"] else mean
        step = _orthogonal(along, group["ns_coefficients"], group["ns_steps"], group["eps"])
        rows, columns = p.shape
        ratio = math.sqrt(max(1, rows / columns))
        if group["adjust_lr_fn"] == "match_rms_adamw":
            ratio = 0.2 * math.sqrt(max(rows, columns))
        p.mul_(1 - lr * group["weight_decay"])
        p.sub_(step.to(p.dtype) * (lr * ratio))


def _orthogonal(x: Tensor, coefficients: tuple, steps: int, eps: float) -> Tensor:
    """Near U @ V.T, where x = U @ S @ V.T, by iterations that bring all of S near one."""
    if steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = coefficients
    tall = x.shape[0] > x.shape[1]
    x = _rounded(x.t() if tall else x)
    x = _rounded(x / _rounded(x.norm()).clamp(min=eps))
    for _ in range(steps):
        square = _rounded(x @ x.t())
        x = _rounded(x * a + _rounded(square * b + (square @ square) * c) @ x)
    return x.t() if tall else x


def _rounded(x: Tensor) -> Tensor:
    """To bfloat16, in float32: sums of products are rounded once, as in torch."""
    return x.to(bfloat16).to(float32)
