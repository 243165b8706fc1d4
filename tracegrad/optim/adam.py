"""Adam and AdamW: steps scaled by running averages of the gradient and of its square."""

from __future__ import annotations

from typing import Any

from ..functions.torch.creation import zeros_like
from ..ir.ops.elementwise import maximum
from ..tracer.tensor.tensor import Tensor
from .optimizer import Group, exact, refuse_negative
from .rules import Rule, beside, descended, refuse_betas, root, scalar


class Adam(Rule):
    """p -= lr * m_hat / (sqrt(v_hat) + eps), Kingma and Ba (2014).

    m and v are running averages of g and g * g, by beta1 and beta2; a hat divides by
    1 - beta ** step.
    weight_decay w adds w * p to g or, if decoupled, shrinks p by lr * w first. amsgrad takes the
    greatest v so far (Reddi et al. 2018). `foreach` and `capturable` are ignored;
    `fused` is explained at Optimizer; with `differentiable` autograd records the step.
    Raises ValueError for options out of range or no parameters.

    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.Adam([w], lr=0.1)
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9000, 1.9000], requires_grad=True)
    """

    def __init__(self, params: Any, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0, amsgrad: bool = False, *,
                 foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
                 differentiable: bool = False, fused: bool | None = None,
                 decoupled_weight_decay: bool = False):
        refuse_negative("learning rate", lr)
        if isinstance(lr, Tensor) and foreach and not capturable:
            raise ValueError(
                "lr as a Tensor is not supported for capturable=False and foreach=True"
            )
        refuse_negative("epsilon value", eps)
        refuse_betas(betas)
        refuse_negative("weight_decay value", weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        })

    def begin(self, p: Tensor, group: Group) -> dict[str, Tensor]:
        names = ("exp_avg", "exp_avg_sq", *["max_exp_avg_sq"] * bool(group["amsgrad"]))
        return {"step": scalar(p), **{name: zeros_like(p) for name in names}}

    def update(self, p: Tensor, grad: Tensor, group: Group, lr: Any) -> None:
        (beta1, beta2), state = group["betas"], self.state_of(p, group)
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        step = exact(state["step"])  # 1 - beta ** step cancels
        grad = descended(p, grad, group, lr)
        mean.add_((grad - mean) * (1 - beta1))
        square.mul_(beta2).add_(grad * grad * (1 - beta2))
        if group["amsgrad"]:
            square = state["max_exp_avg_sq"].copy_(maximum(state["max_exp_avg_sq"], square))
        scale = beside(square, root(1 - beta2**step))
        rate = lr / beside(lr, 1 - beta1**step)
        p.sub_(mean * beside(mean, rate) / (square.sqrt() / scale + group["eps"]))


class AdamW(Adam):
    """Adam with decoupled weight decay, by default 0.01. Loshchilov and Hutter (2017).

    Raises ValueError for options out of range or no parameters.

    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = optim.AdamW([w], lr=0.1)
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.8990, 1.8980], requires_grad=True)
    """

    def __init__(self, params: Any, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 1e-2, amsgrad: bool = False, *,
                 maximize: bool = False, foreach: bool | None = None, capturable: bool = False,
                 differentiable: bool = False, fused: bool | None = None):
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
            capturable=capturable, differentiable=differentiable, fused=fused,
            decoupled_weight_decay=True,
        )
