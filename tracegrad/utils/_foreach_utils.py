"""How torch's optimizers group tensors for `_foreach_` functions."""

from __future__ import annotations

from typing import Any

__all__ = ["_get_foreach_kernels_supported_devices", "_get_fused_kernels_supported_devices",
           "_group_tensors_by_device_and_dtype"]


def _get_foreach_kernels_supported_devices() -> list[str]:
    return ["cuda"]


def _get_fused_kernels_supported_devices() -> list[str]:
    return ["cuda", "cpu"]


def _group_tensors_by_device_and_dtype(
    tensorlistlist: list[list[Any]], with_indices: bool = False
) -> dict[tuple, tuple[list[list[Any]], list[int]]]:
    """The columns of lists of tensors, by device and dtype of the tensor in the first list."""
    groups: dict[tuple, tuple[list[list[Any]], list[int]]] = {}
    for k, first in enumerate(tensorlistlist[0]):
        lists, indices = groups.setdefault(
            (first.device, first.dtype), ([[] for _ in tensorlistlist], [])
        )
        for out, tensors in zip(lists, tensorlistlist, strict=True):
            if tensors:
                out.append(tensors[k])
        if with_indices:
            indices.append(k)
    return groups
