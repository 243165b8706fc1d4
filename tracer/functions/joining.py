"""Several tensors made one, and one repeated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.op import ShapeError
from ...ir.ops import movement as ops
from ...ir.ops.elementwise import cast
from ..promotion import common_dtype
from ..tape import composite
from ..tensor import Tensor
from .movement import as_ints, ravel, reshaped, unsqueeze
from .reduce import numpy_names, wrap_dim


@numpy_names
@composite("CatBackward0")
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one behind the other along an existing dimension."""
    parts = list(tensors)
    if not parts:
        raise ValueError("expected a non-empty list of Tensors")
    for i, x in enumerate(parts):
        if not isinstance(x, Tensor):
            raise TypeError(
                f"expected Tensor as element {i} in argument 0, but got {type(x).__name__}"
            )
        if x.ndim == 0:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    dtype = common_dtype(parts)
    parts = [x for x in parts if tuple(x.shape) != (0,)] or parts[
        :1
    ]  # torch lets an empty vector join anything
    d = wrap_dim(dim, parts[0].ndim)
    first = parts[0].shape
    for i, x in enumerate(parts):
        if x.ndim != len(first):
            raise ShapeError(
                f"Tensors must have same number of dimensions: got {len(first)} and {x.ndim}"
            )
        for at, (n, m) in enumerate(zip(first, x.shape, strict=True)):
            if at != d and n != m:
                raise ShapeError(
                    f"Sizes of tensors must match except in dimension {d}. Expected size {n} but "
                    f"got size {m} for tensor "
                    f"number {i} in the list."
                )
    return ops.concat(*(x if x.dtype is dtype else cast(x, dtype=dtype) for x in parts), axis=d)


concat = concatenate = cat


@numpy_names
@composite("StackBackward0")
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one behind the other along a new dimension."""
    parts = list(tensors)
    if not parts:
        raise RuntimeError("stack expects a non-empty TensorList")
    for i, x in enumerate(parts):
        if x.shape != parts[0].shape:
            raise ShapeError(
                f"stack expects each tensor to be equal size, but got {list(parts[0].shape)} at "
                "entry 0 and "
                f"{list(x.shape)} at entry {i}"
            )
    d = wrap_dim(dim, parts[0].ndim + 1)
    return cat([unsqueeze(x, d) for x in parts], d)


def _at_least(x: Tensor, rank: int) -> Tensor:
    return x if x.ndim >= rank else reshaped(x, (*(1,) * (rank - x.ndim), *x.shape))


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Stacked as rows."""
    return cat([_at_least(x, 2) for x in tensors], 0)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along the columns."""
    parts = [_at_least(x, 1) for x in tensors]
    return cat(parts, 0 if parts[0].ndim == 1 else 1)


@composite("RepeatBackward0")
def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """Copies of the tensor side by side, so many along each dimension."""
    times = as_ints(repeats, "repeat")
    lead = len(times) - input.ndim
    if lead < 0:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of "
            "tensor"
        )
    old = (*(1,) * lead, *input.shape)
    x = reshaped(input, tuple(n for extent in old for n in (1, extent)))
    x = ops.expand(
        x, shape=tuple(n for k, extent in zip(times, old, strict=True) for n in (k, extent))
    )
    return reshaped(x, tuple(k * n for k, n in zip(times, old, strict=True))).clone()


def tile(input: Tensor, *dims: Any) -> Tensor:
    """Like `repeat`, with missing leading counts taken as 1."""
    times = as_ints(dims, "tile")
    return repeat(input, (*(1,) * (input.ndim - len(times)), *times))


def repeat_interleave(input: Tensor, repeats: int, dim: int | None = None) -> Tensor:
    """Each element `repeats` times in a row."""
    x, d = (ravel(input), 0) if dim is None else (input, wrap_dim(dim, input.ndim))
    shape = tuple(x.shape)
    x = ops.expand(unsqueeze(x, d + 1), shape=(*shape[: d + 1], repeats, *shape[d + 1 :]))
    return reshaped(x, (*shape[:d], shape[d] * repeats, *shape[d + 1 :]))


__all__ = ["cat", "concat", "concatenate", "hstack", "repeat_interleave", "stack", "tile", "vstack"]
