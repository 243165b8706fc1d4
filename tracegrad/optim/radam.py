"""RAdam: Adam that divides by the squared gradients once their average can be trusted."""

from __future__ import annotations

from typing import Any

from ..functions.torch.creation import zeros_like
from ..ir.ops.elementwise import where
from ..tracer.tensor.tensor import Tensor
from .optimizer import Group, exact, refuse_negative
from .rules import Rule, beside, descended, refuse_betas, root, scalar


class RAdam(Rule):
    """Adam without its denominator in the first steps, then with a rectified one. Liu et al. (2019)

    weight_decay w adds w * p to g or, if decoupled, shrinks p by lr * w first. `foreach` and
    `capturable` are taken and ignored; with `differentiable` autograd records the step.

    Raises ValueError for options out of range or no parameters.

    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.RAdam([w], lr=0.1)
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9000, 1.9000], requires_grad=True)
    """

    def __init__(self, params: Any, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0, decoupled_weight_decay: bool = False,
                 *, foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
                 differentiable: bool = False):
        refuse_negative("learning rate", lr)
        refuse_negative("epsilon value", eps)
        refuse_betas(betas)
        refuse_negative("weight_decay value", weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay, "differentiable": differentiable,
        })

    def begin(self, p: Tensor, group: Group) -> dict[str, Tensor]:
        return {"step": scalar(p), "exp_avg": zeros_like(p), "exp_avg_sq": zeros_like(p)}

    def update(self, p: Tensor, grad: Tensor, group: Group, lr: Any) -> None:
        (beta1, beta2), state = group["betas"], self.state_of(p, group)
        step, mean, square = exact(state["step"]), state["exp_avg"], state["exp_avg_sq"]
        grad = descended(p, grad, group, lr)
        mean.add_((grad - mean) * (1 - beta1))
        square.mul_(beta2).add_(grad * grad * (1 - beta2))
        bias = 1 - beta2**step
        most = 2 / (1 - beta2) - 1
        length = most - 2 * step * beta2**step / bias  # steps that the average of squares spans

        def adapted() -> Tensor:
            variance = (length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)
            return beside(square, root(variance * bias)) / (square.sqrt() + group["eps"])

        scale: Any = 1.0
        if isinstance(length, Tensor):
            scale = where(length > 5, adapted(), 1.0)
        elif length > 5:
            scale = adapted()
        p.sub_(mean / beside(mean, 1 - beta1**step) * beside(mean, lr) * scale)
