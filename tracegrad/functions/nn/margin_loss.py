"""Losses with margins, and the distances and similarities that they are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...ir.dtype import bool_, int64
from ...ir.faults import MARGIN
from ...ir.ops.elementwise import (
    check_index,
    eq,
    exp,
    gt,
    log1p,
    logical_and,
    lt,
    maximum,
    minimum,
    ne,
    sqrt,
    stop_gradient,
    where,
)
from ...tracer.autograd.graph import composite
from ...tracer.mode import get_default_dtype
from ...tracer.tensor.promotion import SCALAR_TYPE, common_dtype
from ...tracer.tensor.tensor import Tensor
from ..linalg.matrix_functions import norm
from ..math.clamp import clamp_min
from ..math.reduction import amin, one_hot_pick
from ..math.scaled_operands import floats_only
from ..tensors.broadcasting import broadcast_tensors
from ..tensors.creation import arange
from ..tensors.gather import gather
from ..tensors.shape import reshape, unsqueeze
from .activation import logsigmoid
from .loss import legacy, no_cast, reduced


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The product of x1 and x2 along `dim`, each divided by its norm, or by eps if that is more.

    Shape: two that broadcast -> without the dimension `dim`. Dtype: the promoted one, floating
    point.
    Raises IndexError for a dimension out of range; RuntimeError if the shapes do not broadcast.

    >>> F.cosine_similarity(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0]), dim=0)
    tensor(0.7071)
    """
    dtype = common_dtype((x1, x2))
    if not dtype.is_floating_point:
        raise RuntimeError(
            f"expected common dtype to be floating point, yet common dtype is {SCALAR_TYPE[dtype]}"
        )
    a, b = broadcast_tensors(x1.to(dtype), x2.to(dtype))
    return (_unit(a, dim, eps) * _unit(b, dim, eps)).sum(dim)


