"""Elements in another order, repeated or combined: flips, triangles, diagonals, grids."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir.dtype import int64
from ...ir.ops import movement as ops
from ...ir.ops.elementwise import where
from ...ir.ops.index import index
from ...tracer.autograd.graph import composite
from ...tracer.tensor.device import get_default_device
from ...tracer.tensor.dispatch import number
from ...tracer.tensor.gradient_layout import to_contiguous
from ...tracer.tensor.promotion import as_dtype
from ...tracer.tensor.tensor import Tensor
from ..arguments import ints, own_dim, wrap_dim, wrap_dims
from ..conversion import to
from .creation import arange, held, ones_like
from .indexing import Pair, computed
from .reduction import along
from .shape import _swapped, cut, fresh, ravel, reshape, reshaped, unsqueeze
from .slicing_joining import _at_least, cat, diagonal as diagonal_, stack

__all__ = [
    "atleast_1d", "atleast_2d", "atleast_3d", "block_diag", "cartesian_prod", "combinations",
    "diag", "diag_embed", "diagflat", "flip", "fliplr", "flipud", "meshgrid",
    "repeat_interleave", "roll", "rot90", "tril", "tril_indices", "triu", "triu_indices",
    "vander",
]


# ---- order
@ints("dims")
@composite("FlipBackward0")
def flip(input: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The order along the dimensions reversed; a copy.

    Shape: (*) -> (*). Dtype: that of input. Raises RuntimeError for a dimension named twice.

    >>> torch.flip(torch.tensor([[1, 2], [3, 4]]), (0,))
    tensor([[3, 4],
            [1, 2]])
    """
    if not dims:
        return input.clone()
    x = ops.flip(input, axes=wrap_dims(dims, input.ndim))
    return x.clone() if x._array is not None else x


@composite("RollBackward0")
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Shifted along dimensions, what falls off coming back at the other end.

    Shape: (*) -> (*). Dtype: that of input.
    Raises RuntimeError for another number of shifts than dimensions.

    >>> torch.roll(torch.tensor([1, 2, 3, 4]), 1)
    tensor([4, 1, 2, 3])
    """
    if dims is None:
        return reshape(roll(ravel(input), shifts, 0), tuple(input.shape))
    shifts, dims = (v if isinstance(v, (tuple, list)) else (v,) for v in (shifts, dims))
    if not len(shifts):
        raise RuntimeError("`shifts` required")
    if len(shifts) != len(dims):
        raise RuntimeError(
            f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}"
        )
    y = input
    for s, d in zip(shifts, dims, strict=True):
        d = own_dim(d, y.ndim)
        n = y.shape[d]
        if n and s % n:
            y = ops.concat(cut(y, d, n - s % n, n), cut(y, d, 0, n - s % n), axis=d)
    return y.clone() if y is input else y


def fliplr(input: Tensor) -> Tensor:
    """The order of the columns reversed; a copy.

    Shape: (N, M, *) -> the same. Dtype: that of input. Raises RuntimeError for fewer dimensions.

    >>> torch.fliplr(torch.tensor([[1, 2], [3, 4]]))
    tensor([[2, 1],
            [4, 3]])
    """
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    """The order of the rows reversed; a copy.

    Shape: (N, *) -> the same. Dtype: that of input. Raises RuntimeError for a 0-d tensor.

    >>> torch.flipud(torch.tensor([[1, 2], [3, 4]]))
    tensor([[3, 4],
            [1, 2]])
    """
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


@composite("Rot90Backward0")
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Turned by k right angles, from the first of two dimensions towards the second; a copy.

    Shape: (*) -> with two extents exchanged if k is odd. Dtype: that of input.
    Raises RuntimeError for two equal dimensions.

    >>> torch.rot90(torch.tensor([[1, 2], [3, 4]]))
    tensor([[2, 4],
            [1, 3]])
    """
    if len(dims) != 2:
        raise RuntimeError(
            f"expected total rotation dims == 2, but got dims = {len(dims)}"
        )
    if input.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    a, b = (wrap_dim(d, input.ndim) for d in dims)
    if a == b:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {a} = dim1")
    turned = ((), (b,), (a, b), (a,))[k % 4]
    x = flip(input, turned) if turned else input.clone()
    return _swapped(x, a, b) if k % 2 else x


# ---- triangles and diagonals
# ---- triangles
def _triangle(name: str, x: Tensor, diagonal: int, lower: bool) -> Tensor:
    if x.ndim < 2:
        raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
    gap = along(x, x.ndim - 1) - along(x, x.ndim - 2)
    return to_contiguous(
        where(gap <= diagonal if lower else gap >= diagonal, x, number(0, x.dtype))
    )


@composite("TrilBackward0")
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle, zeros above.

    Shape: (*, N, M) -> (*, N, M). Dtype: that of input. `diagonal` moves the border up by so many.
    Raises RuntimeError for fewer than two dimensions.

    >>> torch.tril(torch.ones(2, 2))
    tensor([[1., 0.],
            [1., 1.]])
    """
    return _triangle("tril", input, diagonal, True)


@composite("TriuBackward0")
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle, zeros below.

    Shape: (*, N, M) -> (*, N, M). Dtype: that of input. `diagonal` moves the border up by so many.
    Raises RuntimeError for fewer than two dimensions.

    >>> torch.triu(torch.ones(2, 2), diagonal=1)
    tensor([[0., 1.],
            [0., 0.]])
    """
    return _triangle("triu", input, diagonal, False)


