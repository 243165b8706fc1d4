"""Adamax: Adam with the greatest of the last gradients in place of their mean square."""

from __future__ import annotations

from typing import Any

from ..functions.torch.creation import zeros_like
from ..ir.ops.elementwise import maximum
from ..tracer.tensor.tensor import Tensor
from .optimizer import Group, exact, refuse_negative
from .rules import Rule, beside, descended, refuse_betas, scalar


class Adamax(Rule):
    """p -= lr / (1 - beta1 ** step) * m / u, Kingma and Ba (2014), section 7.1.

    m is a running average of g by beta1; u = max(beta2 * u, |g| + eps). `foreach` and `capturable`
    are taken and ignored; with `differentiable` autograd records the step.

    Raises ValueError for options out of range or no parameters.

    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.Adamax([w], lr=0.1)
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9000, 1.9000], requires_grad=True)
    """

    def __init__(self, params: Any, lr: Any = 2e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0, foreach: bool | None = None, *,
                 maximize: bool = False, differentiable: bool = False, capturable: bool = False):
        refuse_negative("learning rate", lr)
        refuse_negative("epsilon value", eps)
        refuse_betas(betas)
        refuse_negative("weight_decay value", weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        })

    def begin(self, p: Tensor, group: Group) -> dict[str, Tensor]:
        return {"step": scalar(p), "exp_avg": zeros_like(p), "exp_inf": zeros_like(p)}

    def update(self, p: Tensor, grad: Tensor, group: Group, lr: Any) -> None:
        (beta1, beta2), state = group["betas"], self.state_of(p, group)
        grad = descended(p, grad, group, lr)
        mean, greatest = state["exp_avg"], state["exp_inf"]
        mean.add_((grad - mean) * (1 - beta1))
        greatest.copy_(maximum(greatest * beta2, grad.abs() + group["eps"]))
        rate = lr / beside(lr, 1 - beta1 ** exact(state["step"]))
        p.sub_(mean / greatest * beside(mean, rate))
