"""Layouts and memory formats, by torch's names.

All tensors are strided. A memory format is an order of the dimensions in memory.
"""

from __future__ import annotations

from typing import Any

from ...ir.strides import contiguous
from ..mode import resolve
from .layout_names import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    layout,
    memory_format,
    preserve_format,
    strided,
)
from .memory_order import strides_of
from .tensor import Tensor


def format_strides(t: Tensor, memory_format: Any) -> tuple[int, ...] | None:
    """The strides of a memory format; None for `preserve_format`."""
    if memory_format is None or memory_format is preserve_format:
        return None
    shape = tuple(t.shape)
    if memory_format is contiguous_format:
        return contiguous(shape)
    rank = {channels_last: 4, channels_last_3d: 5}.get(memory_format)
    if rank is None:
        raise TypeError(f"memory_format must be one of tracegrad's, not {memory_format!r}")
    if len(shape) != rank:
        name = memory_format.rpartition(".")[2]
        raise RuntimeError(f"required rank {rank} tensor to use {name} format")
    n, *space, channels = contiguous((shape[0], *shape[2:], shape[1]))
    return (n, channels, *space)


def format_of(t: Tensor) -> str:
    """The memory format that torch derives from the strides of a tensor."""
    last = {4: channels_last, 5: channels_last_3d}.get(t.ndim)
    strides, shape, least = strides_of(resolve(t)), t.shape, 0
    if last is None or strides[1] == 0:
        return contiguous_format
    for d in (1, *range(t.ndim - 1, 1, -1), 0):
        if shape[d] == 0 or strides[d] < least or (d == 0 and least == strides[1]):
            return contiguous_format
        least = strides[d] * shape[d]
    return last


__all__ = [
    "channels_last", "channels_last_3d", "contiguous_format", "layout", "memory_format",
    "preserve_format", "strided",
]
