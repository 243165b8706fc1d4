"""Losses: distances, yes or no, distributions, classes. Those with margins, and CTC, are in
margin_loss.py.

Each reduces its elementwise value by `reduction`: 'mean', 'sum' or 'none'.
"""

from __future__ import annotations

import math
from typing import Any

from ...ir.dtype import DType, int32, int64, uint8
from ...ir.ops.elementwise import (
    abs,
    check_label,
    exp,
    ge,
    gt,
    le,
    log,
    log1p,
    logical_and,
    lt,
    maximum,
    stop_gradient,
    where,
)
from ...tracer.autograd.graph import composite
from ...tracer.autograd.sketches import warn
from ...tracer.mode import get_default_dtype
from ...tracer.tensor.promotion import SCALAR_TYPE, can_cast, common_dtype
from ...tracer.tensor.tensor import Size, Tensor
from ..arguments import floats_only, numbers_fit, refuse, require, rounded_once
from ..special import xlogy
from ..torch.reduction import log_softmax, one_hot_pick
from ..torch.shape import broadcast_shapes, broadcast_tensors, reshape, unsqueeze

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy",
    "gaussian_nll_loss", "huber_loss", "kl_div", "l1_loss", "mse_loss", "nll_loss",
    "poisson_nll_loss", "smooth_l1_loss",
]


def reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return loss
    if reduction not in ("mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return loss.mean() if reduction == "mean" else loss.sum()


def legacy(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """torch's first two options, from before there was `reduction`."""
    if size_average is None and reduce is None:
        return reduction
    warn(
        "size_average and reduce args will be deprecated, please use reduction instead.",
        stacklevel=4,
    )
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


# ---- distances
def _paired(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if input.shape == target.shape:
        return input, target
    warn(
        f"Using a target size ({target.shape}) that is different to the input size ({input.shape})."
        " This will likely lead to incorrect results due to broadcasting. Please ensure they have "
        "the same size.",
        stacklevel=4,
    )
    return broadcast_tensors(input, target)  # type: ignore[return-value]


def _times(loss: Tensor, weight: Tensor | None, input: Tensor) -> Tensor:
    if weight is None:
        return loss
    if weight.shape != input.shape:
        raise ValueError("Weights and input must have the same size.")
    return loss * weight


def _weighted(loss: Tensor, weight: Tensor | None, input: Tensor, reduction: str) -> Tensor:
    loss = _times(loss, weight, input)
    if weight is None or reduction != "mean":
        return reduced(loss, reduction)
    return loss.sum() / weight.sum()


def _together(input: Tensor, target: Tensor, kernel: str) -> tuple[Tensor, Tensor]:
    """The two in the dtype that they have together, which must be of floating point."""
    dtype = common_dtype((input, target))
    if dtype.kind != "float":
        raise refuse(kernel, dtype)
    return input.to(dtype), target.to(dtype)


def no_cast(dtype: DType, to: DType) -> RuntimeError:
    """torch's error for a result that does not fit into the dtype of an argument."""
    return RuntimeError(
        f"result type {SCALAR_TYPE[dtype]} can't be cast to the desired output type "
        f"{SCALAR_TYPE[to]}"
    )


@composite("MseLossBackward0")
def mse_loss(input: Tensor, target: Tensor, size_average: bool | None = None,
             reduce: bool | None = None, reduction: str = "mean",
             weight: Tensor | None = None) -> Tensor:
    """(input - target) ** 2, reduced; with weights, their mean.

    Shape: (*), (*) -> (), or (*) with reduction 'none'. Dtype: the promoted one, which must be
    floating point.
    Raises RuntimeError if the shapes do not broadcast; ValueError for another reduction.

    >>> x, y = torch.tensor([0.5, 1.0]), torch.tensor([0.0, 1.0])
    >>> F.mse_loss(x, y)
    tensor(0.1250)
    """
    x, t = _together(*_paired(input, target), "mse_cpu")
    d = x - t
    return _weighted(d * d, weight, input, legacy(size_average, reduce, reduction))


def l1_loss(input: Tensor, target: Tensor, size_average: bool | None = None,
            reduce: bool | None = None, reduction: str = "mean",
            weight: Tensor | None = None) -> Tensor:
    """|input - target|, reduced; with weights, their mean.

    Shape: (*), (*) -> (), or (*) with reduction 'none'. Dtype: the promoted one, which must be
    floating point.
    Raises RuntimeError if the shapes do not broadcast; ValueError for another reduction.

    >>> x, y = torch.tensor([0.5, 1.0]), torch.tensor([0.0, 1.0])
    >>> F.l1_loss(x, y, reduction="none")
    tensor([0.5000, 0.0000])
    """
    x, t = _paired(input, target)
    return _weighted(abs(x - t), weight, input, legacy(size_average, reduce, reduction))


def smooth_l1_loss(input: Tensor, target: Tensor, size_average: bool | None = None,
                   reduce: bool | None = None, reduction: str = "mean",
                   beta: float = 1.0) -> Tensor:
    """d ** 2 / (2 * beta) where d = |input - target| < beta, else d - beta / 2; reduced.

    Girshick (2015).

    Shape: (*), (*) -> (), or (*) with reduction 'none'. Dtype: the promoted one, which must be
    floating point.
    Raises RuntimeError if the shapes do not broadcast; ValueError for another reduction.

    >>> x, y = torch.tensor([0.5, 1.0]), torch.tensor([0.0, 1.0])
    >>> F.smooth_l1_loss(x, y, beta=1.0)
    tensor(0.0625)
    """
    if not beta >= 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if beta == 0:
        return l1_loss(input, target, size_average, reduce, reduction)
    x, t = _together(*_paired(input, target), "smooth_l1_cpu")
    return _smooth(x, t, beta, legacy(size_average, reduce, reduction))


@composite("SmoothL1LossBackward0")
def _smooth(input: Tensor, target: Tensor, beta: float, reduction: str) -> Tensor:
    d = input - target
    far = ge(abs(d), beta)  # |d| squared would have no curvature at 0
    inner = where(far, 0, d)  # an infinite square has no gradient, also where it is not taken
    return reduced(where(far, abs(d) - 0.5 * beta, inner * inner * (0.5 / beta)), reduction)


def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean",
               delta: float = 1.0, weight: Tensor | None = None) -> Tensor:
    """d ** 2 / 2 where d = |input - target| <= delta, else delta * (d - delta / 2); reduced.

    Huber (1964).

    Shape: (*), (*) -> (), or (*) with reduction 'none'. Dtype: the promoted one, which must be
    floating point.
    Raises RuntimeError if the shapes do not broadcast; ValueError for another reduction.

    >>> x, y = torch.tensor([0.5, 1.0]), torch.tensor([0.0, 1.0])
    >>> F.huber_loss(x, y, delta=1.0)
    tensor(0.0625)
    """
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if not delta > 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    dtype = common_dtype((input, target))
    if not can_cast(dtype, input.dtype):
        raise no_cast(dtype, input.dtype)
    x, t = _together(*_paired(input, target), "huber_cpu")
    return _huber(x, t, delta, weight, reduction).to(input.dtype)


@composite("HuberLossBackward0")
def _huber(x: Tensor, t: Tensor, delta: float, weight: Tensor | None, reduction: str) -> Tensor:
    d = x - t
    far = ge(abs(d), delta)
    inner = where(far, 0, d)
    loss = where(far, delta * (abs(d) - 0.5 * delta), 0.5 * inner * inner)
    return reduced(_times(loss, weight, x), reduction)  # torch's mean is not over the weights here


# ---- yes or no
def _no_wider(x: Tensor, *weights: Tensor | None) -> None:
    """Raise torch's error for a weight that would broadcast the loss."""
    for w in weights:
        shape = x.shape if w is None else broadcast_shapes(x.shape, w.shape)
        if tuple(shape) != tuple(x.shape):
            raise RuntimeError(
                f"output with shape {list(x.shape)} doesn't match the broadcast shape {list(shape)}"
            )


def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None,
                         size_average: bool | None = None, reduce: bool | None = None,
                         reduction: str = "mean") -> Tensor:
    """-(t * log(x) + (1 - t) * log(1 - x)), reduced, with the logarithms cut off at -100.

    input, target: probabilities; RuntimeError for one outside [0, 1], where not compiled.

    Shape: (*), (*) -> (), or (*) with reduction 'none'. Dtype: that of both, which must be floating
    point.
    Raises RuntimeError for x or t outside [0, 1]; ValueError for different shapes.

    >>> x, y = torch.tensor([0.5, 1.0]), torch.tensor([0.0, 1.0])
    >>> F.binary_cross_entropy(x, y)
    tensor(0.3466)
    """
    reduction = legacy(size_average, reduce, reduction)
    if input.shape != target.shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size "
            f"({input.shape}) is deprecated. Please ensure they have the same size."
        )
    if target.dtype is not input.dtype:
        found, expected = SCALAR_TYPE[target.dtype], SCALAR_TYPE[input.dtype]
        raise RuntimeError(f"Found dtype {found} but expected {expected}")
    if not input.is_floating_point():
        raise refuse("binary_cross_entropy", input.dtype)
    for x, what in ((input, "cross entropy"), (target, "target")):
        require(logical_and(ge(x, 0), le(x, 1)), what)
    _no_wider(input, weight)
    return _bce(input, target, weight, reduction)


