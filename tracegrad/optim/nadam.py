"""NAdam: Adam with Nesterov's momentum."""

from __future__ import annotations

from typing import Any

from ..functions.torch.creation import zeros_like
from ..tracer.tensor.tensor import Tensor
from .optimizer import Group, exact, refuse_negative
from .rules import Rule, beside, descended, refuse_betas, scalar


class NAdam(Rule):
    """Adam that steps along the gradient and the next momentum. Dozat (2016).

    The momentum of a step is mu = beta1 * (1 - 0.96 ** (step * momentum_decay) / 2). weight_decay w
    adds w * p to g or, if decoupled, shrinks p by lr * w first. `foreach` and `capturable` are
    taken and ignored; with `differentiable` autograd records the step.

    Raises ValueError for options out of range or no parameters.

    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.NAdam([w], lr=0.1)
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.8939, 1.8939], requires_grad=True)
    """

    numbers = ("step", "mu_product")

    def __init__(self, params: Any, lr: Any = 2e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0, momentum_decay: float = 4e-3,
                 decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
                 maximize: bool = False, capturable: bool = False, differentiable: bool = False):
        refuse_negative("learning rate", lr)
        refuse_negative("epsilon value", eps)
        refuse_betas(betas)
        refuse_negative("weight_decay value", weight_decay)
        refuse_negative("momentum_decay value", momentum_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable,
        })

    def begin(self, p: Tensor, group: Group) -> dict[str, Tensor]:
        averages = {name: zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
        return {"step": scalar(p), "mu_product": scalar(p, 1.0), **averages}

    def update(self, p: Tensor, grad: Tensor, group: Group, lr: Any) -> None:
        (beta1, beta2), state = group["betas"], self.state_of(p, group)
        step, product = exact(state["step"]), state["mu_product"]
        grad = descended(p, grad, group, lr)
        now, then = (
            beta1 * (1 - 0.5 * 0.96 ** (t * group["momentum_decay"])) for t in (step, step + 1)
        )
        product = exact(product.mul_(beside(product, now)))
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.add_((grad - mean) * (1 - beta1))
        square.mul_(beta2).add_(grad * grad * (1 - beta2))
        along = lr * beside(lr, 1 - now) / beside(lr, 1 - product)
        ahead = lr * beside(lr, then) / beside(lr, 1 - product * then)
        root = (square / beside(square, 1 - beta2**step)).sqrt() + group["eps"]
        p.sub_((grad * beside(grad, along) + mean * beside(mean, ahead)) / root)