def _indices(name: str, find: Callable) -> Callable:
    def indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None,
                layout: Any = None) -> Tensor:
        if row < 0 or col < 0:
            raise RuntimeError(f"row and col must be non-negative, got {row} and {col}")
        found = held(np.stack(find(row, offset, col)).astype(np.int64), int64)
        where = get_default_device() if device is None else device
        return to(found, int64 if dtype is None else as_dtype(dtype), device=where)

    indices.__name__ = indices.__qualname__ = f"{name}_indices"
    indices.__doc__ = f"""The rows and the columns of the elements that `{name}` keeps.

    Shape: (2, n). Dtype: int64, or `dtype`. Raises RuntimeError for a negative number of rows or
    columns.

    >>> torch.{name}_indices(2, 2)
    tensor([[0, {0 if name == "triu" else 1}, 1],
            [0, {1 if name == "triu" else 0}, 1]])
    """
    return indices


tril_indices, triu_indices = _indices("tril", np.tril_indices), _indices("triu", np.triu_indices)


# ---- diagonals
@composite("DiagEmbedBackward0")
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices, in the dimensions `dim1` and `dim2`, with the last dimension as a diagonal.

    Shape: (*, N) -> (*, N, N), larger for an offset. Dtype: that of input.
    Raises RuntimeError for two equal dimensions; IndexError for one out of range.

    >>> torch.diag_embed(torch.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """
    a, b = (wrap_dim(d, input.ndim + 1) for d in (dim1, dim2))
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    x, lead = ops.embedded(input), input.ndim - 1
    if offset:
        sides = (max(-offset, 0), max(offset, 0), 0)
        x = ops.pad(x, pads=(*((0, 0, 0),) * lead, sides, (sides[1], sides[0], 0)))
    rest = iter(range(lead))
    axes = (lead if d == a else lead + 1 if d == b else next(rest) for d in range(x.ndim))
    return ops.permute(x, axes=tuple(axes))


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, or the matrix with a vector as its diagonal.

    Shape: (N, M) -> (K,), (N,) -> (N, N), larger for an offset. Dtype: that of input.
    Raises RuntimeError for other ranks.

    >>> torch.diag(torch.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """
    if input.ndim == 2:
        return diagonal_(input, diagonal).clone()
    if input.ndim != 1:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    return diag_embed(input, diagonal)


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The matrix with all elements as its diagonal.

    Shape: n elements -> (n + |offset|, n + |offset|). Dtype: that of input.

    >>> torch.diagflat(torch.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """
    return diag_embed(ravel(input), offset)


# ---- blocks, grids, combinations, repetition
def _atleast(rank: int) -> Any:
    def atleast(*tensors: Any) -> Any:
        many = len(tensors) != 1 or isinstance(tensors[0], (tuple, list))
        given = tensors[0] if many and len(tensors) == 1 else tensors
        found = tuple(_at_least(x, rank) for x in given)
        return found if many else found[0]

    atleast.__name__ = atleast.__qualname__ = f"atleast_{rank}d"
    shape = {1: "(n,)", 2: "(1, n)", 3: "(1, n, 1)"}[rank]
    two = shape.replace("n", "2").replace("(", "[").replace(",)", "]").replace(")", "]")
    atleast.__doc__ = f"""Tensors of fewer than {rank} dimensions with some of extent 1 added.

    Shape: a vector (n,) -> {shape}; one with enough dimensions stays. Dtype: that of input.
    One tensor, or several, each of them alone: the result is one, or a tuple.

    >>> torch.atleast_{rank}d(torch.ones(2)).shape
    tracegrad.Size({two})
    """
    return atleast


atleast_1d, atleast_2d, atleast_3d = map(_atleast, (1, 2, 3))


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
    """The powers of the elements of a vector, from N - 1 to 0 or the other way, as rows.

    Shape: (n,) -> (n, N), or (n, n). Dtype: that of x. Raises RuntimeError if x is no vector.

    >>> torch.vander(torch.tensor([1, 2, 3]), N=3)
    tensor([[1, 1, 1],
            [4, 2, 1],
            [9, 3, 1]])
    """
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

        def places(counts: np.ndarray) -> list[Pair]:
            if (counts < 0).any():
                raise RuntimeError("repeats can not be negative")
            counts = np.broadcast_to(counts.reshape(-1), shape[d])
            return [(np.repeat(np.arange(shape[d]), counts), int64)]

        (each,) = computed(places, "repeat_interleave() with a tensor of counts", repeats)
        return index(x, each, axes=(d,))
    if repeats < 0:
        raise RuntimeError("repeats can not be negative")
    x = ops.expand(unsqueeze(x, d + 1), shape=(*shape[: d + 1], repeats, *shape[d + 1 :]))
    return fresh(reshaped(x, (*shape[:d], shape[d] * repeats, *shape[d + 1 :])), input)
