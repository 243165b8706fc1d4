"""Shapes: the functions that move or repeat elements and do not change them, most of them views."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ...ir.autodiff import unbroadcast
from ...ir.dtype import DType, int64
from ...ir.op import ShapeError, broadcast
from ...ir.ops import movement as ops
from ...ir.strides import contiguous, restride
from ...tracer.autograd.graph import composite, with_grad_name
from ...tracer.autograd.plans import shortcut
from ...tracer.mode import resolve
from ...tracer.tensor.layout import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    format_strides,
    preserve_format,
)
from ...tracer.tensor.masked_selection import Selection, Unaligned, broadcast_selections
from ...tracer.tensor.memory_order import strides_of
from ...tracer.tensor.promotion import as_dtype
from ...tracer.tensor.tensor import Size, Tensor
from ..arguments import as_ints, ints, wrap_dim, wrap_dims
from .memory import bits_as

__all__ = [
    "adjoint", "broadcast_shapes", "broadcast_tensors", "broadcast_to", "expand_copy",
    "flatten", "moveaxis", "movedim", "permute", "permute_copy", "ravel", "reshape", "squeeze",
    "squeeze_copy", "swapaxes", "swapdims", "t", "t_copy", "transpose", "transpose_copy",
    "unflatten", "unsqueeze", "unsqueeze_copy", "view_copy",
]


def _inferred(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """A shape with its -1 filled in."""
    if -1 not in shape:
        if math.prod(shape) != size:
            raise ShapeError(f"shape '{list(shape)}' is invalid for input of size {size}")
        return shape
    if shape.count(-1) > 1:
        raise RuntimeError("only one dimension can be inferred")
    rest = math.prod(n for n in shape if n != -1)
    if rest == 0:
        raise RuntimeError(
            f"cannot reshape tensor of 0 elements into shape {list(shape)} because the "
            "unspecified dimension size -1 can "
            "be any value and is ambiguous"
        )
    if size % rest:
        raise ShapeError(f"shape '{list(shape)}' is invalid for input of size {size}")
    return tuple(size // rest if n == -1 else n for n in shape)


def reshaped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return ops.reshape(x, shape=shape)


def fresh(y: Tensor, x: Tensor) -> Tensor:
    """y, which was moved out of x, as a tensor with memory of its own."""
    return y.clone() if y is x or resolve(y)._view is not None else y


@shortcut
@ints("shape")
def reshape(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The same elements in another shape; a view where possible. One extent may be -1.

    Shape: (*) -> `shape`, of as many elements. Dtype: that of input.
    Raises RuntimeError if the number of elements does not fit.

    >>> torch.reshape(torch.arange(6), (2, -1))
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    y = reshaped(input, _inferred(shape, input.numel()))
    return y if y._view is not None else with_grad_name(y, "UnsafeViewBackward0")


@shortcut
def view(input: Tensor, *shape: Any, dtype: Any = None) -> Tensor:
    """The same memory in another shape, or as numbers of another dtype.

    Shape: (*) -> `shape`, of as many elements. Dtype: that of input, or `dtype` with the same bits.
    Raises RuntimeError if the number of elements does not fit, or if only a copy has this shape.

    >>> torch.arange(6).view(3, 2)
    tensor([[0, 1],
            [2, 3],
            [4, 5]])
    """
    if len(shape) == 1 and (isinstance(shape[0], DType) or shape[0] in (float, int, bool)):
        (dtype,) = shape
    if dtype is not None:
        return bits_as(input, as_dtype(dtype))
    if not shape:
        raise TypeError("view() takes a shape or a dtype")
    x = resolve(input)
    new = _inferred(as_ints(shape, "view"), x.numel())
    if restride(tuple(x.shape), strides_of(x), new) is None:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one "
            "dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        )
    return reshaped(x, new)


def view_as(input: Tensor, other: Tensor) -> Tensor:
    """A view in the shape of `other`."""
    return view(input, tuple(other.shape))


def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """The same elements in the shape of `other`."""
    return reshape(input, tuple(other.shape))


@ints("dims")
@composite("PermuteBackward0")
def permute(input: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The dimensions in another order.

    Shape: the extents in the order `dims`. Dtype: that of input. A view.
    Raises RuntimeError if `dims` does not name every dimension once.

    >>> torch.permute(torch.ones(2, 3, 4), (2, 0, 1)).shape
    tracegrad.Size([4, 2, 3])
    """
    if len(dims) != input.ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the "
            "length of the desired "
            f"ordering of dimensions i.e. input.dim() = {input.ndim} is not equal to len(dims) = "
            f"{len(dims)}"
        )
    wrapped = tuple(wrap_dim(d, input.ndim) for d in dims)
    if len(set(wrapped)) != len(wrapped):
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return ops.permute(input, axes=wrapped)


