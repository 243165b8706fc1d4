"""Shapes and views: the functions that move numbers and do not change them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from ...ir.dtype import DType
from ...ir.op import ShapeError
from ...ir.ops import movement as ops
from ...ir.strides import contiguous, restride
from ...tracer.autograd.graph import composite, with_grad_name
from ...tracer.mode import resolve
from ...tracer.tensor.layout import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    format_strides,
    preserve_format,
)
from ...tracer.tensor.memory_order import strides_of
from ...tracer.tensor.promotion import as_dtype
from ...tracer.tensor.tensor import Tensor
from ..math.reduction import wrap_dim, wrap_dims
from .reinterpret import bits_as


def as_ints(args: tuple, name: str) -> tuple[int, ...]:
    """Extents given one by one or as one sequence."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = tuple(args[0])
    if not all(hasattr(n, "__index__") and not isinstance(n, bool) for n in args):
        raise TypeError(
            f"{name}(): argument 'shape' must be tuple of ints, but got "
            f"{[type(n).__name__ for n in args]}"
        )
    return tuple(n.__index__() for n in args)


def ints(name: str) -> Callable:
    """Let the whole numbers that a function takes after its tensor be given one by one, as one
    sequence, or by name; it gets them as a tuple.
    """

    def mark(function: Callable) -> Callable:
        @wraps(function)
        def call(input: Tensor, *values: Any, **named: Any) -> Any:
            values = (named[name],) if name in named else values
            if not values and name == "shape":
                raise TypeError(f'{function.__name__}() missing 1 required argument: "{name}"')
            return function(input, as_ints(values, function.__name__))

        call.spreads = name  # type: ignore[attr-defined]  # which a stub says
        return call

    return mark


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
    """The last two dimensions exchanged."""
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
        d, n = wrap_dim(d, y.ndim), y.shape[d]
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


# ---- memory
def copying(view: Any) -> Any:
    """The function that gives what `view` gives, in memory of its own."""

    def copy(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        parts = view(input, *args, **kwargs)
        return parts.clone() if isinstance(parts, Tensor) else tuple(p.clone() for p in parts)

    copy.__name__ = copy.__qualname__ = f"{view.__name__}_copy"
    copy.__doc__ = f"`{view.__name__}`, as a copy."
    return copy


permute_copy, squeeze_copy, t_copy, transpose_copy, unsqueeze_copy = map(
    copying, (permute, squeeze, t, transpose, unsqueeze)
)


def view_copy(input: Tensor, *shape: Any, dtype: Any = None) -> Tensor:
    """`view`, as a copy, which any tensor has."""
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


__all__ = [
    "adjoint", "flatten", "flip",
    "fliplr", "flipud", "moveaxis", "movedim", "permute", "ravel", "reshape", "roll", "rot90",
    "permute_copy", "squeeze", "squeeze_copy", "swapaxes", "swapdims", "t",
    "t_copy", "transpose", "transpose_copy", "unflatten", "unsqueeze", "unsqueeze_copy",
    "view_copy",
]
