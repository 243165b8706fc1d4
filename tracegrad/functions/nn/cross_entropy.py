"""Losses of classes, told by number or by probabilities.

The class that a target names is picked by comparison with 0, 1, 2, ... and a sum, not by a gather:
so it fuses, and so does its gradient.
"""

from __future__ import annotations

import math
from typing import Any

from ...ir.dtype import int32, int64, uint8
from ...ir.ops.elementwise import check_label, ge, where
from ...tracer.autograd.graph import composite
from ...tracer.tensor.promotion import SCALAR_TYPE
from ...tracer.tensor.tensor import Size, Tensor
from ..math.reduction import one_hot_pick
from ..math.scaled_operands import floats_only
from ..math.softmax_family import log_softmax
from ..tensors.shape import reshape, unsqueeze
from .loss import legacy, reduced

__all__ = ["cross_entropy", "nll_loss"]


def _labels(target: Tensor, classes: int, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Which targets count, and the targets, with -1 for the others. IndexError: one out of
    range.
    """
    if target.dtype not in (int64, uint8):
        raise RuntimeError(
            f"expected target dtype to be Long or Byte, but got {SCALAR_TYPE[target.dtype]}"
        )
    label = check_label(target.to(int64), size=classes, ignore=ignore_index, dtype=int32)
    return ge(label, 0), label


def _class_dim(input: Tensor, target: Tensor, weight: Tensor | None) -> int:
    """The dimension of the classes, if the shapes fit: (C) and (), or (N, C, *) and (N, *)."""
    if input.ndim == 0:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    dim = 0 if input.ndim == 1 else 1
    if dim and input.shape[0] != target.shape[:1].numel():
        found = target.shape[0] if target.ndim else 1
        if input.shape[0] != found:
            raise ValueError(
                f"Expected input batch_size ({input.shape[0]}) to match target batch_size "
                f"({found})."
            )
    wanted = Size((*input.shape[:dim], *input.shape[dim + 1 :]))
    if target.shape != wanted:
        if input.ndim <= 2 and target.ndim > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        raise RuntimeError(f"Expected target size {list(wanted)}, got {list(target.shape)}")
    classes = input.shape[dim]
    if weight is not None and weight.shape != (classes,):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but "
            f"got weight tensor of shape: {list(weight.shape)}"
        )
    return dim


def _along(weight: Tensor, ndim: int, dim: int) -> Tensor:
    return reshape(weight, tuple(-1 if d == dim else 1 for d in range(ndim)))


def _nll(
    logp: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str
) -> Tensor:
    dim = _class_dim(logp, target, weight)
    counts, label = _labels(target, logp.shape[dim], ignore_index)
    label = unsqueeze(label, dim)
    loss = one_hot_pick(-logp, label, dim)  # 0 where the label names no class
    scale: Any = counts.to(logp.dtype)
    if weight is not None:
        scale = one_hot_pick(_along(weight, logp.ndim, dim), label, dim)
        loss = loss * scale
    if reduction != "mean":
        return reduced(loss, reduction)
    return loss.sum() / scale.sum()


_NLL = composite("NllLossBackward0")(_nll)
_NLL2D = composite("NllLoss2DBackward0")(_nll)


def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None,
             size_average: bool | None = None, ignore_index: int = -100, reduce: bool | None = None,
             reduction: str = "mean") -> Tensor:
    """-weight[target] * input[target], reduced; the mean is weighted.

    input (N, C, *) of log-probabilities, target (N, *) of class numbers; or (C) and (). Targets
    equal to `ignore_index` do not count; another one out of range is an IndexError.

    Shape: (N, C, *), (N, *) -> (), or (N, *) with reduction 'none'. Dtype: that of input; labels
    int64 or uint8.
    Raises IndexError for a label out of range; RuntimeError or ValueError if the shapes do not fit.

    >>> x, y = torch.tensor([[-0.5, -1.0], [-2.0, -0.1]]), torch.tensor([0, 1])
    >>> F.nll_loss(x, y)
    tensor(0.3000)
    """
    reduction = legacy(size_average, reduce, reduction)
    floats_only("nll_loss_out_frame", input)
    return (_NLL if input.ndim <= 2 else _NLL2D)(input, target, weight, ignore_index, reduction)


def cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None,
                  size_average: bool | None = None, ignore_index: int = -100,
                  reduce: bool | None = None, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Tensor:
    """nll_loss(log_softmax(input), target), for scores that are not yet probabilities.

    target: class numbers as in `nll_loss`, or probabilities in the shape of input. With
    `label_smoothing` e the aim is (1 - e) * target + e / C. Szegedy et al. (2015).

    Shape: (N, C, *), (N, *) or (N, C, *) -> (), or (N, *) with reduction 'none'.
    Dtype: that of input, which must be floating point; class numbers int64 or uint8.
    Raises IndexError for a label out of range; ValueError or RuntimeError if the shapes do not fit.

    >>> x, y = torch.zeros(3, 4), torch.tensor([0, 1, 3])
    >>> F.cross_entropy(x, y)
    tensor(1.3863)
    """
    reduction = legacy(size_average, reduce, reduction)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if input.ndim == 0:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    dim = 0 if input.ndim == 1 else 1
    if input.shape == target.shape:
        if not target.is_floating_point():
            raise RuntimeError(
                "Expected floating point type for target with class probabilities, got "
                f"{SCALAR_TYPE[target.dtype]}"
            )
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        return _probabilities(log_softmax(input, dim), target, weight, reduction, label_smoothing)
    logp = log_softmax(input, dim)
    if label_smoothing == 0:
        return nll_loss(logp, target, weight, None, ignore_index, None, reduction)
    return _smoothed(logp, target, weight, ignore_index, reduction, label_smoothing)


def _probabilities(
    logp: Tensor, target: Tensor, weight: Tensor | None, reduction: str, e: float
) -> Tensor:
    dim = 0 if logp.ndim == 1 else 1
    classes = logp.shape[dim]
    if e:
        target = target * (1 - e) + _share(e, classes)
    y = logp * target
    if weight is not None:
        y = y * _along(weight, y.ndim, dim)
    if reduction == "mean":
        return -y.sum() / (y.numel() / classes if classes else 0)
    return -y.sum() if reduction == "sum" else reduced(-y.sum(dim), reduction)


def _share(e: float, classes: int) -> float:
    """The part of `e` for each class, as C divides."""
    return e / classes if classes else math.inf


def _smoothed(
    logp: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, e: float
) -> Tensor:
    nll = nll_loss(logp, target, weight, ignore_index=ignore_index, reduction=reduction)
    dim = 0 if logp.ndim == 1 else 1
    counts, label = _labels(target, logp.shape[dim], ignore_index)
    every = logp if weight is None else logp * _along(weight, logp.ndim, dim)
    smooth: Tensor = where(counts, -every.sum(dim), 0)
    if reduction != "mean":
        smooth = reduced(smooth, reduction)
    elif weight is None:
        smooth = smooth.sum() / counts.to(logp.dtype).sum()
    else:
        picked = one_hot_pick(_along(weight, logp.ndim, dim), unsqueeze(label, dim), dim)
        smooth = smooth.sum() / picked.sum()
    return nll * (1 - e) + smooth * _share(e, logp.shape[dim])
