"""Rprop: a step for each number, longer while its gradient keeps its sign."""

from __future__ import annotations

from typing import Any

from ..functions.torch.creation import full_like, zeros_like
from ..ir.ops.elementwise import where
from ..tracer.tensor.tensor import Tensor
from .optimizer import Group, refuse_negative
from .rules import Rule, first_rate, scalar


class Rprop(Rule):
    """p -= s * sign(g), Riedmiller and Braun (1993).

    s begins at lr. It is multiplied by etas[1] where the gradient has the sign that it had, and by
    etas[0], without a step, where it has the other one; it stays within `step_sizes`. `foreach` and
    `capturable` are taken and ignored; with `differentiable` autograd records the step.

    Raises ValueError for options out of range or no parameters.

    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.Rprop([w], lr=0.1)
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9000, 1.9000], requires_grad=True)
    """

    def __init__(self, params: Any, lr: Any = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
                 step_sizes: tuple[float, float] = (1e-6, 50), *, capturable: bool = False,
                 foreach: bool | None = None, maximize: bool = False,
                 differentiable: bool = False):
        refuse_negative("learning rate", lr)
        if not 0 < etas[0] < 1 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(params, {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        })

    def begin(self, p: Tensor, group: Group) -> dict[str, Tensor]:
        sizes = full_like(p.detach(), first_rate(group))
        return {"step": scalar(p), "prev": zeros_like(p), "step_size": sizes}

    def update(self, p: Tensor, grad: Tensor, group: Group, lr: Any) -> None:
        (shrink, grow), state = group["etas"], self.state_of(p, group)
        if group["maximize"]:
            grad = -grad
        sign, sizes = (grad * state["prev"]).sign(), state["step_size"]
        factor = where(sign > 0, grow, where(sign < 0, shrink, where(sign == 0, 1.0, sign)))
        sizes.copy_((sizes * factor).clamp(*group["step_sizes"]))
        grad = where(sign < 0, 0.0, grad)
        p.sub_(grad.sign() * sizes)
        state["prev"].copy_(grad)
