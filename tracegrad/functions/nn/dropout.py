"""Noise that keeps a network from leaning on single features. The noise is a function of a counter,
so a compiled program draws it where it is used, and again in backward, and stores none.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ...ir.ops.elementwise import ge, where
from ...tracer.autograd.graph import composite
from ...tracer.autograd.sketches import warn
from ...tracer.tensor.inplace import apply_inplace
from ...tracer.tensor.promotion import SCALAR_TYPE
from ...tracer.tensor.tensor import Tensor
from ..torch.creation import lying_as
from ..torch.random_sampling import uniform, wide
from ..torch.shape import squeeze, unsqueeze

__all__ = [
    "alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout",
]

_ALPHA = 1.0507009873554805 * 1.6732632423543772  # what selu tends to for negative numbers


def _kept(x: Tensor, p: float, features: bool) -> Tensor:
    """True with probability 1 - p; of `features`, one for all of a channel."""
    if features and x.ndim < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    shape = (*x.shape[:2], *(1,) * (x.ndim - 2)) if features else tuple(x.shape)
    return ge(uniform(shape, wide(x.dtype), None), p)


@composite("MulBackward0")
def _dropped(x: Tensor, p: float, features: bool = False) -> Tensor:
    if p == 1:
        return x * 0
    return lying_as(where(_kept(x, p, features), x * (1 / (1 - p)), 0), x)


@composite("AddBackward0")
def _alpha_dropped(x: Tensor, p: float, features: bool = False) -> Tensor:
    if p == 1:
        return x * 0
    a = 1 / math.sqrt((_ALPHA**2 * p + 1) * (1 - p))
    shift = _ALPHA * a * p
    return where(_kept(x, p, features), x * a + shift, shift - _ALPHA * a)


def _applied(function: Callable, x: Tensor, p: float, training: bool, inplace: bool,
             features: bool = False) -> Tensor:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or p == 0 or x.numel() == 0:
        return x
    if not x.is_floating_point():
        raise RuntimeError(
            f"result type Float can't be cast to the desired output type {SCALAR_TYPE[x.dtype]}"
        )
    return apply_inplace(x, function, p, features) if inplace else function(x, p, features)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """While training, zero with probability p, and what is kept grows by 1 / (1 - p).

    Shape: (*) -> (*). Dtype: that of input, which must be floating point while training.
    Raises ValueError for p outside [0, 1]; RuntimeError for integers while training.

    >>> x = torch.ones(1000)
    >>> F.dropout(x, p=0.5).unique()
    tensor([0., 2.])
    """
    return _applied(_dropped, input, p, training, inplace)


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Dropout to the value that selu tends to, which keeps mean and variance.

    Klambauer et al. (2017), appendix on alpha dropout.
    Shape: (*) -> (*). Dtype: that of input, which must be floating point while training.
    Raises ValueError for p outside [0, 1].

    >>> x = torch.ones(2, 3)
    >>> F.alpha_dropout(x, p=0.5).shape
    tracegrad.Size([2, 3])
    """
    return _applied(_alpha_dropped, input, p, training, inplace)


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """`alpha_dropout` of whole channels.

    Shape: (N, C, *) -> (N, C, *). Dtype: that of input, which must be floating point while
    training.
    Raises ValueError for p outside [0, 1].

    >>> x = torch.ones(2, 3, 4)
    >>> F.feature_alpha_dropout(x, p=0.5).shape
    tracegrad.Size([2, 3, 4])
    """
    return _applied(_alpha_dropped, input, p, training, inplace, True)


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Dropout of whole channels of (N, C, L) or (C, L).

    Shape: (N, C, L) or (C, L) -> the same. Dtype: that of input, floating point while training.
    Raises ValueError for p outside [0, 1]; RuntimeError for other ranks.

    >>> x = torch.ones(2, 3, 4)
    >>> F.dropout1d(x, p=0.5).shape
    tracegrad.Size([2, 3, 4])
    """
    if input.ndim not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.ndim}D input. Note that "
            "dropout1d exists to provide channel-wise dropout on inputs with 1 spatial dimension, "
            "a channel dimension, and an optional batch dimension (i.e. 2D or 3D inputs)."
        )
    return _channels(input, p, training, inplace, input.ndim == 2)


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Dropout of whole channels of (N, C, H, W); a 3-d input is (N, C, L).

    Shape: (N, C, H, W) -> the same. Dtype: that of input, floating point while training.
    Raises ValueError for p outside [0, 1].

    >>> x = torch.ones(2, 3, 4, 4)
    >>> F.dropout2d(x, p=0.5).shape
    tracegrad.Size([2, 3, 4, 4])
    """
    if input.ndim not in (3, 4):
        warn(
            f"dropout2d: Received a {input.ndim}-D input to dropout2d, which is deprecated",
            stacklevel=2,
        )
    return _channels(input, p, training, inplace, False)


def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Dropout of whole channels of (N, C, D, H, W) or (C, D, H, W).

    Shape: (N, C, D, H, W) or (C, D, H, W) -> the same. Dtype: that of input, floating point while
    training. Raises ValueError for p outside [0, 1].

    >>> x = torch.ones(2, 3, 4, 4, 4)
    >>> F.dropout3d(x, p=0.5).shape
    tracegrad.Size([2, 3, 4, 4, 4])
    """
    if input.ndim not in (4, 5):
        warn(
            f"dropout3d: Received a {input.ndim}-D input to dropout3d, which is deprecated",
            stacklevel=2,
        )
    return _channels(input, p, training, inplace, input.ndim == 4)


def _channels(x: Tensor, p: float, training: bool, inplace: bool, single: bool) -> Tensor:
    if single and inplace:
        _channels(unsqueeze(x, 0), p, training, True, False)
        return x
    if single:
        return squeeze(_applied(_dropped, unsqueeze(x, 0), p, training, False, True), 0)
    return _applied(_dropped, x, p, training, inplace, True)
