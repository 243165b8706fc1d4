"""Inputs that share memory: a program that writes into one of them is refused."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from ..ir.device_array import DeviceArray, bounds
from ..tracer.capture.inputs import Input
from .places import Array


def overlap(a: Array, b: Array) -> bool:
    if type(a) is DeviceArray or type(b) is DeviceArray:
        if type(a) is not type(b) or a.device is not b.device:
            return False
        (low, high), (begin, end) = bounds(a), bounds(b)
        return low < end and begin < high
    return a.size > 0 and b.size > 0 and np.may_share_memory(a, b)


def _overlaps_itself(a: Array) -> bool:
    """Whether two elements may lie at one place."""
    span = a.itemsize
    for stride, extent in sorted((abs(s), n) for s, n in zip(a.strides, a.shape, strict=True)):
        if extent > 1 and stride < span:
            return a.size > 0
        span += stride * (extent - 1)
    return False


def _overlapping(inputs: list[Input]) -> Iterator[tuple[Input, Input]]:
    """The pairs of inputs whose memory overlaps."""
    spans = [
        (*bounds(i.tensor._array), k)
        for k, i in enumerate(inputs) if i.tensor is not None and i.tensor._array.size
    ]
    spans.sort()
    for at, (_, end, k) in enumerate(spans):
        for start, _, other in islice(spans, at + 1, None):
            if start >= end:
                break
            yield inputs[k], inputs[other]


def refuse_overlap(written: list[Input], inputs: list[Input]) -> None:
    for w in written:
        if w.tensor is not None and _overlaps_itself(w.tensor._array):
            raise RuntimeError(
                f"a compiled function changes a tensor of shape {list(w.tensor.shape)} and strides "
                f"{w.tensor.stride()} in place (line {w.twin._node.site}), several elements of "
                "which lie at one place in memory; clone() it before, or change it outside of the "
                "compiled function"
            )
    changed = set(written)
    for pair in _overlapping(inputs) if changed else ():
        w, other = pair if pair[0] in changed else pair[::-1]
        if w in changed:
            raise RuntimeError(
                f"a compiled function changes a tensor of shape {list(w.tensor.shape)} in place "
                f"that shares memory with another tensor of shape {list(other.tensor.shape)} it "
                "uses; pass one of them and make the view inside the function"
            )
