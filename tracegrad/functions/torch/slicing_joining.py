"""Parts of a tensor, all of them views: one position, a range, pieces, windows, diagonals. And
several tensors made one: cat, stack, tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.node import user_site
from ...ir.op import ShapeError
from ...ir.ops import movement as ops
from ...ir.ops.elementwise import cast
from ...tracer.autograd.graph import composite
from ...tracer.mode import mode, resolve
from ...tracer.tensor.layout import contiguous_format
from ...tracer.tensor.memory_order import strides_of
from ...tracer.tensor.promotion import common_dtype
from ...tracer.tensor.tensor import Tensor, wrap
from ...tracer.tensor.views import base_and_path
from ..arguments import ints, numpy_names, own_dim, wrap_dim
from .shape import copying, cut, is_contiguous, reshaped, unsqueeze
from .tensors import storage_offset as offset_in_memory

__all__ = [
    "alias_copy", "as_strided", "as_strided_copy", "cat", "chunk", "column_stack", "concat",
    "concatenate", "diagonal", "diagonal_copy", "dsplit", "dstack", "hsplit", "hstack",
    "narrow", "narrow_copy", "row_stack", "select", "select_copy", "split", "split_copy",
    "split_with_sizes", "split_with_sizes_copy", "stack", "tensor_split", "tile", "unbind",
    "unbind_copy", "unfold_copy", "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes",
    "vsplit", "vstack",
]


# ---- parts
@composite("SelectBackward0")
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The part at one position along `dim`, without that dimension.

    Shape: (*A, n, *B) -> (*A, *B). Dtype: that of input. A view.
    Raises IndexError for a dimension or an index out of range.

    >>> torch.select(torch.tensor([[1, 2], [3, 4]]), 1, 0)
    tensor([1, 3])
    """
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
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """`length` positions along `dim`, from `start`.

    Shape: the extent at `dim` becomes `length`. Dtype: that of input. A view.
    Raises RuntimeError for a part that lies outside; IndexError for a dimension out of range.

    >>> torch.narrow(torch.tensor([1, 2, 3, 4]), 0, 1, 2)
    tensor([2, 3])
    """
    if input.ndim == 0:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    d = wrap_dim(dim, input.ndim)
    n, start = input.shape[d], start.__index__()
    begin = start + n if start < 0 else start
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -n <= start <= n:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-n}, {n}], but got {start})"
        )
    if begin + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return cut(input, d, begin, begin + length)


def _extent(name: str, x: Tensor, dim: int) -> int:
    """How long x, which is to be taken apart, is along `dim`."""
    if x.ndim == 0:
        raise RuntimeError(
            f"{name} expects at least a 1-dimensional tensor, but got a tensor with 0 dims"
        )
    return x.shape[wrap_dim(dim, x.ndim)]


def _lengths(n: int, size: Any, dim: int) -> list[int]:
    if isinstance(size, int):
        if size < 0 or not size and n:
            raise RuntimeError(f"split expects split_size be positive, but got split_size={size}")
        return [min(size, n - i) for i in range(0, n, size)] if n else [0]
    if sum(size) != n or any(k < 0 for k in size):
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to be non-negative and to sum exactly to {n} "
            f"(input tensor's size at dimension {dim}), but got split_sizes={list(size)}"
        )
    return list(size)


def _several(parts: list[Tensor], name: str) -> tuple[Tensor, ...]:
    for part in parts:
        if part._view is not None:
            part._view.multi_view_function = name
    return tuple(parts)


@composite("SplitBackward0")
def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """The parts of a tensor along `dim`, of one length or of the given ones.

    Shape: the parts differ at `dim` alone; the last may be shorter. Dtype: that of the tensor.
    Views.
    Raises RuntimeError if given lengths do not sum to the extent.

    >>> torch.split(torch.arange(5), 2)
    (tensor([0, 1]), tensor([2, 3]), tensor([4]))
    """
    extent, d = _extent("split", tensor, dim), wrap_dim(dim, tensor.ndim)
    parts, start = [], 0
    for n in _lengths(extent, split_size_or_sections, d):
        parts.append(cut(tensor, d, start, start + n))
        start += n
    return _several(parts, "Split")


