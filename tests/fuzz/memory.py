"""Where tensors lie in memory: strides of views, and which tensors share it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .compare import Differs, dtype_of


def root(a: Any) -> Any:
    while getattr(a, "base", None) is not None:
        a = a.base
    return a


def significant(t: Any) -> list[int]:
    """The strides that a position can be multiplied with."""
    return [s for n, s in zip(t.shape, t.stride(), strict=True) if n > 1]


def shared_by_torch(a: torch.Tensor, b: torch.Tensor) -> bool:
    try:
        return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
    except RuntimeError:  # a tensor out of a transform may have lost its memory
        return False


def same_sharing(name: str, other: str, mine: tuple, theirs: tuple) -> None:
    """Raise Differs unless two of ours share memory, and with the same strides, as the same two of
    torch's do. Where an older one is laid out otherwise than torch's, a view need not be one.
    """
    if 0 in (theirs[0].numel(), theirs[1].numel()):
        return
    if (mine[0] is mine[1]) != (theirs[0] is theirs[1]):
        raise Differs("identity", f"{name} is {'' if mine[0] is mine[1] else 'not '}{other} itself")
    arrays = [t.detach()._array for t in mine]
    if not shared_by_torch(*theirs):
        if np.shares_memory(*arrays):
            raise Differs("alias", f"{name} shares the memory of {other}")
        return
    if significant(mine[1]) != significant(theirs[1]):
        return
    if root(arrays[0]) is not root(arrays[1]):
        raise Differs("alias", f"{name} does not share the memory of {other}")
    places = [(significant(ts[0]), ts[0].storage_offset()) for ts in (mine, theirs)]
    if places[0] != places[1]:
        raise Differs("strides", f"{name} has strides and offset {places[0]}, expected {places[1]}")


def adopt(mine: Any, theirs: torch.Tensor) -> None:
    """Write torch's bits over our nearly equal ones, so that the next statement starts from the
    same numbers. Nothing of the history notices.
    """
    t = theirs.detach()
    bits = t.view(torch.uint16) if dtype_of(t) == "bfloat16" else t
    kept = mine.detach()._array
    if kept.flags.writeable:
        kept[...] = bits.numpy(force=True)