def _unit(x: Tensor, dim: int, eps: float) -> Tensor:
    size = norm(x, 2, dim, True)
    return x / (size + stop_gradient(maximum(size, eps) - size))


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last axis.

    Shape: (*, D), (*, D) -> (*). Dtype: the promoted one.
    Raises RuntimeError if the shapes do not broadcast.

    >>> F.pairwise_distance(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    tensor([5.0000])
    """
    return norm(x1 - x2 + eps, p, -1, keepdim)


def cosine_embedding_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0,
                          size_average: bool | None = None, reduce: bool | None = None,
                          reduction: str = "mean") -> Tensor:
    """1 - cos where target is 1, max(0, cos - margin) where it is -1, reduced; (N, D) or (D).

    Shape: (N, D), (N, D), (N,) -> (), or (N,) with reduction 'none'. Dtype: the promoted one.
    Raises RuntimeError for other ranks or shapes that do not broadcast.

    >>> x1, x2, y = torch.ones(1, 2), torch.tensor([[1.0, 0.0]]), torch.tensor([1.0])
    >>> F.cosine_embedding_loss(x1, x2, y)
    tensor(0.2929)
    """
    if target.ndim > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if input1.ndim != target.ndim + 1 or input2.ndim != target.ndim + 1:
        raise RuntimeError(
            f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors, but found "
            f"inputs with sizes {list(input1.shape)} and {list(input2.shape)}."
        )
    tiny = 9.999999960041972e-13  # torch's 1e-12 is a float32
    lengths = ((input1 * input1).sum(-1) + tiny) * ((input2 * input2).sum(-1) + tiny)
    cos = (input1 * input2).sum(-1) / sqrt(lengths)
    far = where(eq(target, -1), clamp_min(cos - margin, 0), 0)
    return reduced(where(eq(target, 1), 1 - cos, 0) + far, legacy(size_average, reduce, reduction))


def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0,
                         size_average: bool | None = None, reduce: bool | None = None,
                         reduction: str = "mean") -> Tensor:
    """x where target is 1, max(0, margin - x) where it is -1, reduced.

    Shape: (*), (*) -> (), or (*) with reduction 'none'. Dtype: the promoted one, which must be
    floating point.
    Raises RuntimeError if the shapes do not broadcast; ValueError for another reduction.

    >>> x, y = torch.tensor([0.5, 1.0]), torch.tensor([1.0, -1.0])
    >>> F.hinge_embedding_loss(x, y)
    tensor(0.2500)
    """
    near = where(ne(target, -1), input, 0)
    far = where(ne(target, 1), clamp_min(margin - input, 0), 0)
    return reduced(near + far, legacy(size_average, reduce, reduction))


def margin_ranking_loss(input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0,
                        size_average: bool | None = None, reduce: bool | None = None,
                        reduction: str = "mean") -> Tensor:
    """max(0, margin - target * (input1 - input2)), reduced.

    Shape: three that broadcast -> (), or their shape with reduction 'none'. Dtype: the promoted
    one.
    Raises RuntimeError if the ranks differ or the shapes do not broadcast.

    >>> x1, x2, y = torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([1.0])
    >>> F.margin_ranking_loss(x1, x2, y, margin=0.5)
    tensor(1.5000)
    """
    if not input1.ndim == input2.ndim == target.ndim:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.shape}, input2: {input2.shape}, target: {target.shape} "
        )
    loss = clamp_min(-target * (input1 - input2) + margin, 0)
    return reduced(loss, legacy(size_average, reduce, reduction))


@composite("SoftMarginLossBackward0")
def soft_margin_loss(input: Tensor, target: Tensor, size_average: bool | None = None,
                     reduce: bool | None = None, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-target * x)), reduced.

    Shape: (*), (*) -> (), or (*) with reduction 'none'. Dtype: the promoted one, which must be
    floating point.
    Raises RuntimeError if the shapes do not broadcast; ValueError for another reduction.

    >>> x, y = torch.tensor([0.5, 1.0]), torch.tensor([1.0, -1.0])
    >>> F.soft_margin_loss(x, y)
    tensor(0.8937)
    """
    if input.dtype is bool_:
        raise RuntimeError("Negation, the `-` operator, on a bool tensor is not supported.")
    if not input.is_floating_point():
        dtype = common_dtype((input, target))
        raise no_cast(dtype if dtype.kind == "float" else get_default_dtype(), input.dtype)
    z = -target.to(input.dtype) * input
    positive = gt(z, 0)
    loss = where(positive, z, 0) + log1p(exp(where(positive, -z, z)))
    loss = loss.to(input.dtype)
    return reduced(loss, legacy(size_average, reduce, reduction))


# ---- of classes
def multi_margin_loss(input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0,
                      weight: Tensor | None = None, size_average: bool | None = None,
                      reduce: bool | None = None, reduction: str = "mean") -> Tensor:
    """The sum over j != y of max(0, margin - x[y] + x[j]) ** p / C, reduced; (N, C) or (C).

    Shape: (N, C), (N,) -> (), or (N,) with reduction 'none'. Dtype: that of input.
    Raises RuntimeError for labels out of range or shapes that do not fit; ValueError for p other
    than 1, 2.

    >>> x, y = torch.tensor([[0.1, 0.8], [0.6, 0.2]]), torch.tensor([1, 0])
    >>> F.multi_margin_loss(x, y)
    tensor(0.2250)
    """
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.ndim != 1:
        raise ValueError("weight must be one-dimensional")
    if input.ndim > 2 or 0 in input.shape[-1:]:
        raise RuntimeError(
            "Expected non-empty vector or matrix with optional 0-dim batch size, but got: "
            f"{list(input.shape)}"
        )
    if target.numel() != (input.shape[0] if input.ndim == 2 else 1):
        raise RuntimeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of input "
            f"samples (batch size). Expected target size {list(input.shape[:-1])}, but got "
            f"{list(target.shape)}. Input has shape {list(input.shape)}."
        )
    floats_only("multi_margin_loss_cpu_kernel", input)
    classes = input.shape[-1:].numel()
    if weight is not None and weight.shape[0] != classes:
        raise RuntimeError(
            f"inconsistent weight size, expected {classes} but got {list(weight.shape)}"
        )
    x = input if input.ndim else reshape(input, (1,))
    label = reshape(target, (*x.shape[:-1], 1))
    return _multi_margin(x, label, p, margin, weight, legacy(size_average, reduce, reduction))


@composite("MultiMarginLossBackward0")
def _multi_margin(x: Tensor, label: Tensor, p: int, margin: float, weight: Tensor | None,
                  reduction: str) -> Tensor:
    label = check_index(label, size=x.shape[-1], dim=MARGIN)
    z = margin - one_hot_pick(x, label, x.ndim - 1, True) + x
    above = logical_and(gt(z, 0), ne(arange(x.shape[-1]), label))
    z = where(above, z, 0)
    loss = (z * z if p == 2 else z).sum(-1) / x.shape[-1]
    if weight is not None:
        loss = loss * weight[label.squeeze(-1)]
    return reduced(loss, reduction)


