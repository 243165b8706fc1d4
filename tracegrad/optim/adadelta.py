"""Adadelta: steps as large as the last steps were, against the last gradients."""

from __future__ import annotations

from typing import Any

from ..functions.torch.creation import zeros_like
from ..tracer.tensor.tensor import Tensor
from .optimizer import Group, refuse_negative
from .rules import Rule, beside, descended, scalar


class Adadelta(Rule):
    """p -= lr * d, where d = g * sqrt(u + eps) / sqrt(v + eps): Zeiler (2012).

    v is a running average of g * g and u, one of d * d, both by rho. `foreach` and `capturable` are
    taken and ignored; with `differentiable` autograd records the step.

    Raises ValueError for options out of range or no parameters.

    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.Adadelta([w])
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9968, 1.9968], requires_grad=True)
    """

    def __init__(self, params: Any, lr: Any = 1.0, rho: float = 0.9, eps: float = 1e-6,
                 weight_decay: float = 0, foreach: bool | None = None, *,
                 capturable: bool = False, maximize: bool = False, differentiable: bool = False):
        refuse_negative("learning rate", lr)
        if not 0 <= rho <= 1:
            raise ValueError(f"Invalid rho value: {rho}")
        refuse_negative("epsilon value", eps)
        refuse_negative("weight_decay value", weight_decay)
        super().__init__(params, {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable,
        })

    def begin(self, p: Tensor, group: Group) -> dict[str, Tensor]:
        return {"step": scalar(p), "square_avg": zeros_like(p), "acc_delta": zeros_like(p)}

    def update(self, p: Tensor, grad: Tensor, group: Group, lr: Any) -> None:
        rho, eps, state = group["rho"], group["eps"], self.state_of(p, group)
        grad = descended(p, grad, group, lr)
        square = state["square_avg"].mul_(rho).add_(grad * grad * (1 - rho))
        step = (state["acc_delta"] + eps).sqrt() / (square + eps).sqrt() * grad
        state["acc_delta"].mul_(rho).add_(step * step * (1 - rho))
        p.sub_(step * beside(step, lr))
