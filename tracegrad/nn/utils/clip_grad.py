"""Gradients kept from growing too large, between `backward()` and `optimizer.step()`.

`foreach` is taken and ignored. Tensors of one dtype on the CPU are worked on by NumPy directly: an
operation of theirs takes longer than its work on a small gradient. Everything that can fail comes
before the first gradient changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ...functions.arguments import numbers_fit
from ...functions.torch.creation import tensor
from ...functions.torch.reduction_statistics import vector_norm
from ...functions.torch.slicing_joining import stack
from ...ir.dtype import DType, float32, float64
from ...ir.ops.elementwise import minimum
from ...ir.ops.summation import squares
from ...ir.quiet import quietly
from ...tracer.mode import forward_mode, mode, no_grad, resolve
from ...tracer.tensor.inplace import refuse_unwritable
from ...tracer.tensor.tensor import Tensor, wrap

Tensors = Tensor | Iterable[Tensor]


def _several(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _gradients(parameters: Tensors) -> list[Tensor]:
    return [grad for p in _several(parameters) if (grad := p.grad) is not None]


def _dtype_of_arrays(tensors: list[Tensor]) -> DType | None:
    """The dtype of tensors that are no more than arrays of NumPy; None if some are."""
    if mode.trace is not None or forward_mode() or not tensors:
        return None
    dtype = tensors[0].dtype
    alike = all(
        type(t) is Tensor and type(t._array) is np.ndarray and t._dtype is dtype
        for t in tensors
    )
    return dtype if alike and dtype in (float32, float64) else None


def _lengths(arrays: list[np.ndarray]) -> np.ndarray:
    """The norm of each. The square of a single number might overflow."""
    norms = [abs(a.item()) if a.size == 1 else np.sqrt(squares(a)) for a in arrays]
    return np.array(norms, arrays[0].dtype)


def _change(tensors: list[Tensor], operation: Callable, *args: Any) -> None:
    """operation(array, *args, array) of the array of each tensor, in place."""
    tensors = [resolve(t) for t in tensors]
    for t in tensors:
        refuse_unwritable(t)
    for t in tensors:
        operation(t._array, *args, t._array)
        t._version[0] += 1


@no_grad()
def get_total_norm(tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False,
                   foreach: bool | None = None) -> Tensor:
    """The norm of all numbers of several tensors, as if they were one vector.

    Shape: any -> (). Raises RuntimeError for a norm that is not finite, if `error_if_nonfinite`.

    >>> nn.utils.get_total_norm([torch.tensor([3.0]), torch.tensor([4.0])])
    tensor(5.)
    """
    norm_type = float(norm_type)
    tensors = _several(tensors)
    if norm_type == 2 and (dtype := _dtype_of_arrays(tensors)) is not None:
        norms = wrap(quietly(_lengths, [resolve(t)._array for t in tensors]), dtype)
    elif tensors:
        of_each = [vector_norm(t, norm_type) for t in tensors]
        norms = stack([norm.to(of_each[0].device) for norm in of_each])
    total = vector_norm(norms, norm_type) if tensors else tensor(0.0)
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
    _scale(_gradients(parameters), max_norm, total_norm)


def _scale(grads: list[Tensor], max_norm: float, total_norm: Tensor) -> None:
    scale = minimum(max_norm / (total_norm + 1e-6), 1.0)
    if not scale.ndim and _dtype_of_arrays([*grads, scale]) is not None:
        quietly(_change, grads, np.multiply, scale._array)
        return
    for grad in grads:
        grad.mul_(scale.to(grad.device))


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
    grads = _gradients(parameters)
    total = get_total_norm(grads, norm_type, error_if_nonfinite)
    _scale(grads, max_norm, total)
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
    grads = _gradients(parameters)
    dtype = _dtype_of_arrays(grads)
    if dtype is None or not isinstance(clip_value, (int, float)):
        for grad in grads:
            grad.clamp_(-clip_value, clip_value)
        return
    numbers_fit(dtype, clip_value)
    low, high = (np.array(bound, dtype.storage) for bound in (-clip_value, clip_value))
    quietly(_change, grads, np.ndarray.clip, low, high)