def _swapped(x: Tensor, a: int, b: int) -> Tensor:
    axes = list(range(x.ndim))
    a, b = wrap_dim(a, x.ndim), wrap_dim(b, x.ndim)
    if x.ndim:
        axes[a], axes[b] = axes[b], axes[a]
    return ops.permute(x, axes=tuple(axes))


@composite("TransposeBackward0")
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged.

    Shape: (*) -> with two extents exchanged. Dtype: that of input. A view.
    Raises IndexError for a dimension out of range.

    >>> torch.transpose(torch.tensor([[1, 2], [3, 4]]), 0, 1)
    tensor([[1, 3],
            [2, 4]])
    """
    return _swapped(input, dim0, dim1)


swapaxes = swapdims = transpose


@composite("TBackward0")
def t(input: Tensor) -> Tensor:
    """A matrix transposed; a tensor of fewer dimensions as it is.

    Shape: (N, M) -> (M, N). Dtype: that of input. A view.
    Raises RuntimeError for more than two dimensions.

    >>> torch.t(torch.tensor([[1, 2], [3, 4]]))
    tensor([[1, 3],
            [2, 4]])
    """
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return (
        _swapped(input, 0, 1)
        if input.ndim == 2
        else ops.permute(input, axes=tuple(range(input.ndim)))
    )


def adjoint(input: Tensor) -> Tensor:
    """The last two dimensions exchanged.

    Shape: (*, N, M) -> (*, M, N), a view. Dtype: that of input. Raises RuntimeError for a vector.

    >>> torch.adjoint(torch.tensor([[1.0, 2.0]]))
    tensor([[1.],
            [2.]])
    """
    if input.ndim == 0:
        return input
    if input.ndim < 2:
        raise RuntimeError(
            "tensor.mT is only supported on matrices or batches of matrices. Got "
            f"{input.ndim}-D tensor."
        )
    return transpose(input, -2, -1)


@composite("PermuteBackward0")
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """The dimensions at `source` moved to `destination`.

    Shape: the extents in the new order. Dtype: that of input. A view.
    Raises IndexError for a dimension out of range; RuntimeError for one named twice.

    >>> torch.movedim(torch.ones(2, 3, 4), 0, -1).shape
    tracegrad.Size([3, 4, 2])
    """
    many = isinstance(source, (tuple, list))
    src = [wrap_dim(d, input.ndim) for d in (source if many else (source,))]
    dst = [wrap_dim(d, input.ndim) for d in (destination if many else (destination,))]
    if len(src) != len(dst):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source {list(src)} and destination "
            f"{list(dst)} differ in length"
        )
    for given, dims in ((source, src), (destination, dst)):
        if len(set(dims)) < len(dims):
            raise RuntimeError(f"movedim: repeated dim in {given}")
    if not input.ndim:
        return ops.permute(input, axes=())
    order = [-1] * input.ndim
    for a, b in zip(src, dst, strict=True):
        order[b] = a
    rest = iter(d for d in range(input.ndim) if d not in src)
    return ops.permute(input, axes=tuple(next(rest) if d == -1 else d for d in order))


moveaxis = movedim


def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """Without the dimensions of extent 1, all or the given ones.

    Shape: (*) -> fewer dimensions; one whose extent is not 1 stays. Dtype: that of input. A view.
    Raises IndexError for a dimension out of range.

    >>> torch.squeeze(torch.ones(1, 2, 1)).shape
    tracegrad.Size([2])
    """
    many = isinstance(dim, (tuple, list))
    dims = () if many and not dim else wrap_dims(dim, input.ndim)
    shape = tuple(n for d, n in enumerate(input.shape) if not (d in dims and n == 1))
    title = f"SqueezeBackward{0 if dim is None else 2 if many else 1}"
    return composite(title)(reshaped)(input, shape)


@composite("UnsqueezeBackward0")
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With a dimension of extent 1 inserted at `dim`.

    Shape: (*A, *B) -> (*A, 1, *B). Dtype: that of input. A view.
    Raises IndexError for a dimension out of range.

    >>> torch.unsqueeze(torch.tensor([1, 2]), 1)
    tensor([[1],
            [2]])
    """
    at = wrap_dim(dim, input.ndim + 1)
    return reshaped(input, (*input.shape[:at], 1, *input.shape[at:]))


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The dimensions from `start_dim` to `end_dim` made one.

    Shape: (*A, n, ..., m, *B) -> (*A, n * ... * m, *B). Dtype: that of input. A view where
    possible.
    Raises IndexError for a dimension out of range; RuntimeError if start_dim comes after end_dim.

    >>> torch.flatten(torch.ones(2, 3, 4), start_dim=1).shape
    tracegrad.Size([2, 12])
    """
    a, b = wrap_dim(start_dim, input.ndim), wrap_dim(end_dim, input.ndim)
    if input.ndim == 0:
        return reshaped(input, (1,))
    if a > b:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if a == b:
        return input
    shape = input.shape
    return reshaped(input, (*shape[:a], math.prod(shape[a : b + 1]), *shape[b + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One dimension made several.

    Shape: (*A, n, *B) -> (*A, *sizes, *B); one size may be -1. Dtype: that of input. A view.
    Raises RuntimeError if the sizes do not multiply to the extent.

    >>> torch.unflatten(torch.arange(6), 0, (2, 3))
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    d = wrap_dim(dim, input.ndim)
    if not input.ndim or not len(sizes):
        raise RuntimeError("unflatten: sizes must be non-empty, and the tensor has a dimension")
    try:
        inner = _inferred(as_ints((sizes,), "unflatten"), input.shape[d])
    except RuntimeError:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {d} "
            f"({input.shape[d]}) in the input tensor"
        ) from None
    return reshaped(input, (*input.shape[:d], *inner, *input.shape[d + 1 :]))


def ravel(input: Tensor) -> Tensor:
    """All elements in one dimension, next to each other in memory.

    Shape: (*) -> (numel,). Dtype: that of input. A view where possible. Raises TypeError without a
    tensor.

    >>> torch.ravel(torch.tensor([[1, 2], [3, 4]]))
    tensor([1, 2, 3, 4])
    """
    y = reshaped(input, (input.numel(),))
    return y if y._view is None or is_contiguous(input) else y.clone()


def cut(x: Tensor, dim: int, start: int, stop: int, step: int = 1) -> Tensor:
    """The positions from `start` to `stop` along a dimension; a view."""
    return ops.slice(
        x,
        slices=tuple((start, stop, step) if d == dim else (0, n, 1) for d, n in enumerate(x.shape)),
    )


# ---- memory
def copying(view: Any) -> Any:
    """The function that gives what `view` gives, in memory of its own."""

    def copy(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        parts = view(input, *args, **kwargs)
        return parts.clone() if isinstance(parts, Tensor) else tuple(p.clone() for p in parts)

    copy.__name__ = copy.__qualname__ = f"{view.__name__}_copy"
    copy.__doc__ = _documentation_of_copy(view.__name__, view.__doc__ or "")  # none with -OO
    return copy


_SAID_OF_VIEWS = re.compile(r"\s+(A view|Views)\.|; a view| without copying")


def _documentation_of_copy(name: str, text: str) -> str:
    """The documentation of a view, said of the copy. The example calls a function or a method."""
    lines = []
    for line in text.replace(f"torch.{name}(", f"torch.{name}_copy(").split("\n"):
        start, prompt, code = line.partition(">>> ")
        x, call, rest = code.rpartition(f".{name}(")
        lines.append(f"{start}{prompt}torch.{name}_copy({x}, {rest}" if call else line)
    return f"`{name}`, as a copy. " + _SAID_OF_VIEWS.sub("", "\n".join(lines))


permute_copy, squeeze_copy, t_copy, transpose_copy, unsqueeze_copy = map(
    copying, (permute, squeeze, t, transpose, unsqueeze)
)


def view_copy(input: Tensor, *shape: Any, dtype: Any = None) -> Tensor:
    """The elements in another shape, or their bits as numbers of another dtype; a copy.

    Shape: (*) -> `shape`, of as many elements. Dtype: that of input, or `dtype` with the same bits.
    Raises RuntimeError if the number of elements does not fit.

    >>> torch.view_copy(torch.arange(4), (2, 2))
    tensor([[0, 1],
            [2, 3]])
    """
    return view(input.contiguous(), *shape, dtype=dtype).clone()


def is_contiguous(input: Tensor, memory_format: Any = None) -> bool:
    """Whether the elements lie in memory in the order of the indices.

    Shape: any -> a bool. Raises TypeError without a tensor.

    >>> torch.ones(2, 3).t().is_contiguous()
    False
    """
    x = resolve(input)
    shape = tuple(x.shape)
    if memory_format in (channels_last, channels_last_3d) and x.ndim != (
        4 if memory_format == channels_last else 5
    ):
        return False
    wanted = format_strides(input, memory_format) or contiguous(shape)
    own = zip(shape, strides_of(x), wanted, strict=True)
    return 0 in shape or all(s == c for n, s, c in own if n != 1)


@composite("CloneBackward0")
def contiguous_(input: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself if it is contiguous, else a copy that is.

    Shape: (*) -> (*). Dtype: that of input. Raises RuntimeError for a memory format of another
    rank.

    >>> torch.ones(2, 3).t().contiguous().is_contiguous()
    True
    """
    memory_format = contiguous_format if memory_format is None else memory_format
    if is_contiguous(input, memory_format):
        return input
    if memory_format is preserve_format:
        raise RuntimeError("preserve memory format is unsupported by the contiguous operator")
    return input.clone(memory_format=memory_format)


