"""Normalisation: numbers brought to mean 0 and variance 1 over some of their dimensions.

All are compositions of means, so that a row that stays in cache is read once. Half types compute in
float32 and round once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ir.ops import reduce as reductions
from ...ir.ops.elementwise import rsqrt
from ...ir.ops.movement import pad, reshape
from ...tracer.autograd.graph import composite
from ...tracer.mode import FixedGradMode
from ...tracer.tensor.gradient_layout import to_contiguous
from ...tracer.tensor.layout import contiguous_format, format_of
from ...tracer.tensor.promotion import SCALAR_TYPE
from ...tracer.tensor.tensor import Tensor
from ..torch.random_sampling import narrowed, wide
from ..torch.reduction import mean, reduced
from ..torch.reduction_statistics import vector_norm

__all__ = [
    "batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm",
    "normalize", "rms_norm",
]


def _moments(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """x minus its mean over dims, the mean and the variance (of the population)."""
    n = math.prod(x.shape[d] for d in dims) or math.nan
    average = reduced(reductions.sum, x, dims, True) / n
    centred = x - average
    return centred, average, reduced(reductions.sum, centred * centred, dims, True) / n


def _scaled(y: Tensor, weight: Tensor | None, bias: Tensor | None, shape: Any) -> Tensor:
    """y * weight + bias, both seen in `shape`."""
    if weight is not None:
        y = y * narrowed(reshape(weight, shape=shape), y.dtype)
    return y if bias is None else y + narrowed(reshape(bias, shape=shape), y.dtype)


def _fits(what: str, t: Tensor | None, channels: int) -> None:
    if t is not None and t.numel() != channels:
        raise RuntimeError(f"{what} should contain {channels} elements not {t.numel()}")


def _floating(x: Tensor, kernel: str) -> Tensor:
    if not x.dtype.is_floating_point:
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{SCALAR_TYPE[x.dtype]}'")
    return narrowed(x, wide(x.dtype))


def _follow(running: Tensor, now: Tensor, momentum: Any) -> None:
    """Move a running statistic towards what it is now."""
    with FixedGradMode(False):
        now = reshape(now.detach(), shape=tuple(running.shape))
        running.copy_(running * (1 - momentum) + now * momentum)


# ---- over the batch
def batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
               weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False,
               momentum: Any = 0.1, eps: float = 1e-5) -> Tensor:
    """Normalise each channel, dimension 1, over all others.

    While training, by the moments of the batch, towards which the running statistics are moved, in
    place; else by the running statistics.

    Shape: (N, C, *) -> (N, C, *); statistics, weight and bias (C,). Ioffe and Szegedy (2015).
    Dtype: that of input, which must be floating point.
    Raises ValueError while training with one number per channel; RuntimeError if the shapes do not
    fit.

    >>> F.batch_norm(torch.tensor([[1.0], [3.0]]), None, None, training=True)
    tensor([[-1.0000],
            [ 1.0000]])
    """
    if input.ndim == 1 and not input.numel() and weight is None:
        return input.clone()
    if input.ndim < 2:
        raise RuntimeError(
            f"batch_norm: expected an input of at least 2 dimensions, got {list(input.shape)}"
        )
    channels = input.shape[1]
    if training and input.shape[0] * math.prod(input.shape[2:]) == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {input.shape}"
        )
    if training and eps <= 0:
        raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    for what, t in (("running_mean", running_mean), ("running_var", running_var),
                    ("weight", weight), ("bias", bias)):
        _fits(what, t, channels)
        if t is None and not training and what.startswith("running"):
            raise RuntimeError(f"{what} must be defined in evaluation mode")
    return _batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)


@composite("NativeBatchNormBackward0")
def _batch_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Any,
                running_var: Any, training: bool, momentum: Any, eps: float) -> Tensor:
    x = _floating(input, "batch_norm")
    shape = (1, x.shape[1], *(1,) * (x.ndim - 2))
    if training:
        centred, average, variance = _moments(x, (0, *range(2, x.ndim)))
        n = x.numel() // max(x.shape[1], 1)
        if running_mean is not None and n:
            _follow(running_mean, average, momentum)
        if running_var is not None and n:
            _follow(running_var, variance * (n / (n - 1) if n > 1 else math.nan), momentum)
    else:
        centred = x - narrowed(reshape(running_mean, shape=shape), x.dtype)
        variance = narrowed(reshape(running_var, shape=shape), x.dtype)
    y = narrowed(_scaled(centred * rsqrt(variance + eps), weight, bias, shape), input.dtype)
    return to_contiguous(y) if format_of(input) is contiguous_format else y


def instance_norm(input: Tensor, running_mean: Tensor | None = None,
                  running_var: Tensor | None = None, weight: Tensor | None = None,
                  bias: Tensor | None = None, use_input_stats: bool = True, momentum: Any = 0.1,
                  eps: float = 1e-5) -> Tensor:
    """Normalise each channel of each sample over its space: (N, C, *).

    Shape: (N, C, *) -> (N, C, *); statistics, weight and bias (C,). Ulyanov et al. (2016).
    Dtype: that of input, which must be floating point.
    Raises ValueError for one number per channel and sample.

    >>> F.instance_norm(torch.tensor([[[1.0, 3.0]]]))
    tensor([[[-1.0000,  1.0000]]])
    """
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    space = math.prod(input.shape[2:])
    if space == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {input.shape}"
        )
    for what, t in (("weight", weight), ("bias", bias)):
        _fits(what, t, input.shape[1])
    return _instance_norm(input, weight, bias, running_mean, running_var, momentum, eps)


@composite("ViewBackward0")
def _instance_norm(input: Tensor, weight: Any, bias: Any, running_mean: Any, running_var: Any,
                   momentum: Any, eps: float) -> Tensor:
    x = _floating(input, "batch_norm")
    space = math.prod(x.shape[2:])
    centred, average, variance = _moments(x, tuple(range(2, x.ndim)))
    if running_mean is not None:
        _follow(running_mean, mean(average, 0), momentum)
    if running_var is not None:
        _follow(running_var, mean(variance, 0) * (space / (space - 1)), momentum)
    shape = (1, x.shape[1], *(1,) * (x.ndim - 2))
    return narrowed(_scaled(centred * rsqrt(variance + eps), weight, bias, shape), input.dtype)


# ---- within a sample
def _trailing(input: Tensor, normalized_shape: Sequence[int], weight: Any, bias: Any) -> tuple:
    """The dimensions that a normalisation over the last ones goes over, and their shape."""
    shape = tuple(normalized_shape)
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least "
            "one element, but got normalized_shape = []"
        )
    for what, t in (("weight", weight), ("bias", bias)):
        if t is not None and tuple(t.shape) != shape:
            raise RuntimeError(
                f"Expected {what} to be of same shape as normalized_shape, but got {what} of shape "
                f"{list(t.shape)} and normalized_shape = {list(shape)}"
            )
    if tuple(input.shape[-len(shape) :]) != shape:
        wanted = "".join(f", {n}" for n in shape)
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*{wanted}], but got "
            f"input of size{list(input.shape)}"
        )
    return tuple(range(input.ndim - len(shape), input.ndim)), shape


def layer_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None,
               bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Normalise over the last dimensions, those of `normalized_shape`.

    Shape: (*, *normalized_shape) -> the same; weight and bias normalized_shape. Ba et al. (2016).
    Dtype: that of input, which must be floating point.
    Raises RuntimeError if normalized_shape does not end the shape of input.

    >>> F.layer_norm(torch.tensor([[1.0, 3.0], [0.0, 8.0]]), (2,))
    tensor([[-1.0000,  1.0000],
            [-1.0000,  1.0000]])
    """
    dims, _ = _trailing(input, normalized_shape, weight, bias)
    return _layer_norm(input, weight, bias, dims, eps)


