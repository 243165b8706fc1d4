"""Blocks of an image as columns, and channels as pixels: movement, but for the sum in fold."""

from __future__ import annotations

import math
from typing import Any

from ...ir.dtype import bool_
from ...ir.op import ShapeError
from ...ir.ops.movement import permute, slice as slice_
from ...tracer.autograd.graph import composite
from ...tracer.tensor.tensor import Tensor
from ..math.scaled_operands import floats_only
from ..tensors.shape import fresh, reshaped
from .windows import Ints, batched, each, folded, reach, spatial_pads, windows

__all__ = [
    "channel_shuffle", "fold", "native_channel_shuffle", "pixel_shuffle", "pixel_unshuffle",
    "unfold",
]


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


# ---- channels and pixels
def _pixels(x: Tensor, function: str) -> None:
    if x.ndim < 3:
        raise ShapeError(
            f"{function} expects input to have at least 3 dimensions, but got input with {x.ndim} "
            "dimension(s)"
        )


@composite("PixelShuffleBackward0")
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(*, C * r * r, H, W) -> (*, C, H * r, W * r).

    Shape: as above. Dtype: that of input. Shi et al. (2016).
    Raises RuntimeError if r * r does not divide the channels, or for fewer than three dimensions.

    >>> x = torch.arange(4).reshape(4, 1, 1)
    >>> F.pixel_shuffle(x, upscale_factor=2)
    tensor([[[0, 1],
             [2, 3]]])
    """
    r = upscale_factor
    _pixels(input, "pixel_shuffle")
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    *lead, channels, height, width = input.shape
    if channels % (r * r):
        raise ShapeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square "
            f"of upscale_factor, but input.size(-3)={channels} is not divisible by {r * r}"
        )
    k, c = len(lead), channels // (r * r)
    x = reshaped(input, (*lead, c, r, r, height, width))
    x = permute(x, axes=(*range(k), *(k + d for d in (0, 3, 1, 4, 2))))
    return fresh(reshaped(x, (*lead, c, height * r, width * r)), input)


@composite("PixelUnshuffleBackward0")
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(*, C, H * r, W * r) -> (*, C * r * r, H, W).

    Shape: as above. Dtype: that of input.
    Raises RuntimeError if r does not divide the height and the width.

    >>> x = torch.arange(4).reshape(1, 2, 2)
    >>> F.pixel_unshuffle(x, downscale_factor=2).flatten()
    tensor([0, 1, 2, 3])
    """
    r = downscale_factor
    _pixels(input, "pixel_unshuffle")
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *lead, channels, height, width = input.shape
    for side, n, at in (("height", height, -2), ("width", width, -1)):
        if n % r:
            raise ShapeError(
                f"pixel_unshuffle expects {side} to be divisible by downscale_factor, but "
                f"input.size({at})={n} is not divisible by {r}"
            )
    k = len(lead)
    x = reshaped(input, (*lead, channels, height // r, r, width // r, r))
    x = permute(x, axes=(*range(k), *(k + d for d in (0, 2, 4, 1, 3))))
    return fresh(reshaped(x, (*lead, channels * r * r, height // r, width // r)), input)


@composite("ChannelShuffleBackward0")
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """The channels of (N, C, *) dealt out: the first of each group, then the second of each.

    Shape: (N, C, *) -> (N, C, *). Dtype: that of input. Zhang et al. (2018).
    Raises RuntimeError if `groups` does not divide the channels.

    >>> x = torch.arange(4).reshape(1, 4, 1)
    >>> F.channel_shuffle(x, groups=2).flatten()
    tensor([0, 2, 1, 3])
    """
    if input.ndim <= 2:
        raise ShapeError(
            "channel_shuffle expects input with > 2 dims, but got input with sizes "
            f"{list(input.shape)}"
        )
    if groups <= 0:
        raise RuntimeError(
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}"
        )
    n, channels, *rest = input.shape
    if channels % groups:
        raise ShapeError(
            f"Number of channels must be divisible by groups. Got {channels} channels and {groups} "
            "groups."
        )
    x = reshaped(input, (n, groups, channels // groups, *rest))
    x = permute(x, axes=(0, 2, 1, *range(3, 3 + len(rest))))
    return fresh(reshaped(x, tuple(input.shape)), input)


native_channel_shuffle = channel_shuffle
