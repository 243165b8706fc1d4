"""torch._utils: many tensors in one, and names that packages import."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .functions.torch.slicing_joining import cat
from .tracer.tensor.device import device as _device
from .tracer.tensor.tensor import Tensor


def _flatten_dense_tensors(tensors: Iterable[Tensor]) -> Tensor:
    """All elements in one dimension."""
    return cat([t.contiguous().view(-1) for t in tensors])


def _unflatten_dense_tensors(flat: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Parts of `flat` with the shapes of these tensors."""
    parts = flat.split([t.numel() for t in tensors])
    return tuple(part.view(t.shape) for part, t in zip(parts, tensors, strict=True))


def _get_device_index(device: Any, optional: bool = False, allow_cpu: bool = False) -> int:
    """The number of a device; -1 for the CPU."""
    if isinstance(device, int):
        return device
    where = _device(device)
    if where.type == "cpu":
        if not allow_cpu:
            raise ValueError(f"Expected a non cpu device, but got: {where}")
        return -1
    return where.index or 0
