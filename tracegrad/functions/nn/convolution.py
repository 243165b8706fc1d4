"""Convolution: windows times weights.

The windows of the input are a view; as the columns of a matrix they meet the weights in a product
for each image and group, whose result lies as torch wants it: (N, C, *spatial). A transposed
convolution is the adjoint, so it makes that product first and adds the windows up. Both being
compositions of primitives, derivatives of every order are there, a window of one number costs no
copy, and one weight for each channel and tap makes no product but a sum, which fuses.
"""

from __future__ import annotations

import math
from typing import Any

from ...ir.dtype import bfloat16, bool_, float16, float32, float64
from ...ir.op import ShapeError
from ...ir.ops.contract import dot, transpose
from ...ir.ops.movement import expand, permute, slice as slice_
from ...ir.ops.reduce import sum as sum_
from ...tracer.autograd.graph import composite
from ...tracer.tensor.dispatch import not_implemented
from ...tracer.tensor.promotion import SCALAR_TYPE
from ...tracer.tensor.tensor import Tensor
from ..arguments import floats_only
from ..torch.shape import fresh, reshaped
from .windows import Ints, batched, by_rank, each, folded, reach, spatial_pads, windows

__all__ = [
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "fold", "unfold",
]

_C_NAMES = {
    float32: "float", float64: "double", float16: "c10::Half", bfloat16: "c10::BFloat16",
}


def _sizes(value: Any, name: str, rank: int) -> Ints:
    found = each(value, rank)
    if found is None:
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of {rank} values to match "
            f"the convolution dimensions, but got {name}={list(value)}"
        )
    return found


def _check(
    rank: int, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int, transposed: bool
) -> None:
    """Raise what torch raises for operands that do not go together."""
    name = f"conv_transpose{rank}d" if transposed else f"conv{rank}d"
    if x.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input to {name}, but got "
            f"input of size: {list(x.shape)}"
        )
    if weight.ndim != rank + 2:
        k = weight.ndim - 2
        raise ShapeError(
            f"expected stride to be a single integer value or a list of {k} values to match the "
            f"convolution dimensions, but got weight of size {list(weight.shape)}"
        )
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    size = list(weight.shape)
    if size[0] < groups:
        raise ShapeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, but "
            f"got weight of size {size} instead"
        )
    if size[0] % groups:
        raise ShapeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, "
            f"but got weight of size [{size}] instead"
        )
    channels, given = x.shape[-rank - 1], "transposed=1" if transposed else f"groups={groups}"
    wanted = size[0] if transposed else size[1] * groups
    if channels != wanted:
        batch = [] if x.ndim == rank + 2 else [1]
        raise ShapeError(
            f"Given {given}, weight of size {size}, expected input{batch + list(x.shape)} to have "
            f"{wanted} channels, but got {channels} channels instead"
        )
    outputs = size[1] * groups if transposed else size[0]
    if bias is not None and tuple(bias.shape) != (outputs,):
        given = "transposed=1, " if transposed else ""
        raise ShapeError(
            f"Given {given}weight of size {size}, expected bias to be 1-dimensional with {outputs} "
            f"elements, but got bias of size {list(bias.shape)} instead"
        )
    if x.dtype is not weight.dtype:
        kinds = (f"tracegrad.{SCALAR_TYPE[t.dtype]}Tensor" for t in (x, weight))
        raise RuntimeError("Input type ({}) and weight type ({}) should be the same".format(*kinds))
    if bias is not None and bias.dtype is not x.dtype:
        kinds = (_C_NAMES.get(t.dtype, t.dtype.name) for t in (x, bias))
        raise RuntimeError("Input type ({}) and bias type ({}) should be the same".format(*kinds))


def _positive(stride: Ints, padding: Ints, dilation: Ints) -> None:
    for values, wrong in (
        ([s - 1 for s in stride], "non-positive stride"),
        (padding, "negative padding"),
        ([d - 1 for d in dilation], "non-positive dilation"),
    ):
        if min(values, default=0) < 0:
            raise RuntimeError(f"{wrong} is not supported")


def _with_bias(y: Tensor, bias: Tensor | None) -> Tensor:
    return y if bias is None else y + reshaped(bias, (bias.numel(), *(1,) * (y.ndim - 2)))


