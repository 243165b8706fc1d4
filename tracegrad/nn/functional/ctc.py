"""The loss of sequences whose alignment is not known: connectionist temporal classification."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ir.dtype import bool_, int64
from ...ir.faults import TARGET
from ...ir.ops.elementwise import (
    check_index,
    exp,
    ge,
    gt,
    log,
    logical_and,
    lt,
    maximum,
    ne,
    stop_gradient,
    where,
)
from ...tracer.functions.creation import arange, full_like, held
from ...tracer.functions.joining import cat
from ...tracer.functions.movement import reshape, unsqueeze
from ...tracer.functions.positions import gather
from ...tracer.mode import mode
from ...tracer.tensor import Tensor
from .loss import reduced

__all__ = ["ctc_loss"]

NEVER = -1e30  # the logarithm of no probability, of which a few may be added and compared


def ctc_loss(log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any,
             blank: int = 0, reduction: str = "mean",
             zero_infinity: bool = False) -> Tensor:  # fmt: skip
    """-log of the probability that the classes read at times 1..T, with repetitions and then blanks
    left out, are the target: Graves et al. (2006), the forward variable of equations 6 and 7.

    log_probs (T, N, C), targets (N, S) or one after another (sum of lengths), lengths (N); without
    N for one sequence. The mean is over the losses divided by the target's length. As in torch, the
    gradient takes log_probs to be normalised.
    """
    alone = log_probs.ndim == 2
    lp = unsqueeze(log_probs, 1) if alone else log_probs
    steps, batch, classes = lp.shape
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    duration, length = (
        _lengths(n, batch, name)
        for n, name in ((input_lengths, "input_lengths"), (target_lengths, "target_lengths"))
    )
    if mode.trace is None and batch and int(duration.max()) > steps:
        raise RuntimeError(
            f"Expected input_lengths to have value at most {steps}, but got value "
            f"{int(duration.max())} (while checking arguments for ctc_loss_allocate_outputs)"
        )
    labels = _extended(_rows(targets, length, alone), length, blank, classes)
    loss = _negative_log(lp, labels, duration, length, blank)
    endless = gt(loss, -NEVER / 2)
    loss = where(endless, 0.0 if zero_infinity else math.inf, loss)
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
        if mode.trace is None and length.numel() and int(length.max()) > rows.shape[1]:
            raise RuntimeError(
                f"Expected tensor to have size at least {int(length.max())} at dimension 1, but "
                f"got size {rows.shape[1]} for argument #2 'targets' (while checking arguments for "
                "ctc_loss_allocate_outputs)"
            )
        return rows
    counts = np.asarray(length.tolist(), np.int64)  # their number is a matter of shape
    if counts.sum() > targets.shape[0]:
        raise RuntimeError(
            f"Expected tensor to have size {counts.sum()} at dimension 0, but got size "
            f"{targets.shape[0]} for argument #2 'targets'"
        )
    at = (np.cumsum(counts) - counts)[:, None] + np.arange(max(counts, default=0))
    return targets[held(np.minimum(at, max(targets.shape[0] - 1, 0)), int64)]


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
    lp: Tensor, labels: Tensor, duration: Tensor, length: Tensor, blank: int
) -> Tensor:
    steps, width = lp.shape[0], labels.shape[1]
    read = maximum(gather(lp, 2, unsqueeze(labels, 0).expand(steps, -1, -1)), NEVER)
    # torch's gradient is that of normalised probabilities, whose sum does not change
    total = where(unsqueeze(lt(unsqueeze(arange(steps), 1), duration), 2), exp(lp), 0).sum((0, 2))
    place = arange(width)
    skips = logical_and(ne(labels, blank), ne(labels, _later(labels, 2, blank)))
    alpha = where(lt(place, 1), 0.0, full_like(read[0], NEVER))  # before the first step
    for t in range(steps):
        if t == 0:
            ways = [alpha, _later(alpha, 1, NEVER)]
        else:
            two = where(skips, _later(alpha, 2, NEVER), NEVER)
            ways = [alpha, _later(alpha, 1, NEVER), two]
        alpha = where(unsqueeze(gt(duration, t), 1), _log_sum(ways) + read[t], alpha)
    last = unsqueeze(2 * length, 1)
    ends = logical_and(ge(place, last - 1), ge(last, place))
    found = where(ends, alpha, NEVER)
    top = stop_gradient(found.amax(-1, True))
    return -(log(exp(found - top).sum(-1)) + top[:, 0]) + total - stop_gradient(total)


def _later(x: Tensor, by: int, fill: float) -> Tensor:
    """The columns moved to the right."""
    by = min(by, x.shape[1])
    return cat([full_like(x[:, :by], fill), x[:, : x.shape[1] - by]], 1)


def _log_sum(ways: list[Tensor]) -> Tensor:
    top = ways[0]
    for way in ways[1:]:
        top = maximum(top, way)
    top = stop_gradient(top)
    total: Any = 0.0
    for way in ways:
        total = total + exp(way - top)
    return log(total) + top