@composite("NativeLayerNormBackward0")
def _layer_norm(input: Tensor, weight: Any, bias: Any, dims: tuple, eps: float) -> Tensor:
    x = _floating(input, "LayerNormKernelImpl")
    centred, _, variance = _moments(x, dims)
    y = centred * rsqrt(variance + eps)
    scaled = _scaled(y, weight, bias, tuple(x.shape[d] for d in dims))
    return to_contiguous(narrowed(scaled, input.dtype))


@composite("MulBackward0")
def rms_norm(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None,
             eps: float | None = None) -> Tensor:
    """Divide by the root of the mean square over the last dimensions.

    Shape: (*, *normalized_shape) -> the same; weight normalized_shape. Zhang and Sennrich (2019).
    Dtype: that of input, which must be floating point. `eps` is by default that of the dtype.
    Raises RuntimeError if normalized_shape does not end the shape of input.

    >>> F.rms_norm(torch.tensor([3.0, 4.0]), (2,))
    tensor([0.8485, 1.1314])
    """
    dims, shape = _trailing(input, normalized_shape, weight, None)
    x = _floating(input, "rms_norm")
    if eps is None:
        eps = float(np.finfo(x.dtype.compute).eps)
    size = math.prod(shape) or math.nan
    y = x * rsqrt(reduced(reductions.sum, x * x, dims, True) / size + eps)
    return narrowed(_scaled(y, weight, None, shape), input.dtype)


