"""The loss of sequences whose alignment is not known: connectionist temporal classification."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.dtype import bool_, int64
from ...ir.faults import TARGET
from ...ir.ops.band import NEVER, band, log_band, neighbour
from ...ir.ops.elementwise import (
    check_index,
    exp,
    ge,
    gt,
    log,
    logical_and,
    lt,
    maximum,
    minimum,
    ne,
    stop_gradient,
    where,
)
from ...tracer.mode import mode
from ...tracer.tensor.tensor import Tensor
from ..math.scaled_operands import floats_only
from ..tensors.creation import arange, full, full_like, held
from ..tensors.gather import gather
from ..tensors.joining import cat
from ..tensors.shape import reshape, unsqueeze
from ..value_checks import at_most
from .loss import reduced
from .padding import pad

__all__ = ["ctc_loss"]


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
        _lengths(n, batch, name)
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
