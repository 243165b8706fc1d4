"""Losses, as functions (in `nn.functional` too) and as Modules with the same options.

Each reduces its elementwise value by `reduction`: 'mean', 'sum' or 'none'. The class that a target
names is picked by comparison with 0, 1, 2, ... and a sum, not by a gather: so it fuses, and so does
its gradient.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from inspect import Parameter as Argument
from inspect import signature
from typing import Any

from ..ir.dtype import int64, uint8
from ..ir.faults import TARGET
from ..ir.ops.elementwise import (
    abs,
    check_index,
    exp,
    ge,
    gt,
    le,
    log,
    log1p,
    logical_and,
    lt,
    maximum,
    ne,
    stop_gradient,
    where,
)
from ..tracer.functions.broadcasting import broadcast_tensors
from ..tracer.functions.movement import reshape, unsqueeze
from ..tracer.functions.reduce import log_softmax, one_hot_pick
from ..tracer.mode import mode
from ..tracer.promotion import SCALAR_TYPE
from ..tracer.tape import composite
from ..tracer.tensor import Size, Tensor
from .module import Module


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return loss
    if reduction not in ("mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return loss.mean() if reduction == "mean" else loss.sum()


def _legacy(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """torch's first two options, from before there was `reduction`."""
    if size_average is None and reduce is None:
        return reduction
    warnings.warn(
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
    warnings.warn(
        f"Using a target size ({target.shape}) that is different to the input size ({input.shape})."
        " This will likely lead to incorrect results due to broadcasting. Please ensure they have "
        "the same size.",
        stacklevel=4,
    )
    return broadcast_tensors(input, target)  # type: ignore[return-value]


@composite("MseLossBackward0")
def mse_loss(input: Tensor, target: Tensor, size_average: bool | None = None,
             reduce: bool | None = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """(input - target) ** 2, reduced."""
    input, target = _paired(input, target)
    d = input - target
    return _reduced(d * d, _legacy(size_average, reduce, reduction))


def l1_loss(input: Tensor, target: Tensor, size_average: bool | None = None,
            reduce: bool | None = None, reduction: str = "mean") -> Tensor:  # fmt: skip
    """|input - target|, reduced."""
    input, target = _paired(input, target)
    return _reduced(abs(input - target), _legacy(size_average, reduce, reduction))


def smooth_l1_loss(input: Tensor, target: Tensor, size_average: bool | None = None,
                   reduce: bool | None = None, reduction: str = "mean",
                   beta: float = 1.0) -> Tensor:  # fmt: skip
    """d ** 2 / (2 * beta) where d = |input - target| < beta, else d - beta / 2; reduced.

    Girshick (2015).
    """
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if beta == 0:
        return l1_loss(input, target, size_average, reduce, reduction)
    return _smooth(*_paired(input, target), beta, _legacy(size_average, reduce, reduction))


@composite("SmoothL1LossBackward0")
def _smooth(input: Tensor, target: Tensor, beta: float, reduction: str) -> Tensor:
    d = abs(input - target)
    return _reduced(where(lt(d, beta), d * d * (0.5 / beta), d - 0.5 * beta), reduction)


def huber_loss(input: Tensor, target: Tensor, reduction: str = "mean",
               delta: float = 1.0) -> Tensor:  # fmt: skip
    """d ** 2 / 2 where d = |input - target| <= delta, else delta * (d - delta / 2); reduced.

    Huber (1964).
    """
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    return _huber(*_paired(input, target), delta, reduction)


@composite("HuberLossBackward0")
def _huber(input: Tensor, target: Tensor, delta: float, reduction: str) -> Tensor:
    d = abs(input - target)
    return _reduced(where(le(d, delta), 0.5 * d * d, delta * (d - 0.5 * delta)), reduction)


# ---- classes
def _labels(target: Tensor, classes: int, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Which targets count, and the targets, with 0 for the others. IndexError: one out of range."""
    if target.dtype not in (int64, uint8):
        raise RuntimeError(
            f"expected target dtype to be Long or Byte, but got {SCALAR_TYPE[target.dtype]}"
        )
    target = target.to(int64)
    counts = ne(target, ignore_index)
    label = where(counts, target, 0)
    return counts, check_index(label, size=classes, dim=TARGET)


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
    loss = -one_hot_pick(logp, label, dim)
    scale: Any = counts.to(logp.dtype)
    if weight is not None:
        scale = where(counts, one_hot_pick(_along(weight, logp.ndim, dim), label, dim), 0)
        loss = loss * scale
    loss = where(counts, loss, 0)
    if reduction != "mean":
        return _reduced(loss, reduction)
    return loss.sum() / scale.sum()


_NLL = composite("NllLossBackward0")(_nll)
_NLL2D = composite("NllLoss2DBackward0")(_nll)


def nll_loss(input: Tensor, target: Tensor, weight: Tensor | None = None,
             size_average: bool | None = None, ignore_index: int = -100, reduce: bool | None = None,
             reduction: str = "mean") -> Tensor:  # fmt: skip
    """-weight[target] * input[target], reduced; the mean is weighted.

    input (N, C, *) of log-probabilities, target (N, *) of class numbers; or (C) and (). Targets
    equal to `ignore_index` do not count; another one out of range is an IndexError.
    """
    reduction = _legacy(size_average, reduce, reduction)
    return (_NLL if input.ndim <= 2 else _NLL2D)(input, target, weight, ignore_index, reduction)


def cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None,
                  size_average: bool | None = None, ignore_index: int = -100,
                  reduce: bool | None = None, reduction: str = "mean",
                  label_smoothing: float = 0.0) -> Tensor:  # fmt: skip
    """nll_loss(log_softmax(input), target), for scores that are not yet probabilities.

    target: class numbers as in `nll_loss`, or probabilities in the shape of input. With
    `label_smoothing` e the aim is (1 - e) * target + e / C. Szegedy et al. (2015).

    >>> F.cross_entropy(tracegrad.zeros(3, 4), tracegrad.tensor([0, 1, 3]))
    tensor(1.3863)
    """
    reduction = _legacy(size_average, reduce, reduction)
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
        target = target * (1 - e) + e / classes
    y = logp * target
    if weight is not None:
        y = y * _along(weight, y.ndim, dim)
    if reduction == "mean":
        return -y.sum() / (y.numel() / classes)
    return _reduced(-y.sum(dim), reduction)


def _smoothed(
    logp: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, e: float
) -> Tensor:
    nll = nll_loss(logp, target, weight, ignore_index=ignore_index, reduction=reduction)
    dim = 0 if logp.ndim == 1 else 1
    counts, label = _labels(target, logp.shape[dim], ignore_index)
    every = logp if weight is None else logp * _along(weight, logp.ndim, dim)
    smooth: Tensor = where(counts, -every.sum(dim), 0)
    if reduction != "mean":
        smooth = _reduced(smooth, reduction)
    elif weight is None:
        smooth = smooth.sum() / counts.to(logp.dtype).sum()
    else:
        picked = one_hot_pick(_along(weight, logp.ndim, dim), unsqueeze(label, dim), dim)
        smooth = smooth.sum() / where(counts, picked, 0).sum()
    return nll * (1 - e) + smooth * (e / logp.shape[dim])


# ---- yes or no
def binary_cross_entropy(input: Tensor, target: Tensor, weight: Tensor | None = None,
                         size_average: bool | None = None, reduce: bool | None = None,
                         reduction: str = "mean") -> Tensor:  # fmt: skip
    """-(t * log(x) + (1 - t) * log(1 - x)), reduced, with the logarithms cut off at -100.

    input: probabilities; RuntimeError for one outside [0, 1], where not compiled.
    """
    reduction = _legacy(size_average, reduce, reduction)
    if input.shape != target.shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size "
            f"({input.shape}) is deprecated. Please ensure they have the same size."
        )
    if mode.trace is None and not bool(logical_and(ge(input, 0), le(input, 1)).all()):
        raise RuntimeError("all elements of input should be between 0 and 1")
    return _bce(input, target, weight, reduction)


@composite("BinaryCrossEntropyBackward0")
def _bce(x: Tensor, t: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    # torch's gradient is (x - t) / max(x * (1 - x), 1e-12): at the ends that of a steep parabola
    # through the value, and in between that of the formula itself
    end = lt(x * (1 - x), 1e-12)
    inner = where(end, 0.5, x)
    value = -(t * log(inner) + (1 - t) * log1p(-inner))
    fixed = stop_gradient(x)
    cut = -(t * maximum(log(fixed), -100.0) + (1 - t) * maximum(log1p(-fixed), -100.0))
    steep = (x - t) * (x - t) * 5e11
    loss = where(end, cut + steep - stop_gradient(steep), value)
    return _reduced(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(input: Tensor, target: Tensor, weight: Tensor | None = None,
                                     size_average: bool | None = None,
                                     reduce: bool | None = None, reduction: str = "mean",
                                     pos_weight: Tensor | None = None) -> Tensor:  # fmt: skip
    """binary_cross_entropy of sigmoid(input), without overflow; `pos_weight` weights the yes."""
    reduction = _legacy(size_average, reduce, reduction)
    if input.shape != target.shape:
        raise ValueError(
            f"Target size ({target.shape}) must be the same as input size ({input.shape})"
        )
    return _bce_logits(input, target, weight, pos_weight, reduction)


@composite("BinaryCrossEntropyWithLogitsBackward0")
def _bce_logits(x: Tensor, t: Tensor, weight: Tensor | None, pos_weight: Tensor | None,
                reduction: str) -> Tensor:  # fmt: skip
    positive = gt(x, 0)  # as in softplus
    minus_log_sigmoid = log1p(exp(where(positive, -x, x))) - where(positive, 0, x)
    yes: Any = 1 if pos_weight is None else (pos_weight - 1) * t + 1
    loss = (1 - t) * x + yes * minus_log_sigmoid
    return _reduced(loss if weight is None else loss * weight, reduction)


# ---- as Modules
def _module(name: str, function: Callable) -> type[Module]:
    """The Module whose options are those of the function; tensors among them are buffers."""
    arguments = signature(function)
    options = [
        a.replace(annotation=Argument.empty) for a in list(arguments.parameters.values())[2:]
    ]
    accepted = arguments.replace(parameters=options, return_annotation=Argument.empty)
    kept = [a.name for a in options if a.name not in ("size_average", "reduce")]

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        Module.__init__(self)
        given = accepted.bind(*args, **kwargs)
        given.apply_defaults()
        chosen = given.arguments
        chosen["reduction"] = _legacy(
            chosen.pop("size_average", None), chosen.pop("reduce", None), chosen["reduction"]
        )
        for key, value in chosen.items():
            if key in ("weight", "pos_weight"):
                self.register_buffer(key, value)
            else:
                setattr(self, key, value)

    def forward(self: Any, input: Tensor, target: Tensor) -> Tensor:
        return function(input, target, **{key: getattr(self, key) for key in kept})

    body = {"__init__": __init__, "forward": forward, "__module__": __name__,
            "__signature__": accepted, "__doc__": function.__doc__}  # fmt: skip
    return type(name, (Module,), body)


MSELoss = _module("MSELoss", mse_loss)
L1Loss = _module("L1Loss", l1_loss)
SmoothL1Loss = _module("SmoothL1Loss", smooth_l1_loss)
HuberLoss = _module("HuberLoss", huber_loss)
NLLLoss = _module("NLLLoss", nll_loss)
CrossEntropyLoss = _module("CrossEntropyLoss", cross_entropy)
BCELoss = _module("BCELoss", binary_cross_entropy)
BCEWithLogitsLoss = _module("BCEWithLogitsLoss", binary_cross_entropy_with_logits)