def _matrices(weight: Tensor, batch: int, groups: int) -> Tensor:
    """(O, C, *K) -> (batch, groups, O / groups, C * K), without a copy."""
    rows = weight.shape[0] // groups
    w = reshaped(weight, (1, groups, rows, math.prod(weight.shape[1:])))
    return expand(w, shape=(batch, *w.shape[1:]))


def _text(sizes: Any) -> str:
    return " x ".join(map(str, sizes))


@composite("ConvolutionBackward0")
def _convolved(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Ints, pads: tuple[tuple[int, int], ...],
    dilation: Ints, groups: int,
) -> Tensor:
    if x.dtype is bool_:
        raise not_implemented("slow_conv2d_cpu", x)
    kernel = tuple(weight.shape[2:])
    rank = len(kernel)
    padded = spatial_pads(x, tuple((lo, hi, 0) for lo, hi in pads))
    size = padded.shape[2:]
    if any(n < reach(k, d) for n, k, d in zip(size, kernel, dilation, strict=True)):
        raise ShapeError(
            f"Calculated padded input size per channel: ({_text(size)}). Kernel size: "
            f"({_text(reach(k, d) for k, d in zip(kernel, dilation, strict=True))}). Kernel size "
            "can't be greater than actual input size"
        )
    seen = windows(padded, kernel, stride, dilation)  # (N, C, *out, *kernel)
    batch, channels, out = x.shape[0], x.shape[1], tuple(seen.shape[2 : 2 + rank])
    axes = (0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank))
    seen = permute(seen, axes=axes)  # (N, C, *kernel, *out)
    if channels == groups == weight.shape[0]:
        taps = reshaped(weight, (channels, *kernel, *(1,) * rank))
        return _with_bias(sum_(seen * taps, dims=tuple(range(2, 2 + rank))), bias)
    taps = channels // groups * math.prod(kernel)
    columns = reshaped(seen, (batch, groups, taps, math.prod(out)))
    y = dot(_matrices(weight, batch, groups), columns)
    return _with_bias(reshaped(y, (batch, weight.shape[0], *out)), bias)