@composite("BinaryCrossEntropyBackward0")
@rounded_once
def _bce(x: Tensor, t: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    # torch's gradient is (x - t) / max(x * (1 - x), 1e-12): at the ends that of a steep parabola
    # through the value, and in between that of the formula itself
    end = lt(x * (1 - x), 1e-12)
    inner = where(end, 0.5, x)
    value = -(t * log(inner) + (1 - t) * log1p(-inner))
    fixed = stop_gradient(x)
    cut = -(t * maximum(log(fixed), -100.0) + (1 - t) * maximum(log1p(-fixed), -100.0))
    off = x - stop_gradient(t)
    steep = off * off * 5e11
    loss = where(end, cut + (steep - stop_gradient(steep)), value)
    return reduced(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(input: Tensor, target: Tensor, weight: Tensor | None = None,
                                     size_average: bool | None = None,
                                     reduce: bool | None = None, reduction: str = "mean",
                                     pos_weight: Tensor | None = None) -> Tensor:
    """binary_cross_entropy of sigmoid(input), without overflow; `pos_weight` weights the yes.

    Shape: (*), (*) -> (), or (*) with reduction 'none'. Dtype: the promoted one.
    Raises ValueError for different shapes.

    >>> x, y = torch.tensor([0.5, 1.0]), torch.tensor([0.0, 1.0])
    >>> F.binary_cross_entropy_with_logits(x, y)
    tensor(0.6437)
    """
    reduction = legacy(size_average, reduce, reduction)
    if input.shape != target.shape:
        raise ValueError(
            f"Target size ({target.shape}) must be the same as input size ({input.shape})"
        )
    if not input.is_floating_point():
        raise refuse("log_sigmoid_cpu", input.dtype)
    if not target.is_floating_point():
        raise no_cast(input.dtype, target.dtype)
    _no_wider(input, weight, pos_weight)
    return _bce_logits(input, target, weight, pos_weight, reduction).to(target.dtype)


@composite("BinaryCrossEntropyWithLogitsBackward0")
@rounded_once
def _bce_logits(x: Tensor, t: Tensor, weight: Tensor | None, pos_weight: Tensor | None,
                reduction: str) -> Tensor:
    positive = gt(x, 0)  # as in softplus
    minus_log_sigmoid = log1p(exp(where(positive, -x, x))) - where(positive, 0, x)
    yes: Any = 1 if pos_weight is None else (pos_weight - 1) * t + 1
    loss = (1 - t) * x + yes * minus_log_sigmoid
    return reduced(loss if weight is None else loss * weight, reduction)


# ---- distributions
def kl_div(input: Tensor, target: Tensor, size_average: bool | None = None,
           reduce: bool | None = None, reduction: str = "mean",
           log_target: bool = False) -> Tensor:
    """target * (log(target) - input), reduced; input (and, with `log_target`, target) are logs.

    Shape: (*), (*) -> (), or (*) with reduction 'none'. Dtype: the promoted one, which must be
    floating point.
    Raises RuntimeError if the shapes do not broadcast; ValueError for another reduction.

    >>> x, y = torch.tensor([-0.7, -0.7]), torch.tensor([0.5, 0.5])
    >>> F.kl_div(x, y, reduction="batchmean")
    tensor(0.0034)
    """
    if size_average is None and reduce is None and reduction == "mean":
        warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math "
            "definition.'mean' will be changed to behave the same as 'batchmean' in the next major "
            "release.",
            stacklevel=2,
        )
    if not (input.is_floating_point() and target.is_floating_point()):
        raise RuntimeError("kl_div: Integral inputs not supported.")
    reduction = legacy(size_average, reduce, reduction)
    loss = exp(target) * (target - input) if log_target else xlogy(target, target) - target * input
    if reduction != "batchmean":
        return reduced(loss, reduction)
    return loss.sum() / input.shape[0] if input.ndim else loss.sum()


def poisson_nll_loss(input: Tensor, target: Tensor, log_input: bool = True, full: bool = False,
                     size_average: bool | None = None, eps: float = 1e-8,
                     reduce: bool | None = None, reduction: str = "mean") -> Tensor:
    """exp(x) - t * x or, without `log_input`, x - t * log(x + eps); reduced.

    `full` adds Stirling's approximation of log(t!) where t > 1.

    Shape: (*), (*) -> (), or (*) with reduction 'none'. Dtype: the promoted one, which must be
    floating point.
    Raises RuntimeError if the shapes do not broadcast; ValueError for another reduction.

    >>> x, y = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0])
    >>> F.poisson_nll_loss(x, y)
    tensor(0.8591)
    """
    reduction = legacy(size_average, reduce, reduction)
    x, t = input, target
    loss = exp(x) - t * x if log_input else x - t * log(x + eps)
    if full:
        many = gt(t, 1)
        safe = where(many, t, 1)
        stirling = safe * log(safe) - safe + 0.5 * log(2 * math.pi * safe)
        loss = loss + where(many, stirling, 0)
    return reduced(loss, reduction)


def gaussian_nll_loss(input: Tensor, target: Tensor, var: Tensor | float, full: bool = False,
                      eps: float = 1e-6, reduction: str = "mean") -> Tensor:
    """(log(v) + (x - t) ** 2 / v) / 2 with v = max(var, eps), reduced; `full` adds log(2 pi) / 2.

    var: as input, or without its last extent, or with one extent 1. ValueError for one that is
    negative. Nix and Weigend (1994).

    Shape: (*), (*), (*) or (*, 1) -> (), or (*) with reduction 'none'. Dtype: that of input.
    Raises ValueError for a negative variance or one of another shape, or for another reduction.

    >>> x, y, v = torch.tensor([0.0, 1.0]), torch.tensor([0.5, 1.0]), torch.ones(2)
    >>> F.gaussian_nll_loss(x, y, v)
    tensor(0.0625)
    """
    v: Tensor = var if isinstance(var, Tensor) else input * 0 + var
    if not v.is_floating_point():
        raise no_cast(get_default_dtype(), v.dtype)
    require(~lt(v, 0), "variance")
    numbers_fit(v.dtype, eps)
    if v.shape != input.shape:
        if v.shape == input.shape[:-1]:
            v = unsqueeze(v, -1)
        elif v.ndim != input.ndim or [
            m for n, m in zip(input.shape, v.shape, strict=True) if n != m
        ] != [1]:
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    v = where(lt(v, eps), v + stop_gradient(eps - v), v)
    d = input - target
    loss = 0.5 * (log(v) + d * d / v)
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


# ---- classes: the class that a target names is picked by comparison with 0, 1, 2, ... and a sum,
# not by a gather: so it fuses, and so does its gradient
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