def _split(self: Tensor, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """The method, which has another name for the lengths."""
    return split(self, split_size, dim)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` equal parts along `dim`.

    Shape: the parts differ at `dim` alone; the last may be shorter. Dtype: that of input. Views.
    Raises RuntimeError for less than one chunk.

    >>> torch.chunk(torch.arange(5), 2)
    (tensor([0, 1, 2]), tensor([3, 4]))
    """
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = _extent("chunk", input, dim)
    return split(input, -(-n // chunks) if n else [0] * chunks, dim)


def split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """The parts of these lengths along `dim`.

    Shape: (*) -> parts of it, views. Raises RuntimeError if the lengths do not add up.

    >>> torch.split_with_sizes(torch.arange(5), [2, 3])
    (tensor([0, 1]), tensor([2, 3, 4]))
    """
    return split(input, list(split_sizes), dim)


# in torch the results of these may be changed in place; here those of `split` know when they must
unsafe_split, unsafe_chunk, unsafe_split_with_sizes = split, chunk, split_with_sizes


def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """So many parts of nearly equal length along `dim`, or those between the given positions.

    Shape: the parts differ at `dim` alone. Dtype: that of input. Views.
    Raises RuntimeError for less than one part.

    >>> torch.tensor_split(torch.arange(5), 2)
    (tensor([0, 1, 2]), tensor([3, 4]))
    """
    n, d, where = _extent("tensor_split", input, dim), dim % (input.ndim or 1), indices_or_sections
    if isinstance(where, Tensor):
        if where.ndim > 1 or where.dtype.name != "int64":
            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to be a zero-dimensional or "
                f"one-dimensional int64 tensor, but got a tensor with {where.ndim} dims"
            )
        where = [int(i) for i in where] if where.ndim else int(where)
    if isinstance(where, int):
        if where <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {where}")
        size, longer = divmod(n, where)
        where = [k * size + min(k, longer) for k in range(1, where)]
    ends = [slice(None, i).indices(n)[1] for i in where]
    starts = zip([0, *ends], [*ends, n], strict=True)
    return tuple(cut(input, d, start, max(start, stop)) for start, stop in starts)


def _split_along(name: str, dim: int, rank: int) -> Any:
    def along(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
        if input.ndim < rank:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {rank} dimension, but got a tensor "
                f"with {input.ndim} dimensions!"
            )
        d = min(dim, input.ndim - 1)
        many = indices_or_sections
        if isinstance(many, int) and (many <= 0 or input.shape[d] % many):
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {d}, but the size of the "
                f"dimension {input.shape[d]} is not divisible by the split_size {many}!"
            )
        return tensor_split(input, many, d)

    along.__name__ = along.__qualname__ = name
    extents, halves = ([n if d == dim else 1 for d in range(max(rank, dim + 1))] for n in (4, 2))
    along.__doc__ = f"""The tensor in parts along its dimension {dim}, as `tensor_split` cuts them.

    Shape: the parts differ at dimension {dim} alone; views. Dtype: that of input.
    Raises RuntimeError for fewer than {rank} dimensions, or an extent that cannot be divided.

    >>> [tuple(part.shape) for part in torch.{name}(torch.zeros({extents}), 2)]
    {[tuple(halves)] * 2}
    """
    return along


hsplit, vsplit, dsplit = (
    _split_along(*row) for row in (("hsplit", 1, 1), ("vsplit", 0, 2), ("dsplit", 2, 3))
)


@composite("UnbindBackward0")
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """All parts along `dim`, each without that dimension.

    Shape: (*A, n, *B) -> n of (*A, *B). Dtype: that of input. Views.
    Raises IndexError for a dimension out of range.

    >>> torch.unbind(torch.tensor([[1, 2], [3, 4]]))
    (tensor([1, 2]), tensor([3, 4]))
    """
    return _several(
        [select(input, dim, i) for i in range(input.shape[own_dim(dim, input.ndim)])], "Unbind"
    )


@composite("UnfoldBackward0")
def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """All windows of `size` along a dimension, one every `step`, as a new last dimension.

    Shape: (*A, n, *B) -> (*A, (n - size) // step + 1, *B, size). Dtype: that of input. A view.
    Raises RuntimeError for a size that is larger than the extent.

    >>> torch.arange(5).unfold(0, 3, 1)
    tensor([[0, 1, 2],
            [1, 2, 3],
            [2, 3, 4]])
    """
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
        counts = (x.shape[d] // step + 1,) if input.ndim else ()
        return reshaped(cut(x, d, 0, 0), (*x.shape[:d], *counts, *x.shape[d + 1 :], 0))
    windows = ops.window(x, axis=d, size=size, step=step, dilation=1)
    return windows if input.ndim else reshaped(windows, (size,))


@composite("DiagonalBackward0")
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A diagonal of two dimensions, as the last one; a view.

    Shape: (*, N, M) -> (*, K), K the length of the diagonal. Dtype: that of input.
    Raises RuntimeError for two equal dimensions; IndexError for one out of range.

    >>> torch.diagonal(torch.tensor([[1, 2], [3, 4]]))
    tensor([1, 4])
    """
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


def _memory(x: Tensor, start: int, reach: int) -> tuple[Tensor, int]:
    """What `x` is a view of as one row, and where that begins in its memory. An alias without a
    base is enough if the `reach` numbers from `start` on are its own.
    """
    root, _, differentiable = base_and_path(x)
    root = resolve(root)
    outside = root if mode.trace is None else mode.trace.original(root)
    root = root if differentiable else root.detach()
    begin, dense = offset_in_memory(root), _dense(root)
    alone = outside is None or outside._base is outside._memory_location is None
    if not alone and (dense is None or not begin <= start <= begin + root.numel() - reach):
        if mode.trace is not None or (mode.grad and root._requires_grad):
            raise NotImplementedError(
                "as_strided: of elements beside those of a tensor that requires grad, or that a "
                f"compiled function was given (line {user_site()}); make this view of all of them"
            )
        version, root = (
            root._version,
            wrap(root._memory_location[0].view(root._dtype.storage), root._dtype),
        )
        root._version, begin = version, 0
        dense = _dense(root)
    if dense is None:
        raise NotImplementedError(
            f"as_strided: the memory of a tensor with strides {strides_of(root)} is not known to "
            "be one row"
        )
    return reshaped(dense, (root.numel(),)), begin


def _dense(x: Tensor) -> Tensor | None:
    """`x` with its dimensions in their order in memory, if it fills that."""
    strides = strides_of(x)
    y = ops.permute(x, axes=tuple(sorted(range(x.ndim), key=lambda d: -strides[d])))
    return y if is_contiguous(y) else None


@composite("AsStridedBackward0")
def as_strided(
    input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """The memory of a tensor, or of what it is a view of, seen with another shape and strides.

    Shape: size. Dtype: that of input. A view.
    Raises RuntimeError for places outside of the memory.

    >>> torch.as_strided(torch.arange(6), (2, 2), (3, 1))
    tensor([[0, 1],
            [3, 4]])
    """
    size, stride, x = tuple(size), tuple(stride), resolve(input)
    if len(size) != len(stride):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(s < 0 for s in stride):
        raise RuntimeError(f"as_strided: Negative strides are not supported, got {list(stride)}")
    start = offset_in_memory(x) if storage_offset is None else storage_offset
    reach = sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + 1
    reach = 0 if 0 in size else reach
    flat, begin = _memory(x, start, reach)
    if 0 in size:
        return reshaped(cut(flat, 0, 0, 0), size)
    if not begin <= start <= begin + flat.numel() - reach:
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {start} "
            f"require {start + reach} elements and are out of bounds for {begin + flat.numel()}"
        )
    start -= begin
    y = cut(flat, 0, start, start + reach)  # a window per dimension, and one position is left
    order = sorted(range(len(size)), key=lambda d: -stride[d])
    for d in order:
        y = ops.window(y, axis=0, size=size[d], step=1, dilation=stride[d])
    y = reshaped(y, tuple(size[d] for d in order))
    return ops.permute(y, axes=tuple(order.index(d) for d in range(len(size))))


# ---- the same as copies
def alias(input: Tensor) -> Tensor:
    """A tensor with the same elements.

    Shape: (*) -> (*). Dtype: that of input. A view.

    >>> torch.alias(torch.tensor([1, 2]))
    tensor([1, 2])
    """
    return reshaped(input, tuple(input.shape))


alias_copy = copying(alias)
as_strided_copy, diagonal_copy, narrow_copy = map(copying, (as_strided, diagonal, narrow))
select_copy, unbind_copy, unfold_copy = map(copying, (select, unbind, unfold))
split_copy, split_with_sizes_copy = map(copying, (split, split_with_sizes))


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
