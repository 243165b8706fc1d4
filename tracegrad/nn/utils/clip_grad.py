"""Gradients kept from growing too large, between `backward()` and `optimizer.step()`.

`foreach` is taken and ignored.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...functions.torch.creation import tensor
from ...functions.torch.pointwise import clamp
from ...functions.torch.reduction_statistics import vector_norm
from ...functions.torch.slicing_joining import stack
from ...tracer.mode import no_grad
from ...tracer.tensor.tensor import Tensor

Tensors = Tensor | Iterable[Tensor]


def _several(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


@no_grad()
def get_total_norm(tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False,
                   foreach: bool | None = None) -> Tensor:
    """The norm of all numbers of several tensors, as if they were one vector.

    Shape: any -> (). Raises RuntimeError for a norm that is not finite, if `error_if_nonfinite`.

    >>> nn.utils.get_total_norm([torch.tensor([3.0]), torch.tensor([4.0])])
    tensor(5.)
    """
    norm_type = float(norm_type)
    norms = [vector_norm(t, norm_type) for t in _several(tensors)]
    total = vector_norm(stack(norms), norm_type) if norms else tensor(0.0)
    if error_if_nonfinite and not bool(total.isfinite()):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, "
            "so it cannot be clipped. To disable this error and scale the gradients by the "
            "non-finite norm anyway, set `error_if_nonfinite=False`"
        )
    return total


@no_grad()
def clip_grads_with_norm_(parameters: Tensors, max_norm: float, total_norm: Tensor,
                          foreach: bool | None = None) -> None:
    """Scale all gradients, in place, so that a norm of `total_norm` becomes at most `max_norm`.

    >>> w = torch.ones(2, requires_grad=True)
    >>> w.sum().backward()
    >>> nn.utils.clip_grads_with_norm_([w], 1.0, torch.tensor(2.0))
    >>> w.grad
    tensor([0.5000, 0.5000])
    """
    scale = clamp(max_norm / (total_norm + 1e-6), max=1.0)
    for p in _several(parameters):
        if p.grad is not None:
            p.grad.mul_(scale)


@no_grad()
def clip_grad_norm_(parameters: Tensors, max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False,
                    foreach: bool | None = None) -> Tensor:
    """Scale all gradients, in place, so that their norm is at most `max_norm`; returns what it was.

    Shape: any gradients -> (). Raises RuntimeError for a norm that is not finite, if
    `error_if_nonfinite`.

    >>> w = torch.tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w / 2).sum().backward()
    >>> nn.utils.clip_grad_norm_([w], 1.0), w.grad
    (tensor(5.), tensor([0.6000, 0.8000]))
    """
    parameters = _several(parameters)
    grads = [p.grad for p in parameters if p.grad is not None]
    total = get_total_norm(grads, norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


@no_grad()
def clip_grad_value_(
    parameters: Tensors, clip_value: float, foreach: bool | None = None
) -> None:
    """Cut all numbers of the gradients, in place, to [-clip_value, clip_value].

    Shape: any gradients. Raises nothing for parameters without a gradient.

    >>> w = torch.tensor([3.0, -4.0], requires_grad=True)
    >>> (w * w / 2).sum().backward()
    >>> nn.utils.clip_grad_value_([w], 3.5)
    >>> w.grad
    tensor([ 3.0000, -3.5000])
    """
    for p in _several(parameters):
        if p.grad is not None:
            p.grad.clamp_(-clip_value, clip_value)