# ---- broadcasting: dimensions repeated without copying, and summed again
@ints("size")
@composite("ExpandBackward0")
def expand(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Dimensions of extent 1 repeated without copying; -1 keeps an extent.

    Shape: extents of 1 become the given ones, and -1 keeps one; more in front add dimensions.
    Dtype: that of input. A view. Raises RuntimeError for an extent that is neither 1 nor the same.

    >>> torch.tensor([[1], [2]]).expand(2, 3)
    tensor([[1, 1, 1],
            [2, 2, 2]])
    """
    old, lead = tuple(input.shape), len(shape) - input.ndim
    if lead < 0:
        raise RuntimeError(
            f"expand(tensor{list(old)}, size={list(shape)}): the number of sizes provided "
            f"({len(shape)}) must be greater or "
            f"equal to the number of dimensions in the tensor ({len(old)})"
        )
    full = []
    for d, n in enumerate(shape):
        have = old[d - lead] if d >= lead else None
        if n == -1:
            if have is None:
                raise RuntimeError(
                    f"expand(tensor{list(old)}, size={list(shape)}): The expanded size of the "
                    "tensor (-1) isn't allowed in "
                    f"a leading, non-existing dimension {d}"
                )
            n = have
        if have not in (None, 1, n):
            raise ShapeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at "
                "non-singleton dimension "
                f"{d}.  Target sizes: {list(shape)}.  Tensor sizes: {list(old)}"
            )
        full.append(n)
    return ops.expand(input, shape=tuple(full))


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Expanded to the shape of `other`."""
    return expand(input, tuple(other.shape))


@ints("size")
def sum_to_size(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Summed along what broadcasting would have made of a smaller shape: the reverse of expand."""
    try:
        fits = broadcast("sum_to_size", tuple(input.shape), shape) == tuple(input.shape)
    except ShapeError:
        fits = False
    if not fits:
        raise RuntimeError(
            f"size {{{list(shape)}}} is not expandable to size {{{list(input.shape)}}}."
        )
    if (tuple(input.shape) != tuple(shape) or not shape) and input.dtype.kind != "float":
        input = input.to(int64)  # as sum does
    summed = unbroadcast(input, shape)
    return summed if shape else fresh(summed, input)


def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """Expanded to a shape.

    Shape: as `expand`. Dtype: that of input. A view.
    Raises RuntimeError if the shape does not broadcast to it.

    >>> torch.broadcast_to(torch.tensor([1, 2]), (2, 2))
    tensor([[1, 2],
            [1, 2]])
    """
    return expand(input, tuple(size))


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All expanded to the shape that they have together.

    Shape: (*), ... -> the shape to which all broadcast; views. Dtype: that of each. Raises
    RuntimeError if they do not broadcast.

    >>> a, b = torch.broadcast_tensors(torch.tensor([1, 2]), torch.tensor([[3], [4]]))
    >>> b
    tensor([[3, 3],
            [4, 4]])
    """
    if any(isinstance(x, Selection) for x in tensors):
        with suppress(Unaligned):
            return tuple(broadcast_selections(tensors))
    shape = broadcast("broadcast_tensors", *(tuple(x.shape) for x in tensors))
    return tuple(x if tuple(x.shape) == shape else expand(x, shape) for x in tensors)


def broadcast_shapes(*shapes: Any) -> Any:
    """The shape that these broadcast to.

    Raises RuntimeError if they do not broadcast.

    >>> torch.broadcast_shapes((2, 1), (3,))
    tracegrad.Size([2, 3])
    """
    return Size(
        broadcast(
            "broadcast_shapes",
            *(tuple(s) if isinstance(s, (tuple, list)) else (s,) for s in shapes),
        )
    )


expand_copy = copying(expand)
