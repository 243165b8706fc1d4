"""SparseAdam: named here, as there are no sparse gradients."""

from __future__ import annotations

from typing import Any

from ..tracer.tensor.tensor import Tensor
from .optimizer import Group, Optimizer
from .rules import refuse_betas


class SparseAdam(Optimizer):
    """Adam for sparse gradients, which do not exist here: a step with a gradient is refused.

    Raises ValueError for options out of range or no parameters; RuntimeError for dense gradients.

    >>> w = torch.ones(2, requires_grad=True)
    >>> optimizer = optim.SparseAdam([w])
    >>> w.sum().backward()
    >>> optimizer.step()
    Traceback (most recent call last):
      ...
    RuntimeError: SparseAdam does not support dense gradients, please consider Adam instead
    """

    def __init__(self, params: Any, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, maximize: bool = False):
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for name, value in (("learning rate", lr), ("epsilon value", eps)):
            if not value > 0:
                raise ValueError(f"Invalid {name}: {value}")
        refuse_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})

    def update(self, p: Tensor, grad: Tensor, group: Group, lr: Any) -> None:
        raise RuntimeError(
            "SparseAdam does not support dense gradients, please consider Adam instead"
        )