@composite("MultilabelMarginLossBackward0")
def multilabel_margin_loss(input: Tensor, target: Tensor, size_average: bool | None = None,
                           reduce: bool | None = None,
                           reduction: str = "mean") -> Tensor:
    """The sum of max(0, 1 - x[y] + x[i]) / C over labels y and classes i that are none, reduced.

    target: in each row the labels, then -1.

    Shape: (N, C), (N, C) -> (), or (N,) with reduction 'none'. Dtype: that of input; labels int64.
    Raises RuntimeError for labels out of range or shapes that do not fit.

    >>> x, y = torch.tensor([[0.1, 0.8]]), torch.tensor([[1, -1]])
    >>> F.multilabel_margin_loss(x, y)
    tensor(0.1500)
    """
    if input.ndim > 2 or 0 in input.shape[-1:]:
        raise RuntimeError(
            "Expected non-empty vector or matrix with optional 0-dim batch size, but got: "
            f"{list(input.shape)}"
        )
    if target.shape != input.shape:
        raise RuntimeError(
            f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}"
        )
    floats_only("multilabel_margin_loss_forward_out_frame", input)
    x, y = (t if t.ndim else reshape(t, (1,)) for t in (input, target.to(int64)))
    classes = x.shape[-1]
    count = amin(where(lt(y, 0), arange(classes), classes), -1, True)
    given = lt(arange(classes), count)
    label = check_index(where(eq(y, -1), 0, y), size=classes, dim=MARGIN)
    # pairs: (..., label, class)
    named = logical_and(unsqueeze(given, -1), eq(unsqueeze(label, -1), arange(classes)))
    other = unsqueeze(named.any(-2), -2)
    z = 1 - unsqueeze(gather(x, -1, label), -1) + unsqueeze(x, -2)
    wrong = logical_and(logical_and(unsqueeze(given, -1), eq(other, False)), gt(z, 0))
    loss = where(wrong, z, 0).sum((-2, -1)) / classes
    return reduced(loss, legacy(size_average, reduce, reduction))


def multilabel_soft_margin_loss(input: Tensor, target: Tensor, weight: Tensor | None = None,
                                size_average: bool | None = None, reduce: bool | None = None,
                                reduction: str = "mean") -> Tensor:
    """The mean over classes of the binary cross entropy of sigmoid(x), reduced.

    Shape: (N, C), (N, C) -> (), or (N,) with reduction 'none'. Dtype: the promoted one.
    Raises RuntimeError if the shapes do not broadcast; ValueError for another reduction.

    >>> x, y = torch.tensor([[0.1, 0.8]]), torch.tensor([[0.0, 1.0]])
    >>> F.multilabel_soft_margin_loss(x, y)
    tensor(0.5577)
    """
    reduction = legacy(size_average, reduce, reduction)
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return reduced(loss.sum(-1) / input.shape[-1], reduction)


# ---- of three
def triplet_margin_with_distance_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0,
    swap: bool = False, reduction: str = "mean",
) -> Tensor:
    """max(0, margin + d(anchor, positive) - d(anchor, negative)), reduced.

    `swap` takes the smaller of d(anchor, negative) and d(positive, negative): Balntas et al.
    (2016).
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            f"dimensions, but got: anchor {anchor.ndim}D, positive {positive.ndim}D, and negative "
            f"{negative.ndim}D inputs"
        )
    distance: Any = pairwise_distance if distance_function is None else distance_function
    far = distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return reduced(clamp_min(margin + distance(anchor, positive) - far, 0), reduction)


def triplet_margin_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0,
                        p: float = 2, eps: float = 1e-6, swap: bool = False,
                        size_average: bool | None = None, reduce: bool | None = None,
                        reduction: str = "mean") -> Tensor:
    """triplet_margin_with_distance_loss for the p-norm.

    Shape: three of (*, D) -> (), or (*) with reduction 'none'. Dtype: the promoted one.
    Raises ValueError for a margin that is not positive; RuntimeError if the shapes do not fit.

    >>> a, p, n = torch.zeros(1, 2), torch.ones(1, 2), torch.full((1, 2), 2.0)
    >>> F.triplet_margin_loss(a, p, n, margin=2.0)
    tensor(0.5858)
    """
    return triplet_margin_with_distance_loss(
        anchor, positive, negative, margin=margin, swap=swap,
        distance_function=lambda a, b: pairwise_distance(a, b, p, eps),
        reduction=legacy(size_average, reduce, reduction),
    )


__all__ = [
    "cosine_embedding_loss", "cosine_similarity", "hinge_embedding_loss", "margin_ranking_loss",
    "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss",
    "pairwise_distance", "soft_margin_loss", "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]
