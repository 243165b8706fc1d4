"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

import math
from typing import Any

from ..functions.torch.creation import full_like, zeros_like
from ..ir.ops.elementwise import isnan, where
from ..tracer.tensor.tensor import Tensor
from .optimizer import Group, Optimizer, outside, refuse_negative
from .rules import beside, descended


class SGD(Optimizer):
    """p -= lr * g; with momentum m, p -= lr * b where b = m * b + (1 - dampening) * g.

    weight_decay w adds w * p to g; nesterov steps along g + m * b; maximize climbs. The momentum is
    that of Sutskever et al. (2013), the formulas are those of torch's documentation. `foreach`
    is ignored; `fused` is explained at Optimizer; with `differentiable` autograd records the step.
    Raises ValueError for options out of range or no parameters.

    >>> model, x, y = nn.Linear(2, 1), torch.ones(3, 2), torch.zeros(3, 1)
    >>> optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> before = F.mse_loss(model(x), y)
    >>> before.backward()
    >>> optimizer.step()
    >>> optimizer.zero_grad()
    >>> bool(F.mse_loss(model(x), y) < before)
    True
    """

    def __init__(self, params: Any, lr: Any = 1e-3, momentum: float = 0, dampening: float = 0,
                 weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False,
                 foreach: bool | None = None, differentiable: bool = False,
                 fused: bool | None = None):
        refuse_negative("learning rate", lr)
        refuse_negative("momentum value", momentum)
        refuse_negative("weight_decay value", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize, "foreach": foreach,
            "differentiable": differentiable, "fused": fused,
        })

    def update(self, p: Tensor, grad: Tensor, group: Group, lr: Any) -> None:
        grad = descended(p, grad, group, lr)
        if group["momentum"] != 0:
            buffer = self._averaged(p, grad, group["momentum"], group["dampening"])
            grad = grad + buffer * group["momentum"] if group["nesterov"] else buffer
        p.sub_(grad * beside(grad, lr))

    def _averaged(self, p: Tensor, grad: Tensor, momentum: float, dampening: float) -> Tensor:
        state = self.state[p]
        buffer = state.get("momentum_buffer")
        if buffer is None:  # begins so that the first step is like the others
            with outside():
                buffer = full_like(p, math.nan) if dampening else zeros_like(p)
                state["momentum_buffer"] = buffer
        if not dampening:
            return buffer.mul_(momentum).add_(grad)
        # NaN says that there was no step yet: the first gradient counts in full. (A buffer that is
        # NaN later has a parameter that is NaN too.)
        later = buffer * momentum + grad * (1 - dampening)
        return buffer.copy_(where(isnan(buffer), grad, later))
