"""Convolutional layers: Conv1d to Conv3d and their adjoints."""

from __future__ import annotations

import math
from typing import Any

from ..functions.torch.creation import empty
from ..tracer.tensor.tensor import Tensor
from . import functional as F, init
from .layer import repeated
from .module import Module
from .parameter import Parameter

_WORDS = ("same", "valid")
_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """What all of them have; a subclass says its rank, the number of spatial axes."""

    rank: int
    transposed = False

    def _build(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any,
        output_padding: Any, dilation: Any, groups: int, bias: bool, padding_mode: str,
        device: Any, dtype: Any,
    ) -> None:
        super().__init__()
        n = self.rank
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        if isinstance(padding, str) and padding not in _WORDS:
            raise ValueError(f"Invalid padding string {padding!r}, should be one of {_WORDS}")
        if padding == "same" and any(s != 1 for s in repeated(stride, n)):
            raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in _MODES:
            raise ValueError(
                f"padding_mode must be one of {_MODES}, but got padding_mode='{padding_mode}'"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride = repeated(kernel_size, n), repeated(stride, n)
        self.padding = padding if isinstance(padding, str) else repeated(padding, n)
        self.dilation = repeated(dilation, n)
        self.output_padding = repeated(output_padding, n)
        self.groups, self.padding_mode = groups, padding_mode
        channels = (out_channels, in_channels // groups)
        if self.transposed:
            channels = (in_channels, out_channels // groups)
        self.weight = Parameter(empty(*channels, *self.kernel_size, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial values again: uniform within 1 / sqrt(numbers that make one)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan = init.fans(self.weight)[0]
            bound = 1 / math.sqrt(fan) if fan else 0
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        usual = {"padding": 0, "dilation": 1, "output_padding": 0}
        for name, default in usual.items():
            value = getattr(self, name)
            if value != (default,) * len(value):
                text += f", {name}={value}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        return text if self.padding_mode == "zeros" else f"{text}, padding_mode={self.padding_mode}"


class _Forward(_ConvNd):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: bool = True,
        padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ):
        self._build(
            in_channels, out_channels, kernel_size, stride, padding, 0, dilation, groups, bias,
            padding_mode, device, dtype,
        )

    def _sides(self) -> list[int]:
        """(before, after) from the last axis on, as `F.pad` takes them."""
        if self.padding == "same":
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            pairs = [(n // 2, n - n // 2) for n in totals]
        else:
            pairs = [(0 if p == "valid" else p,) * 2 for p in repeated(self.padding, self.rank)]
        return [side for pair in reversed(pairs) for side in pair]

    def forward(self, input: Tensor) -> Tensor:
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._sides(), mode=self.padding_mode), 0
        return getattr(F, f"conv{self.rank}d")(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


class _ConvTransposeNd(_ConvNd):
    transposed = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0, output_padding: Any = 0, groups: int = 1, bias: bool = True,
        dilation: Any = 1, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ):
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        self._build(
            in_channels, out_channels, kernel_size, stride, padding, output_padding, dilation,
            groups, bias, padding_mode, device, dtype,
        )

    def _output_padding(self, input: Tensor, output_size: Any) -> tuple[int, ...]:
        """What must be added at the end for the output to have the size that was asked for."""
        if output_size is None:
            return self.output_padding
        n, wanted = self.rank, tuple(output_size)
        lead = input.ndim - n
        if len(wanted) == lead + n:
            wanted = wanted[lead:]
        if len(wanted) != n:
            raise ValueError(
                f"ConvTranspose{n}D: for {input.ndim}D input, output_size must have {n} or "
                f"{n + lead} elements (got {len(wanted)})"
            )
        least = [
            (m - 1) * s - 2 * p + d * (k - 1) + 1
            for m, s, p, d, k in zip(
                input.shape[lead:], self.stride, self.padding, self.dilation, self.kernel_size,
                strict=True,
            )
        ]
        most = [m + s - 1 for m, s in zip(least, self.stride, strict=True)]
        if any(not a <= w <= b for a, w, b in zip(least, wanted, most, strict=True)):
            raise ValueError(
                f"requested an output size of {wanted}, but valid sizes range from {least} to "
                f"{most} (for an input of {input.shape[2:]})"
            )
        return tuple(w - a for w, a in zip(wanted, least, strict=True))

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        return getattr(F, f"conv_transpose{self.rank}d")(
            input, self.weight, self.bias, self.stride, self.padding,
            self._output_padding(input, output_size), self.groups, self.dilation,
        )


class Conv1d(_Forward):
    """The cross-correlation of signals (N, C, L) with weights (out, C / groups, kernel).

    Shape: (N, C, L) -> (N, out, L'), or without N; L' is that of `F.conv1d`.
    Raises ValueError for channels that `groups` does not divide; RuntimeError for an input that
    does not fit.

    >>> nn.Conv1d(3, 8, 3, padding=1)(torch.randn(2, 3, 16)).shape
    tracegrad.Size([2, 8, 16])
    """

    rank = 1


class Conv2d(_Forward):
    """The cross-correlation of images (N, C, H, W) with weights (out, C / groups, *kernel).

    Shape: (N, C, H, W) -> (N, out, H', W'), or without N; the extents are those of `F.conv2d`.
    Raises ValueError for channels that `groups` does not divide; RuntimeError for an input that
    does not fit.

    >>> nn.Conv2d(3, 8, 3, padding=1)(torch.randn(2, 3, 32, 32)).shape
    tracegrad.Size([2, 8, 32, 32])
    """

    rank = 2


class Conv3d(_Forward):
    """The cross-correlation of volumes (N, C, D, H, W) with weights (out, C / groups, *kernel).

    Shape: (N, C, D, H, W) -> (N, out, D', H', W'), or without N; the extents are those of
    `F.conv3d`.
    Raises ValueError for channels that `groups` does not divide; RuntimeError for an input that
    does not fit.

    >>> nn.Conv3d(3, 8, 3)(torch.randn(2, 3, 5, 5, 5)).shape
    tracegrad.Size([2, 8, 3, 3, 3])
    """

    rank = 3


class ConvTranspose1d(_ConvTransposeNd):
    """The adjoint of Conv1d, which makes signals longer; weights (in, out / groups, kernel).

    Shape: (N, C, L) -> (N, out, L'), or without N; L' is that of `F.conv_transpose1d`.
    Raises ValueError for channels that `groups` does not divide; RuntimeError for an input that
    does not fit.

    >>> nn.ConvTranspose1d(3, 8, 2, stride=2)(torch.randn(2, 3, 16)).shape
    tracegrad.Size([2, 8, 32])
    """

    rank = 1


class ConvTranspose2d(_ConvTransposeNd):
    """The adjoint of Conv2d, which makes images larger; weights (in, out / groups, *kernel).

    Shape: (N, C, H, W) -> (N, out, H', W'), or without N; those of `F.conv_transpose2d`.
    Raises ValueError for channels that `groups` does not divide; RuntimeError for an input that
    does not fit.

    >>> nn.ConvTranspose2d(3, 8, 2, stride=2)(torch.randn(2, 3, 8, 8)).shape
    tracegrad.Size([2, 8, 16, 16])
    """

    rank = 2


class ConvTranspose3d(_ConvTransposeNd):
    """The adjoint of Conv3d, which makes volumes larger; weights (in, out / groups, *kernel).

    Shape: (N, C, D, H, W) -> (N, out, D', H', W'), or without N; those of `F.conv_transpose3d`.
    Raises ValueError for channels that `groups` does not divide; RuntimeError for an input that
    does not fit.

    >>> nn.ConvTranspose3d(3, 8, 2, stride=2)(torch.randn(2, 3, 4, 4, 4)).shape
    tracegrad.Size([2, 8, 8, 8, 8])
    """

    rank = 3
