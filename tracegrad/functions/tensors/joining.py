"""Several tensors made one, and one repeated."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.dtype import int64
from ...ir.op import ShapeError
from ...ir.ops import movement as ops
from ...ir.ops.elementwise import cast
from ...ir.ops.index import index
from ...tracer.autograd.graph import composite
from ...tracer.tensor.layout import contiguous_format
from ...tracer.tensor.promotion import common_dtype
from ...tracer.tensor.tensor import Tensor
from ..math.reduction import numpy_names, wrap_dim
from .creation import arange, held, ones_like
from .indexing import known
from .shape import cut, fresh, ints, ravel, reshaped, unsqueeze


@numpy_names
@composite("CatBackward0")
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one behind the other along an existing dimension.

    Shape: (*A, n_i, *B), each -> (*A, the sum of n_i, *B). Dtype: the promoted one.
    Raises RuntimeError if other extents differ; IndexError for a dimension out of range.

    >>> torch.cat([torch.ones(2, 1), torch.zeros(2, 2)], dim=1)
    tensor([[1., 0., 0.],
            [1., 0., 0.]])
    """
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
    """The tensors one behind the other along a new dimension.

    Shape: n of (*A, *B) -> (*A, n, *B). Dtype: the promoted one.
    Raises RuntimeError if the shapes differ; IndexError for a dimension out of range.

    >>> torch.stack([torch.tensor([1, 2]), torch.tensor([3, 4])])
    tensor([[1, 2],
            [3, 4]])
    """
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
    if x.ndim >= rank:
        return x
    if rank == 3:  # a vector is a row, and a matrix one of its planes
        return reshaped(x, (1, x.numel(), 1) if x.ndim < 2 else (*x.shape, 1))
    return reshaped(x, (*(1,) * (rank - x.ndim), *x.shape))


def _atleast(rank: int) -> Any:
    def atleast(*tensors: Any) -> Any:
        many = len(tensors) != 1 or isinstance(tensors[0], (tuple, list))
        given = tensors[0] if many and len(tensors) == 1 else tensors
        found = tuple(_at_least(x, rank) for x in given)
        return found if many else found[0]

    atleast.__name__ = atleast.__qualname__ = f"atleast_{rank}d"
    atleast.__doc__ = f"Tensors of fewer than {rank} dimensions with some of extent 1 added."
    return atleast


atleast_1d, atleast_2d, atleast_3d = map(_atleast, (1, 2, 3))


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Stacked as rows.

    Shape: vectors (N,) count as (1, N); then as `cat` along dimension 0. Dtype: the promoted one.
    Raises RuntimeError if other extents differ.

    >>> torch.vstack([torch.tensor([1, 2]), torch.tensor([3, 4])])
    tensor([[1, 2],
            [3, 4]])
    """
    return cat([_at_least(x, 2) for x in tensors], 0)


row_stack = vstack


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along the columns.

    Shape: as `cat` along dimension 1, of vectors along dimension 0. Dtype: the promoted one.
    Raises RuntimeError if other extents differ.

    >>> torch.hstack([torch.tensor([1, 2]), torch.tensor([3])])
    tensor([1, 2, 3])
    """
    parts = [_at_least(x, 1) for x in tensors]
    return cat(parts, 0 if parts and parts[0].ndim == 1 else 1)


