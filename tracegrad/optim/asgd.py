"""Averaged stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from ..functions.torch.creation import zeros_like
from ..ir.ops.elementwise import where
from ..tracer.tensor.tensor import Tensor
from .optimizer import Group, exact, refuse_negative
from .rules import Rule, beside, descended, first_rate, greater, scalar


class ASGD(Rule):
    """p = (1 - lambd * eta) * p - eta * g, where eta = lr / (1 + lambd * lr * step) ** alpha.

    The state "ax" averages p over the steps after t0. Polyak and Juditsky (1992), with the rate of
    Bottou (2012). `foreach` and `capturable` are taken and ignored; with `differentiable` autograd
    records the step.

    Raises ValueError for options out of range or no parameters.

    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.ASGD([w], lr=0.1)
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9000, 1.9000], requires_grad=True)
    """

    numbers = ("step", "eta", "mu")

    def __init__(self, params: Any, lr: Any = 1e-2, lambd: float = 1e-4, alpha: float = 0.75,
                 t0: float = 1e6, weight_decay: float = 0, foreach: bool | None = None,
                 maximize: bool = False, differentiable: bool = False, capturable: bool = False):
        refuse_negative("learning rate", lr)
        refuse_negative("weight_decay value", weight_decay)
        super().__init__(params, {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
            "capturable": capturable,
        })

    def begin(self, p: Tensor, group: Group) -> dict[str, Tensor]:
        eta = scalar(p, first_rate(group))
        return {"step": scalar(p), "eta": eta, "mu": scalar(p, 1.0), "ax": zeros_like(p)}

    def update(self, p: Tensor, grad: Tensor, group: Group, lr: Any) -> None:
        lambd, state = group["lambd"], self.state_of(p, group)
        step, eta, mean, weight = exact(state["step"]), state["eta"], state["ax"], state["mu"]
        grad = descended(p, grad, group, lr)
        rate = exact(eta)
        p.mul_(beside(p, 1 - lambd * rate)).sub_(grad * beside(grad, rate))
        mean.copy_(where(weight == 1, p, mean + (p - mean) * weight))
        eta.copy_(scalar(p, lr / (1 + lambd * lr * beside(lr, step)) ** group["alpha"]))
        weight.copy_(scalar(p, 1 / greater(step - group["t0"], 1.0)))