def group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None,
               bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Normalise groups of channels of each sample: (N, C, *).

    Shape: (N, C, *) -> (N, C, *); weight and bias (C,). Wu and He (2018).
    Dtype: that of input, which must be floating point.
    Raises RuntimeError if num_groups does not divide C, or for fewer than two dimensions.

    >>> F.group_norm(torch.tensor([[1.0, 3.0, 0.0, 8.0]]), 2)
    tensor([[-1.0000,  1.0000, -1.0000,  1.0000]])
    """
    if input.ndim < 2:
        raise RuntimeError(
            f"Expected at least 2 dimensions for input tensor but received {input.ndim}"
        )
    n, channels, *space = input.shape
    if num_groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {num_groups}")
    if channels % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of "
            f"shape {list(input.shape)} and num_groups={num_groups}"
        )
    for what, t in (("weight", weight), ("bias", bias)):
        if t is not None and tuple(t.shape) != (channels,):
            raise RuntimeError(
                f"Expected {what} to be a vector of size equal to the number of channels in input, "
                f"but got {what} of shape {list(t.shape)} and input of shape {list(input.shape)}"
            )
    if n * channels // num_groups * math.prod(space) == 1:
        size = [n * channels // num_groups, num_groups, *space]
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {size}"
        )
    return _group_norm(input, weight, bias, num_groups, eps)


@composite("NativeGroupNormBackward0")
def _group_norm(input: Tensor, weight: Any, bias: Any, groups: int, eps: float) -> Tensor:
    n, channels, *space = input.shape
    each = (groups, channels // groups)
    x = reshape(_floating(input, "GroupNormKernelImpl"), shape=(n, *each, *space))
    centred, _, variance = _moments(x, tuple(range(2, x.ndim)))
    y = centred * rsqrt(variance + eps)
    y = _scaled(y, weight, bias, (1, *each, *(1,) * len(space)))
    return narrowed(reshape(y, shape=tuple(input.shape)), input.dtype)


# ---- by size
@composite("DivBackward0")
def normalize(
    input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None
) -> Tensor:
    """Divide by the p-norm along `dim`, or by eps where that is larger.

    Shape: (*) -> (*). Dtype: that of input, which must be floating point.
    Raises IndexError for a dimension out of range; RuntimeError for integers.

    >>> F.normalize(torch.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    return input / vector_norm(input, p, dim, True).clamp_min(eps)


@composite("DivBackward0")
def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Divide by (k + alpha * the mean square of `size` neighbouring channels) ** beta.

    Shape: (N, C, *) -> (N, C, *). Dtype: that of input. Krizhevsky et al. (2012).
    Raises ValueError for fewer than three dimensions.

    >>> F.local_response_norm(torch.ones(1, 3, 2), 2).shape
    tracegrad.Size([1, 3, 2])
    """
    if input.ndim < 3:
        raise ValueError(
            f"Expected 3D or higher dimensionality input (got {input.ndim} dimensions)"
        )
    if input.numel() == 0:
        return input
    around = [(0, 0, 0)] * input.ndim
    around[1] = (size // 2, (size - 1) // 2, 0)
    square = pad(input * input, pads=tuple(around))
    near = sum(square[:, i : i + input.shape[1]] for i in range(size))
    return input / (near * (alpha / size) + k) ** beta