def dstack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along the third dimension.

    Shape: as `cat` along dimension 2, of tensors with at least three dimensions. Dtype: the
    promoted one. Raises RuntimeError if other extents differ.

    >>> torch.dstack([torch.tensor([1, 2]), torch.tensor([3, 4])])
    tensor([[[1, 3],
             [2, 4]]])
    """
    return cat([_at_least(x, 3) for x in tensors], 2)


def column_stack(tensors: Sequence[Tensor]) -> Tensor:
    """Joined along the columns, vectors being columns.

    Shape: (N,) counts as (N, 1); then as `cat` along dimension 1. Dtype: the promoted one.
    Raises RuntimeError if other extents differ.

    >>> torch.column_stack([torch.tensor([1, 2]), torch.tensor([3, 4])])
    tensor([[1, 3],
            [2, 4]])
    """
    return hstack([x if x.ndim > 1 else reshaped(x, (x.numel(), 1)) for x in tensors])


def block_diag(*tensors: Tensor) -> Tensor:
    """Matrices along the diagonal of one, zeros elsewhere.

    Shape: (N, M), ... -> (the sum of N, the sum of M). Dtype: the promoted one.
    Raises RuntimeError for more than two dimensions.

    >>> torch.block_diag(torch.tensor([[1, 2]]), torch.tensor([[3]]))
    tensor([[1, 2, 0],
            [0, 0, 3]])
    """
    blocks = [_at_least(x, 2) for x in tensors]
    for i, x in enumerate(blocks):
        if x.ndim > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has "
                f"{x.ndim} dimensions"
            )
    width, rows, before = sum(x.shape[1] for x in blocks), [], 0
    for x in blocks:
        after = width - before - x.shape[1]
        rows.append(ops.pad(x, pads=((0, 0, 0), (before, after, 0))))
        before += x.shape[1]
    return cat(rows, 0)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """The coordinates of a grid: each vector expanded along its own dimension.

    Shape: (N,), (M,), ... -> as many of (N, M, ...); `indexing="xy"` exchanges the first two.
    Dtype: that of the inputs. Raises RuntimeError for other ranks or different dtypes.

    >>> rows, columns = torch.meshgrid(torch.tensor([1, 2]), torch.tensor([3, 4, 5]), indexing="ij")
    >>> columns
    tensor([[3, 4, 5],
            [3, 4, 5]])
    """
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    for x in tensors:
        if x.ndim > 1:
            raise RuntimeError(
                "torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: "
                f"{list(x.shape)}"
            )
        if x.dtype is not tensors[0].dtype:
            raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype")
    if indexing not in ("ij", "xy"):
        raise RuntimeError(
            f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    turned = indexing == "xy" and len(tensors) > 1
    order = (1, 0, *range(2, len(tensors))) if turned else tuple(range(len(tensors)))
    shape = tuple(tensors[k].numel() for k in order)
    return tuple(
        ops.expand(
            reshaped(x, tuple(n if order[d] == k else 1 for d, n in enumerate(shape))), shape=shape
        )
        for k, x in enumerate(tensors)
    )


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of one element of each vector, as rows.

    Shape: (N,), (M,), ... -> (N * M * ..., how many). Dtype: that of all.
    Raises RuntimeError for other ranks.

    >>> torch.cartesian_prod(torch.tensor([1, 2]), torch.tensor([3, 4]))
    tensor([[1, 3],
            [1, 4],
            [2, 3],
            [2, 4]])
    """
    for x in tensors:
        if x.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(x.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    return stack([ravel(x) for x in meshgrid(*tensors)], 1)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All ways to choose r elements of a vector, as rows.

    Shape: (N,) -> (the number of choices, r). Dtype: that of input.
    Raises RuntimeError for other ranks or a negative r.

    >>> torch.combinations(torch.tensor([1, 2, 3]))
    tensor([[1, 2],
            [1, 3],
            [2, 3]])
    """
    if input.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return cut(input, 0, 0, 0)
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = np.array(list(choose(range(input.numel()), r)), np.int64).reshape(-1, r)
    return index(input, held(rows, int64), axes=(0,))


def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of the elements of a vector, from N - 1 to 0 or the other way, as rows."""
    if x.ndim != 1:
        raise RuntimeError(f"torch.vander: x must be a one-dimensional tensor, but got {x.ndim}D")
    count = x.numel() if N is None else N
    if count < 0:
        raise RuntimeError(f"torch.vander: N must be non-negative, but got {count}")
    x = x if x.dtype.is_floating_point else x.long()
    powers = [ones_like(x)]
    for _ in range(count - 1):
        powers.append(powers[-1] * x)
    if count == 0:
        return cut(reshaped(x, (x.numel(), 1)), 1, 0, 0)
    return stack(powers if increasing else powers[::-1], 1)


@ints("repeats")
@composite("RepeatBackward0")
def repeat(input: Tensor, times: tuple[int, ...]) -> Tensor:
    """Copies of the tensor side by side, so many along each dimension.

    Shape: (*) -> each extent times its count; more counts than dimensions add dimensions in front.
    Dtype: that of input. Raises RuntimeError for fewer counts than dimensions.

    >>> torch.tensor([1, 2]).repeat(2, 2)
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    if any(n < 0 for n in times):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(times)}: {times}")
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
    y = reshaped(x, tuple(k * n for k, n in zip(times, old, strict=True)))
    return y.clone(memory_format=contiguous_format)


@ints("dims")
def tile(input: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Like `repeat`, with missing leading counts taken as 1.

    Shape: as `repeat`. Dtype: that of input. Raises RuntimeError for negative counts.

    >>> torch.tile(torch.tensor([1, 2]), (3,))
    tensor([1, 2, 1, 2, 1, 2])
    """
    return repeat(input, (*(1,) * (input.ndim - len(dims)), *dims))


def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each element `repeats` times in a row, one number for all or one for each; of a tensor of
    counts alone, each position so many times.

    Shape: (*) -> the extent at `dim` is the sum of the repeats. Dtype: that of input.
    Raises RuntimeError for negative repeats, or if their number does not fit.

    >>> torch.repeat_interleave(torch.tensor([1, 2, 3]), 2)
    tensor([1, 1, 2, 2, 3, 3])
    """
    if repeats is None:
        return repeat_interleave(arange(input.numel()), input)
    x, d = (ravel(input), 0) if dim is None else (input, wrap_dim(dim, input.ndim))
    if x.ndim == 0:
        x = ravel(x)
    shape = tuple(x.shape)
    if isinstance(repeats, Tensor):
        if repeats.ndim > 1 or (repeats.ndim == 1 and repeats.numel() not in (1, shape[d])):
            raise RuntimeError(
                f"repeats must have the same size as input along dim, but got repeats.size(0) = "
                f"{list(repeats.shape)} and input.size({d}) = {shape[d]}"
            )
        counts = known(repeats, "repeat_interleave() with a tensor of counts")
        if (counts < 0).any():
            raise RuntimeError("repeats can not be negative")
        each = np.repeat(np.arange(shape[d]), np.broadcast_to(counts.reshape(-1), shape[d]))
        return index(x, held(each, int64), axes=(d,))
    if repeats < 0:
        raise RuntimeError("repeats can not be negative")
    x = ops.expand(unsqueeze(x, d + 1), shape=(*shape[: d + 1], repeats, *shape[d + 1 :]))
    return fresh(reshaped(x, (*shape[:d], shape[d] * repeats, *shape[d + 1 :])), input)


__all__ = [
    "atleast_1d", "atleast_2d", "atleast_3d", "block_diag", "cartesian_prod", "cat",
    "column_stack", "combinations", "concat", "concatenate", "dstack", "hstack", "meshgrid",
    "repeat_interleave", "row_stack", "stack", "tile", "vander", "vstack",
]