@composite("ConvolutionBackward0")
def _transposed(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Ints, padding: Ints, extra: Ints,
    dilation: Ints, groups: int,
) -> Tensor:
    kernel, size = tuple(weight.shape[2:]), tuple(x.shape[2:])
    rank, batch, outputs = len(kernel), x.shape[0], weight.shape[1] * groups
    full = tuple(
        (n - 1) * s + reach(k, d) for n, s, k, d in zip(size, stride, kernel, dilation, strict=True)
    )
    out = tuple(n - 2 * p + e for n, p, e in zip(full, padding, extra, strict=True))
    if min(out) < 1 or min(size) < 1:
        raise ShapeError(
            f"Given input size per channel: ({_text(size)}). Calculated output size per channel: "
            f"({_text(out)}). Output size is too small"
        )
    rows = reshaped(x, (batch, groups, x.shape[1] // groups, math.prod(size)))
    taps = dot(transpose(_matrices(weight, batch, groups)), rows)
    seen = reshaped(taps, (batch, outputs, *kernel, *size))
    axes = (0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank))
    y = folded(permute(seen, axes=axes), full, stride, dilation)
    y = spatial_pads(y, tuple((0, max(e - p, 0), 0) for e, p in zip(extra, padding, strict=True)))
    if any(padding):
        inside = tuple((p, p + n, 1) for p, n in zip(padding, out, strict=True))
        y = slice_(y, slices=((0, batch, 1), (0, outputs, 1), *inside))
    return _with_bias(y, bias)


def _pads(padding: Any, kernel: Ints, stride: Ints, dilation: Ints) -> tuple[tuple[int, int], ...]:
    """(before, after) for each axis, from ints or a word."""
    rank = len(kernel)
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * rank
        if padding != "same":
            raise RuntimeError(f"Invalid padding string: '{padding}'")
        if max(stride) > 1:
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        total = [reach(k, d) - 1 for k, d in zip(kernel, dilation, strict=True)]
        return tuple((n // 2, n - n // 2) for n in total)
    sizes = _sizes(padding, "padding", rank)
    _positive((), sizes, ())
    return tuple((p, p) for p in sizes)


def _forward(rank: int) -> Any:
    def conv(
        input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1,
        padding: Any = 0, dilation: Any = 1, groups: int = 1,
    ) -> Tensor:
        """The cross-correlation of images (N, C, *spatial) with weights (O, C / groups, *kernel),
        over {rank} spatial axes; padding may be 'same' or 'valid'.

        Shape: (N, C, *spatial), (O, C / groups, *kernel), (O,) -> (N, O, *out), or without N.
        An extent of out is (spatial + 2 padding - dilation (kernel - 1) - 1) // stride + 1.
        Dtype: that of all, which must agree.
        Raises RuntimeError if shapes or dtypes do not fit; ValueError for another padding.

        >>> x, weight = torch.ones(1, 2{,8}), torch.ones(3, 2{,3})
        >>> F.conv{rank}d(x, weight, padding=1, stride=2).shape
        tracegrad.Size([1, 3{,4}])
        """
        _check(rank, input, weight, bias, groups, False)
        steps, gaps = _sizes(stride, "stride", rank), _sizes(dilation, "dilation", rank)
        _positive(steps, (), gaps)
        pads = _pads(padding, tuple(weight.shape[2:]), steps, gaps)
        return batched(
            input, rank, lambda x: _convolved(x, weight, bias, steps, pads, gaps, groups)
        )

    return conv


def _adjoint(rank: int) -> Any:
    def conv_transpose(
        input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1,
        padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
    ) -> Tensor:
        """The adjoint of a convolution over {rank} spatial axes with weights (C, O / groups,
        *kernel): each number of the input spreads a kernel over the output.

        Shape: (N, C, *spatial), (C, O / groups, *kernel), (O,) -> (N, O, *out), or without N.
        An extent of out is (spatial - 1) stride - 2 padding + dilation (kernel - 1) +
        output_padding + 1.
        Dtype: that of all, which must agree. Raises RuntimeError if shapes or dtypes do not fit.

        >>> x, weight = torch.ones(1, 2{,4}), torch.ones(2, 3{,2})
        >>> F.conv_transpose{rank}d(x, weight, stride=2).shape
        tracegrad.Size([1, 3{,8}])
        """
        _check(rank, input, weight, bias, groups, True)
        steps, gaps = _sizes(stride, "stride", rank), _sizes(dilation, "dilation", rank)
        pads, extra = (_sizes(v, n, rank) for v, n in (
            (padding, "padding"), (output_padding, "output_padding")))
        _positive(steps, pads, gaps)
        if min(extra) < 0:
            raise RuntimeError("negative output_padding is not supported")
        if any(e >= max(s, d) for e, s, d in zip(extra, steps, gaps, strict=True)):
            sides = ("depth", "height", "width")[3 - rank :]
            words = (
                f"{name}_{side}: {v}"
                for name, values in (
                    ("output_padding", extra), ("stride", steps), ("dilation", gaps))
                for side, v in zip(sides, values, strict=True)
            )
            raise RuntimeError(
                "output padding must be smaller than either stride or dilation, but got "
                + " ".join(words)
            )
        return batched(
            input, rank, lambda x: _transposed(x, weight, bias, steps, pads, extra, gaps, groups)
        )

    return conv_transpose


conv1d, conv2d, conv3d = by_rank(_forward, "conv{}d")
conv_transpose1d, conv_transpose2d, conv_transpose3d = by_rank(_adjoint, "conv_transpose{}d")


# ---- im2col and col2im
def _blocks(**options: Any) -> dict[str, Ints]:
    """The options for both axes, checked."""
    out = {}
    for name, value in options.items():
        both = each(value, 2)
        if both is None:
            raise RuntimeError(f"{name} must be an int or two ints, but got {value}")
        if min(both) < (name != "padding"):
            word = name.replace("kernel_size", "kernel")
            what = name.replace("_", " ") + (
                " should be non-negative" if name == "padding" else " should be greater than zero"
            )
            raise RuntimeError(f"{what}, but got {word}_height: {both[0]} {word}_width: {both[1]}")
        out[name] = both
    return out


def _grid(size: Ints, b: dict[str, Ints]) -> Ints:
    """How many blocks there are along each axis."""
    return tuple(
        (n + 2 * p - reach(k, d)) // s + 1
        for n, k, d, p, s in zip(
            size, b["kernel_size"], b["dilation"], b["padding"], b["stride"], strict=True
        )
    )


def _rank(x: Tensor) -> None:
    if x.ndim not in (3, 4) or 0 in x.shape[-3:]:
        raise ShapeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero "
            f"dimensions for input, but got: {list(x.shape)}"
        )


def unfold(
    input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """The blocks of images (N, C, H, W) as columns: (N, C * kernel, blocks).

    Shape: (N, C, H, W) -> (N, C * kernel, blocks). Dtype: that of input.
    Raises RuntimeError for other ranks, or a kernel larger than the image.

    >>> x = torch.arange(9.0).reshape(1, 1, 3, 3)
    >>> F.unfold(x, kernel_size=2)[0, :, 0]
    tensor([0., 1., 3., 4.])
    """
    b = _blocks(kernel_size=kernel_size, dilation=dilation, padding=padding, stride=stride)
    _rank(input)
    if input.dtype is not bool_:
        floats_only("im2col_out_cpu", input)
    size = tuple(input.shape[-2:])
    count = _grid(size, b)
    if min(count) < 1:
        raise ShapeError(
            f"Given input with spatial size {size}, kernel_size={b['kernel_size']}, "
            f"dilation={b['dilation']}, padding={b['padding']}, calculated shape of the array of "
            f"sliding blocks as {count}, but its components must be at least one."
        )

    def columns(x: Tensor) -> Tensor:
        x = spatial_pads(x, [(p, p, 0) for p in b["padding"]])
        seen = permute(
            windows(x, b["kernel_size"], b["stride"], b["dilation"]), axes=(0, 1, 4, 5, 2, 3)
        )
        rows = x.shape[1] * math.prod(b["kernel_size"])
        return fresh(reshaped(seen, (x.shape[0], rows, math.prod(count))), x)

    return composite("Im2ColBackward0")(batched)(input, 2, columns)


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
    stride: Any = 1,
) -> Tensor:
    """Images of a size from their blocks (N, C * kernel, blocks); where blocks overlap they are
    summed.

    Shape: (N, C * kernel, blocks) -> (N, C, *output_size). Dtype: that of input.
    Raises RuntimeError if the number of rows or blocks does not fit.

    >>> x = torch.ones(1, 4, 4)
    >>> F.fold(x, output_size=3, kernel_size=2)
    tensor([[[[1., 2., 1.],
              [2., 4., 2.],
              [1., 2., 1.]]]])
    """
    out = each(output_size, 2)
    if out is None:
        raise RuntimeError(f"output_size must be an int or two ints, but got {output_size}")
    b = _blocks(kernel_size=kernel_size, dilation=dilation, padding=padding, stride=stride)
    if input.ndim not in (2, 3) or 0 in input.shape[-2:]:
        raise ShapeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and "
            f"non-zero dimensions for input, but got: {list(input.shape)}"
        )
    taps = math.prod(b["kernel_size"])
    rows, columns = input.shape[-2:]
    if rows % taps:
        raise ShapeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, "
            f"but got input.size(1)={rows} and kernel_size={b['kernel_size']}."
        )
    count = _grid(out, b)
    if min(count) < 1 or math.prod(count) != columns:
        raise ShapeError(
            f"Given output_size={out}, kernel_size={b['kernel_size']}, dilation={b['dilation']}, "
            f"padding={b['padding']}, stride={b['stride']}, expected size of input's dimension 2 "
            f"to match the calculated number of sliding blocks {count[0]} * {count[1]} = "
            f"{math.prod(count)}, but got input.size(2)={columns}."
        )

    def image(x: Tensor) -> Tensor:
        n, channels = x.shape[0], rows // taps
        seen = permute(
            reshaped(x, (n, channels, *b["kernel_size"], *count)), axes=(0, 1, 4, 5, 2, 3)
        )
        wide = tuple(m + 2 * p for m, p in zip(out, b["padding"], strict=True))
        y = folded(seen, wide, b["stride"], b["dilation"])
        inside = ((p, p + m, 1) for m, p in zip(out, b["padding"], strict=True))
        return slice_(y, slices=((0, n, 1), (0, channels, 1), *inside))

    return composite("Col2ImBackward0")(batched)(input, 1, image)
