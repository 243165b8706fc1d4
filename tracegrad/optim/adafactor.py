"""Adafactor: the squares of a matrix of gradients are kept as one row and one column."""

from __future__ import annotations

from typing import Any

from ..functions.torch.creation import zeros_like
from ..functions.torch.tensors import finfo
from ..tracer.tensor.tensor import Tensor
from .optimizer import Group, exact
from .rules import Rule, greater, refuse_below_zero, scalar


class Adafactor(Rule):
    """Steps divided by the root of averaged squares, factored for matrices: Shazeer, Stern (2018).

    The averages take step ** beta2_decay of the new squares. A step is as large as eps[1], or the
    root mean square of p, times min(lr, 1 / sqrt(step)); its own root mean square is at most d.
    weight_decay shrinks p by lr * weight_decay first. `foreach` is taken and ignored.

    Raises ValueError for options out of range or no parameters.

    >>> w = torch.tensor([1.0, 1.0], requires_grad=True)
    >>> optimizer = optim.Adafactor([w], lr=0.1)
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([0.9000, 0.9000], requires_grad=True)
    """

    def __init__(self, params: Any, lr: Any = 1e-2, beta2_decay: float = -0.8,
                 eps: tuple[float | None, float] = (None, 1e-3), d: float = 1.0,
                 weight_decay: float = 0.0, *, foreach: bool | None = None,
                 maximize: bool = False):
        refuse_below_zero({"Learning rate": lr})
        if not beta2_decay <= 0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        refuse_below_zero({"epsilon1": 0 if eps[0] is None else eps[0], "epsilon2": eps[1]})
        if not d >= 1:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        refuse_below_zero({"weight_decay": weight_decay})
        super().__init__(params, {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d,
            "weight_decay": weight_decay, "foreach": foreach, "maximize": maximize,
        })

    def begin(self, p: Tensor, group: Group) -> dict[str, Tensor]:
        if p.ndim < 2:
            return {"step": scalar(p), "variance": zeros_like(p)}
        row, column = (*p.shape[:-1], 1), (*p.shape[:-2], 1, p.shape[-1])
        return {
            "step": scalar(p), "row_var": p.new_zeros(row), "col_var": p.new_zeros(column)
        }

    def update(self, p: Tensor, grad: Tensor, group: Group, lr: Any) -> None:
        (low, lowest), state = group["eps"], self.state_of(p, group)
        low = finfo(p.dtype).eps if low is None else low
        step, decay, count = exact(state["step"]), group["weight_decay"], p.numel() ** 0.5
        rate = -greater(-(step**-0.5), -lr)  # the lesser
        size = greater(exact(p.norm(2)) / count, lowest) * rate
        if decay != 0:
            p.mul_(1 - lr * decay)
        grad = -grad if group["maximize"] else grad
        update = grad * _variance(state, grad * grad, step ** group["beta2_decay"], low).rsqrt()
        p.sub_(update * (size / greater(exact(update.norm(2)) / (count * group["d"]), 1.0)))


def _variance(state: dict[str, Tensor], square: Tensor, weight: Any, low: float) -> Tensor:
    """The averaged squares, after these: the product of a column and a row for a matrix."""
    means = {"variance": square}
    if square.ndim > 1:
        means = {"row_var": square.mean(-1, keepdim=True), "col_var": square.mean(-2, keepdim=True)}
    for name, mean in means.items():
        state[name].add_((mean - state[name]) * weight)
    if square.ndim < 2:
        return state["variance"].clamp(min=low * low)
    row, column = state["row_var"], state["col_var"]
    return (row * column / row.mean(-2, keepdim=True).clamp(min=low)).clamp(min=low * low)
