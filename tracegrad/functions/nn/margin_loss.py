"""Losses with margins, and the loss of sequences whose alignment is unknown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir.dtype import bool_, int64
from ...ir.faults import MARGIN, TARGET
from ...ir.ops.band import NEVER, band, log_band, neighbour
from ...ir.ops.elementwise import (
    check_index,
    eq,
    exp,
    ge,
    gt,
    log,
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
from ...tracer.mode import get_default_dtype, mode
from ...tracer.tensor.promotion import common_dtype
from ...tracer.tensor.tensor import Tensor
from ..arguments import at_most, computing, floats_only, numbers_fit
from ..torch.creation import arange, full, full_like, held
from ..torch.gather import gather
from ..torch.pointwise import clamp_min
from ..torch.reduction import amin, one_hot_pick
from ..torch.shape import reshape, unsqueeze
from ..torch.slicing_joining import cat
from .activation import logsigmoid
from .distance import pairwise_distance
from .loss import legacy, no_cast, reduced
from .vision import pad

__all__ = [
    "cosine_embedding_loss", "ctc_loss", "hinge_embedding_loss", "margin_ranking_loss",
    "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss",
    "soft_margin_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss",
]


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
    numbers_fit(input.dtype, margin)
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
    numbers_fit(computing(input.dtype), margin)
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

    Shape: those of the distance, reduced to () unless `reduction` is 'none'. Dtype: floating point.

    >>> a = torch.tensor([[0.0, 0.0]])
    >>> F.triplet_margin_with_distance_loss(a, a + 1, a + 3)
    tensor(0.)
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


# ---- connectionist temporal classification (CTC)
def ctc_loss(log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any,
             blank: int = 0, reduction: str = "mean",
             zero_infinity: bool = False) -> Tensor:
    """-log of the probability that the classes read at times 1..T, with repetitions and then blanks
    left out, are the target: Graves et al. (2006), the forward variable of equations 6 and 7.

    log_probs (T, N, C), targets (N, S) or one after another (sum of lengths), lengths (N); without
    N for one sequence. The mean is over the losses divided by the target's length. As in torch, the
    gradient takes log_probs to be normalised.

    Shape: (T, N, C), (N, S) or (sum of lengths,), (N,), (N,) -> (), or (N,) with reduction 'none'.
    Dtype: that of log_probs; labels and lengths are integers.
    Raises RuntimeError for lengths that do not fit.

    >>> p = torch.log_softmax(torch.zeros(3, 1, 2), 2)
    >>> labels, times, lengths = torch.tensor([[1]]), torch.tensor([3]), torch.tensor([1])
    >>> F.ctc_loss(p, labels, times, lengths)
    tensor(0.2877)
    """
    if not log_probs.numel():
        raise RuntimeError("log_probs tensor must not be empty")
    floats_only("ctc_loss_cpu", log_probs)
    alone = log_probs.ndim == 2
    lp = unsqueeze(log_probs, 1) if alone else log_probs
    steps, batch, classes = lp.shape
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    duration, length = (
        _lengths(n, batch, name).to(log_probs.device)
        for n, name in ((input_lengths, "input_lengths"), (target_lengths, "target_lengths"))
    )
    at_most(duration, steps, "input_lengths")
    labels = _extended(_rows(targets, length, alone), length, blank, classes)
    loss = _negative_log(lp, labels, duration, length, blank, zero_infinity)
    if reduction == "mean":
        loss = loss / maximum(length, 1).to(lp.dtype)
    return reduced(loss[0] if alone and reduction == "none" else loss, reduction)


def _lengths(lengths: Any, batch: int, name: str) -> Tensor:
    if not isinstance(lengths, Tensor):
        lengths = held(np.atleast_1d(np.asarray(lengths)), int64)
    if lengths.is_floating_point():
        raise RuntimeError(f"{name} must be integral")
    if lengths.numel() != batch:
        raise RuntimeError(f"{name} must be of size batch_size")
    return reshape(lengths.to(int64), (batch,))


def _rows(targets: Tensor, length: Tensor, alone: bool) -> Tensor:
    """The targets as (N, S), if they stand one after another."""
    targets = targets.to(int64)
    if alone or targets.ndim == 2:
        rows = reshape(targets, (1, -1)) if alone else targets
        at_most(length, rows.shape[1], "targets of one")
        return rows
    at_most(length.sum(), targets.shape[0], "targets of all")
    longest = targets.shape[0]  # in a program, where the lengths are not known
    if mode.trace is None:
        longest = int(length.max()) if length.numel() else 0
    at = unsqueeze(length.cumsum(0) - length, 1) + arange(longest)
    return targets[minimum(at, max(targets.shape[0] - 1, 0))]


def _extended(rows: Tensor, length: Tensor, blank: int, classes: int) -> Tensor:
    """(N, 2 S + 1): the labels with a blank before, between and after them."""
    count = rows.shape[1]
    rows = where(lt(arange(count), unsqueeze(length, 1)), rows, blank)
    place = np.arange(2 * count + 1)
    if count == 0:
        return full_like(unsqueeze(length, 1), blank)
    spread = rows[:, held(np.maximum(place - 1, 0) // 2, int64)]
    odd = held(place % 2 == 1, bool_)
    return check_index(where(odd, spread, blank), size=classes, dim=TARGET)


def _negative_log(
    lp: Tensor, labels: Tensor, duration: Tensor, length: Tensor, blank: int, zero_infinity: bool
) -> Tensor:
    """The forward variable in two recurrences. One, without history, finds its logarithm; the other
    its ratio to that, which is 1, from the shares that the ways to each place have in it. They lie
    between 0 and 1, and through them passes the gradient.
    """
    (steps, batch, _), width = lp.shape, labels.shape[1]
    read = maximum(gather(lp, 2, unsqueeze(labels, 0).expand(steps, -1, -1)), NEVER)
    # torch's gradient is that of normalised probabilities, whose sum does not change
    running = unsqueeze(lt(unsqueeze(arange(steps), 1), duration), 2)
    total = where(running, exp(lp), 0).sum((0, 2))
    skips = logical_and(ne(labels, blank), ne(labels, neighbour(labels, 2, False, blank)))
    one = where(running, read, NEVER)
    ways = (where(running, read, 0.0), one, where(skips, one, NEVER))  # from 0, 1, 2 places before
    first = lt(arange(width), 1)  # before the first step nothing is read
    start = where(first, 0.0, full((1, batch, width), NEVER, dtype=lp.dtype))
    alpha = log_band(
        cat([start, stop_gradient(ways[0])]), *map(_later, map(stop_gradient, ways[1:])),
        axis=0, reverse=False,
    )
    before, now = alpha[:-1], alpha[1:]
    alive = gt(now, NEVER / 2)
    shares = (
        exp(where(alive, way + neighbour(before, k, False, NEVER) - now, NEVER))
        for k, way in enumerate(ways)
    )
    begin = where(first, 1.0, full((steps + 1, batch, width), 0.0, dtype=lp.dtype))
    begin = where(gt(unsqueeze(unsqueeze(arange(steps + 1), 1), 2), 0), 0.0, begin)
    ratio = band(*map(_later, shares), begin, axis=0, reverse=False)
    place, last = arange(width), unsqueeze(2 * length, 1)
    ends = logical_and(ge(place, last - 1), ge(last, place))
    found = where(ends, alpha[-1], NEVER)
    top = found.amax(-1, True)
    mass = where(ends, exp(found - top) * ratio[-1], 0.0).sum(-1)
    endless = lt(top[:, 0], NEVER / 2)  # a loss of infinity has the gradient NaN, a zero none
    if zero_infinity:
        mass = where(endless, 1.0, mass)
    loss = total - stop_gradient(total) - log(mass) - top[:, 0]
    return where(endless, 0.0, loss) if zero_infinity else loss


def _later(x: Tensor) -> Tensor:
    """A step later, after zeros."""
    return pad(x, (0, 0, 0, 0, 1, 0))
