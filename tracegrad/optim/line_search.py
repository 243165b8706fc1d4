"""A line search: how far to go in a direction. Nocedal and Wright, Numerical Optimization (2006),
algorithms 3.5 and 3.6; the choices within them are torch's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..tracer.tensor.tensor import Tensor


class Trial(NamedTuple):
    """A step that was tried: its length, and loss, gradient and slope along the step there."""

    t: Any
    loss: float
    gradient: Tensor
    slope: Tensor


def strong_wolfe(
    evaluate: Callable[[Any], Trial], t: Any, longest: Tensor, start: Trial, most: int,
    tolerance: float, enough: float = 1e-4, flat: float = 0.9,
) -> tuple[Trial, int]:
    """A step for which the loss falls enough and the slope is flat, and how many were tried.

    longest: the greatest number of the direction; most: how many may be tried after the first.
    """
    def too_high(trial: Trial) -> Any:
        return trial.loss > start.loss + enough * trial.t * start.slope

    def is_flat(trial: Trial) -> Any:
        return abs(trial.slope) <= -flat * start.slope

    before, now, tried, stuck = start, evaluate(t), 0, False
    while tried < most:
        if too_high(now) or (tried > 1 and now.loss >= before.loss):
            break
        if is_flat(now):
            return now, tried + 1
        if now.slope >= 0:
            break
        t = _minimum(before, now, (now.t + 0.01 * (now.t - before.t), now.t * 10))
        before, now = now, evaluate(t)
        tried += 1
    else:
        before = start
    ends = [before, now]
    low = 0 if before.loss <= now.loss else 1
    while tried < most and abs(ends[1].t - ends[0].t) * longest >= tolerance:
        t, stuck = _within(ends, stuck)
        now = evaluate(t)
        tried += 1
        if too_high(now) or now.loss >= ends[low].loss:
            ends[1 - low] = now
            low = 0 if ends[0].loss <= ends[1].loss else 1
            continue
        if not is_flat(now) and now.slope * (ends[1 - low].t - ends[low].t) >= 0:
            ends[1 - low] = ends[low]
        ends[low] = now
        if is_flat(now):
            break
    return ends[low], tried + 1


def _within(ends: list[Trial], stuck: bool) -> tuple[Any, bool]:
    """A step between two, not close to one of them twice, and whether it is close to one."""
    t = _minimum(ends[0], ends[1])
    low, high = min(ends[0].t, ends[1].t), max(ends[0].t, ends[1].t)
    margin = 0.1 * (high - low)
    if min(high - t, t - low) >= margin:
        return t, False
    if not stuck and low < t < high:
        return t, True
    return (high - margin if abs(t - high) < abs(t - low) else low + margin), False


def _minimum(a: Trial, b: Trial, bounds: tuple[Any, Any] | None = None) -> Any:
    """Where the cubic through two steps is least; the middle if it has no minimum."""
    left, right = (a, b) if a.t <= b.t else (b, a)
    lowest, highest = bounds or (left.t, right.t)
    mixed = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = mixed**2 - a.slope * b.slope
    if not square >= 0:
        return (lowest + highest) / 2
    root = square**0.5
    part = (right.slope + root - mixed) / (right.slope - left.slope + 2 * root)
    return min(max(right.t - (right.t - left.t) * part, lowest), highest)
