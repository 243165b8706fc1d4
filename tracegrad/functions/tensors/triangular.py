"""Triangles and diagonals of matrices, and tensors with a part of them exchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...ir.dtype import int64
from ...ir.ops import movement as ops
from ...ir.ops.elementwise import where
from ...tracer.autograd.graph import composite
from ...tracer.tensor.dispatch import number
from ...tracer.tensor.gradient_layout import to_contiguous
from ...tracer.tensor.promotion import as_dtype
from ...tracer.tensor.tensor import Tensor
from ..math.reduction import along, wrap_dim
from .conversion import to
from .creation import held
from .fill import copy_
from .shape import cut, ravel
from .slicing import as_strided, diagonal as diagonal_, select


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
        return to(found, int64 if dtype is None else as_dtype(dtype), device=device)

    indices.__name__ = indices.__qualname__ = f"{name}_indices"
    indices.__doc__ = f"The rows and the columns of the elements that `{name}` keeps."
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
    """The matrix with all elements as its diagonal."""
    return diag_embed(ravel(input), offset)


# ---- a copy with a part exchanged
def _exchanged(name: str, title: str, part: Callable) -> Callable:
    def exchange(input: Tensor, src: Tensor, *place: Any, **named: Any) -> Tensor:
        y = input.clone()
        region = part(y, *place, **named)
        if tuple(region.shape) != tuple(src.shape):
            raise RuntimeError(
                "expected src to have a size equal to the slice of self. src size = "
                f"{list(src.shape)}, slice size = {list(region.shape)}"
            )
        copy_(region, src)
        return y

    exchange.__name__ = exchange.__qualname__ = f"{name}_scatter"
    exchange.__doc__ = f"A copy with `src` in the place that `{name}` takes."
    return composite(f"{title}ScatterBackward0")(exchange)


def _sliced(
    input: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    d = wrap_dim(dim, input.ndim)
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    found = range(input.shape[d])[start:end:step]
    return cut(input, d, found.start, max(found.start, found.stop), step)


select_scatter = _exchanged("select", "Select", select)
slice_scatter = _exchanged("slice", "Slice", _sliced)
diagonal_scatter = _exchanged("diagonal", "Diagonal", diagonal_)
as_strided_scatter = _exchanged("as_strided", "AsStrided", as_strided)

__all__ = [
    "as_strided_scatter", "diag", "diag_embed", "diagflat", "diagonal_scatter", "select_scatter",
    "slice_scatter", "tril", "tril_indices", "triu", "triu_indices",
]
