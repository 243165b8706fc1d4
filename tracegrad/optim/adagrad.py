"""Adagrad: steps divided by the root of the sum of all squared gradients so far."""

from __future__ import annotations

from typing import Any

from ..functions.torch.creation import full_like
from ..tracer.tensor.tensor import Tensor
from .optimizer import Group, exact, refuse_negative
from .rules import Rule, beside, descended, scalar


class Adagrad(Rule):
    """p -= lr / (1 + (step - 1) * lr_decay) * g / (sqrt(s) + eps), where s += g * g.

    Duchi et al. (2011). `foreach` is ignored; `fused` is explained at Optimizer; with
    `differentiable` autograd records the step.

    Raises ValueError for options out of range or no parameters.

    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.Adagrad([w], lr=0.1)
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9000, 1.9000], requires_grad=True)
    """

    def __init__(self, params: Any, lr: Any = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
                 initial_accumulator_value: float = 0, eps: float = 1e-10,
                 foreach: bool | None = None, *, maximize: bool = False,
                 differentiable: bool = False, fused: bool | None = None):
        for name, value in (
            ("learning rate", lr), ("lr_decay value", lr_decay),
            ("weight_decay value", weight_decay),
            ("initial_accumulator_value value", initial_accumulator_value),
            ("epsilon value", eps),
        ):
            refuse_negative(name, value)
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "fused": fused,
        })

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for p in group["params"]:
            for name, value in self.begin(p, group).items():
                self.state[p][name] = value

    def begin(self, p: Tensor, group: Group) -> dict[str, Tensor]:
        total = full_like(p.detach(), group["initial_accumulator_value"])
        return {"step": scalar(p), "sum": total}

    def update(self, p: Tensor, grad: Tensor, group: Group, lr: Any) -> None:
        state = self.state_of(p, group)
        grad = descended(p, grad, group, lr)
        total = state["sum"].add_(grad * grad)
        rate = lr / (1 + (exact(state["step"]) - 1) * group["lr_decay"])
        p.sub_(grad / (total.sqrt() + group["eps"]) * beside(p, rate))
