"""Activations over a dimension, whose answers sum to 1."""

from __future__ import annotations

import warnings
from typing import Any

from ...ir.ops import elementwise as ops
from ...ir.ops.elementwise import log, log1p
from ...tracer.tensor.tensor import Tensor
from ..torch import reduction
from ..torch.creation import zeros_like
from ..torch.random_sampling import rand_like
from ..torch.tensors import finfo

__all__ = ["gumbel_softmax", "log_softmax", "softmax", "softmin"]


def _implicit_dim(input: Tensor, name: str) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include "
        "dim=X as an argument.",
        stacklevel=4,
    )
    return 0 if input.ndim in (0, 1, 3) else 1


def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """exp(x) divided by its sum along `dim`.

    Shape: (*) -> (*). Dtype: that of input, which must be floating point, or `dtype`.
    Raises IndexError for a dimension out of range; NotImplementedError for integers.

    >>> x = torch.tensor([0.0, 1.0, 1.0])
    >>> F.softmax(x, dim=0)
    tensor([0.1554, 0.4223, 0.4223])
    """
    d = _implicit_dim(input, "softmax") if dim is None else dim
    return reduction.softmax(input, d, dtype)


def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """The softmax of -x.

    Shape: (*) -> (*). Dtype: that of input, which must be floating point, or `dtype`.
    Raises IndexError for a dimension out of range; NotImplementedError for integers.

    >>> x = torch.tensor([0.0, 1.0, 1.0])
    >>> F.softmin(x, dim=0)
    tensor([0.5761, 0.2119, 0.2119])
    """
    d = _implicit_dim(input, "softmin") if dim is None else dim
    return reduction.softmax(-input, d, dtype)


def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """The logarithm of `softmax`, without overflow.

    Shape: (*) -> (*). Dtype: that of input, which must be floating point, or `dtype`.
    Raises IndexError for a dimension out of range; NotImplementedError for integers.

    >>> x = torch.tensor([0.0, 1.0, 1.0])
    >>> F.log_softmax(x, dim=0)
    tensor([-1.8620, -0.8620, -0.8620])
    """
    d = _implicit_dim(input, "log_softmax") if dim is None else dim
    return reduction.log_softmax(input, d, dtype)


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """The softmax of (logits + Gumbel noise) / tau, a draw of one class made differentiable.

    With `hard` the answer is one-hot and its gradient that of the soft one. Jang et al. (2016).

    Shape: (*) -> (*). Dtype: that of logits. Raises IndexError for a dimension out of range.

    >>> logits = torch.tensor([0.0, 1.0])
    >>> F.gumbel_softmax(logits, hard=True).sum()
    tensor(1.)
    """
    exponential = ops.maximum(-log1p(-rand_like(logits)), finfo(logits.dtype).tiny)
    soft = reduction.softmax((logits - log(exponential)) / tau, dim)
    if not hard:
        return soft
    index = reduction.argmax(soft, dim, keepdim=True)
    return zeros_like(soft).scatter(dim, index, 1.0) - soft.detach() + soft
