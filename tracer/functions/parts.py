"""Parts of a tensor, all of them views: one position, a range, pieces, windows, diagonals."""

from __future__ import annotations

from typing import Any

from ...ir.ops import movement as ops
from ..tape import composite
from ..tensor import Tensor
from .movement import cut, reshaped
from .reduce import wrap_dim


@composite("SelectBackward0")
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The part at one position along `dim`, without that dimension."""
    if input.ndim == 0:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = wrap_dim(dim, input.ndim)
    n = input.shape[d]
    if not -n <= index < n:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at "
            f"dimension {d}"
        )
    i = index % n
    part = cut(input, d, i, i + 1)
    return reshaped(part, (*input.shape[:d], *input.shape[d + 1 :]))


@composite("SliceBackward0")
def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`length` positions along `dim`, from `start`."""
    d = wrap_dim(dim, input.ndim)
    n = input.shape[d]
    begin = start + n if start < 0 else start
    if not 0 <= begin <= n or begin + length > n or length < 0:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return cut(input, d, begin, begin + length)


def _lengths(n: int, size: Any, dim: int) -> list[int]:
    if isinstance(size, int):
        if size <= 0 and n:
            raise RuntimeError(f"split expects split_size be positive, but got split_size={size}")
        return [min(size, n - i) for i in range(0, n, size)] if n else [0]
    if sum(size) != n:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at "
            f"dimension {dim}), but got "
            f"split_sizes={list(size)}"
        )
    return list(size)


def _several(parts: list[Tensor], name: str) -> tuple[Tensor, ...]:
    for part in parts:
        if part._view is not None:
            part._view.many = name
    return tuple(parts)


@composite("SplitBackward0")
def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """The parts of a tensor along `dim`, of one length or of the given ones."""
    d = wrap_dim(dim, tensor.ndim)
    parts, start = [], 0
    for n in _lengths(tensor.shape[d], split_size_or_sections, d):
        parts.append(cut(tensor, d, start, start + n))
        start += n
    return _several(parts, "Split")


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` equal parts along `dim`."""
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input.shape[wrap_dim(dim, input.ndim)]
    return split(input, max(-(-n // chunks), 1), dim)


@composite("UnbindBackward0")
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """All parts along `dim`, each without that dimension."""
    return _several(
        [select(input, dim, i) for i in range(input.shape[wrap_dim(dim, input.ndim)])], "Unbind"
    )


@composite("UnfoldBackward0")
def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """All windows of `size` along a dimension, one every `step`, as a new last dimension."""
    d = wrap_dim(dimension, input.ndim)
    x = input if input.ndim else reshaped(input, (1,))
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > x.shape[d]:
        raise RuntimeError(
            f"maximum size for tensor at dimension {d} is {x.shape[d]} but size is {size}"
        )
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    if size == 0:
        count = x.shape[d] // step + 1
        return reshaped(cut(x, d, 0, 0), (*x.shape[:d], count, *x.shape[d + 1 :], 0))
    return ops.window(x, axis=d, size=size, step=step, dilation=1)


@composite("DiagonalBackward0")
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A diagonal of two dimensions, as the last one; a view."""
    a, b = wrap_dim(dim1, input.ndim), wrap_dim(dim2, input.ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    rest = tuple(d for d in range(input.ndim) if d not in (a, b))
    x = ops.permute(input, axes=(*rest, a, b))
    row, column = max(-offset, 0), max(offset, 0)
    n = max(min(x.shape[-2] - row, x.shape[-1] - column), 0)
    x = cut(x, x.ndim - 2, min(row, x.shape[-2]), min(row, x.shape[-2]) + n)
    x = cut(x, x.ndim - 1, min(column, x.shape[-1]), min(column, x.shape[-1]) + n)
    return ops.diagonal(x)


__all__ = ["chunk", "diagonal", "narrow", "select", "split", "unbind"]
