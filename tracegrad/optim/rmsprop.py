"""RMSprop: steps divided by the root of a running average of the squared gradient."""

from __future__ import annotations

from typing import Any

from ..functions.torch.creation import zeros_like
from ..tracer.tensor.tensor import Tensor
from .optimizer import Group, refuse_negative
from .rules import Rule, beside, descended, scalar


class RMSprop(Rule):
    """p -= lr * g / (sqrt(v) + eps), where v = alpha * v + (1 - alpha) * g * g: Hinton's lectures.

    `centered` subtracts the square of the averaged gradient from v (Graves 2013); with momentum m
    the step is lr * b, b = m * b + g / (sqrt(v) + eps). `capturable` and `foreach` are
    taken and ignored; with `differentiable` autograd records the step.

    Raises ValueError for options out of range or no parameters.

    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.RMSprop([w], lr=0.01)
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9000, 1.9000], requires_grad=True)
    """

    def __init__(self, params: Any, lr: Any = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
                 weight_decay: float = 0, momentum: float = 0, centered: bool = False,
                 capturable: bool = False, foreach: bool | None = None, maximize: bool = False,
                 differentiable: bool = False):
        for name, value in (("learning rate", lr), ("epsilon value", eps),
                            ("momentum value", momentum), ("weight_decay value", weight_decay),
                            ("alpha value", alpha)):
            refuse_negative(name, value)
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable,
        })

    def begin(self, p: Tensor, group: Group) -> dict[str, Tensor]:
        names = ["square_avg"]
        if group["momentum"] > 0:
            names.append("momentum_buffer")
        if group["centered"]:
            names.append("grad_avg")
        return {"step": scalar(p), **{name: zeros_like(p) for name in names}}

    def update(self, p: Tensor, grad: Tensor, group: Group, lr: Any) -> None:
        alpha, state = group["alpha"], self.state_of(p, group)
        grad = descended(p, grad, group, lr)
        square = state["square_avg"].mul_(alpha).add_(grad * grad * (1 - alpha))
        if group["centered"]:
            mean = state["grad_avg"]
            mean.add_((grad - mean) * (1 - alpha))
            square = square - mean * mean
        step = grad / (square.sqrt() + group["eps"])
        if group["momentum"] > 0:
            step = state["momentum_buffer"].mul_(group["momentum"]).add_(step)
        p.sub_(step * beside(step, lr))
