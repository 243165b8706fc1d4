"""Normalisation layers, with torch's names of parameters and buffers."""

from __future__ import annotations

import warnings
from typing import Any

from ..functions.torch.creation import empty, ones, tensor, zeros
from ..functions.torch.shape import squeeze, unsqueeze
from ..ir.dtype import int64
from ..tracer.mode import FixedGradMode
from ..tracer.tensor.tensor import Tensor
from . import functional as F, init
from .module import Module
from .parameter import Parameter


class _Affine(Module):
    """A layer that may have a weight, at first 1, and a bias, at first 0."""

    weight: Tensor | None
    bias: Tensor | None

    def _parameters_of(self, shape: Any, weight: bool, bias: bool, kind: dict) -> None:
        for name, there in (("weight", weight), ("bias", bias)):
            self.register_parameter(name, Parameter(empty(shape, **kind)) if there else None)

    def reset_parameters(self) -> None:
        """Weight 1 and bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


class _NormBase(_Affine):
    """A normalisation that may keep running statistics: momentum None means their plain average.

    Buffers: running_mean, running_var (num_features,) and num_batches_tracked, where
    `track_running_stats`.
    """

    ranks: tuple[int, ...] = ()
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
                 affine: bool = True, track_running_stats: bool = True, device: Any = None,
                 dtype: Any = None, *, bias: bool = True):
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        kind = {"device": device, "dtype": dtype}
        self._parameters_of(num_features, affine, affine and bias, kind)
        track = track_running_stats
        self.register_buffer("running_mean", zeros(num_features, **kind) if track else None)
        self.register_buffer("running_var", ones(num_features, **kind) if track else None)
        count = tensor(0, dtype=int64, device=device) if track else None
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget what was seen."""
        if self.track_running_stats:
            with FixedGradMode(False):
                self.running_mean.zero_()  # type: ignore[union-attr]
                self.running_var.fill_(1)  # type: ignore[union-attr]
                self.num_batches_tracked.zero_()  # type: ignore[union-attr]

    def reset_parameters(self) -> None:
        """Begin anew."""
        self.reset_running_stats()
        super().reset_parameters()

    _version = 2  # 1 had no num_batches_tracked

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, local_metadata: dict, *rest: Any
    ) -> None:
        key = f"{prefix}num_batches_tracked"
        old = local_metadata.get("version", 1) < 2
        if old and self.num_batches_tracked is not None and key not in state_dict:
            state_dict[key] = self.num_batches_tracked
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim not in self.ranks:
            wanted = " or ".join(f"{r}D" for r in self.ranks)
            raise ValueError(f"expected {wanted} input (got {input.ndim}D input)")

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_NormBase):
    """Normalise each channel over the batch and space."""

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        factor: Any = 0.0 if self.momentum is None else self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # a tensor, so that it stays one in a compiled program
                factor = 1 / self.num_batches_tracked.double()
        batch = self.training or (self.running_mean is None and self.running_var is None)
        keep = not self.training or self.track_running_stats
        mean, var = (self.running_mean, self.running_var) if keep else (None, None)
        return F.batch_norm(input, mean, var, self.weight, self.bias, batch, factor, self.eps)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L).

    Shape: (N, C) or (N, C, L) -> the same; parameters and running statistics (C,).
    Raises ValueError for other ranks, or while training with one number per channel.
    Ioffe and Szegedy (2015).

    >>> nn.BatchNorm1d(1)(torch.tensor([[1.0], [3.0]])).detach()
    tensor([[-1.0000],
            [ 1.0000]])
    """

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (N, C, H, W).

    Shape: (N, C, H, W) -> the same; parameters and running statistics (C,).
    Raises ValueError for other ranks, or while training with one number per channel.

    >>> nn.BatchNorm2d(3)(torch.ones(2, 3, 4, 4)).shape
    tracegrad.Size([2, 3, 4, 4])
    """

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of (N, C, D, H, W).

    Shape: (N, C, D, H, W) -> the same; parameters and running statistics (C,).
    Raises ValueError for other ranks, or while training with one number per channel.

    >>> nn.BatchNorm3d(3)(torch.ones(2, 3, 4, 4, 4)).shape
    tracegrad.Size([2, 3, 4, 4, 4])
    """

    ranks = (5,)


class _InstanceNorm(_NormBase):
    """Normalise each channel of each sample over space; without a batch too."""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
                 affine: bool = False, track_running_stats: bool = False, device: Any = None,
                 dtype: Any = None, *, bias: bool = True):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype,
                         bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        alone = input.ndim == self.ranks[0]
        d = input.ndim - self.ranks[0]
        if input.shape[d] != self.num_features:
            words = f"expected input's size at dim={d} to match num_features ({self.num_features})"
            if self.affine:
                raise ValueError(f"{words}, but got: {input.shape[d]}.")
            warnings.warn(
                f"input's size at dim={d} does not match num_features. You can silence this "
                "warning by not passing in num_features, which is not used because affine=False",
                stacklevel=2,
            )
        y = F.instance_norm(
            unsqueeze(input, 0) if alone else input, self.running_mean, self.running_var,
            self.weight, self.bias, self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum, self.eps,
        )
        return squeeze(y, 0) if alone else y


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of (N, C, L) or (C, L).

    Shape: (N, C, L) or (C, L) -> the same. Raises ValueError for other ranks, or for L = 1.

    >>> nn.InstanceNorm1d(1)(torch.tensor([[[1.0, 3.0]]]))
    tensor([[[-1.0000,  1.0000]]])
    """

    ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of (N, C, H, W) or (C, H, W).

    Shape: (N, C, H, W) or (C, H, W) -> the same. Raises ValueError for other ranks.

    >>> nn.InstanceNorm2d(3)(torch.ones(2, 3, 4, 4)).shape
    tracegrad.Size([2, 3, 4, 4])
    """

    ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of (N, C, D, H, W) or (C, D, H, W).

    Shape: (N, C, D, H, W) or (C, D, H, W) -> the same. Raises ValueError for other ranks.

    >>> nn.InstanceNorm3d(3)(torch.ones(2, 3, 4, 4, 4)).shape
    tracegrad.Size([2, 3, 4, 4, 4])
    """

    ranks = (4, 5)


class _Trailing(_Affine):
    """A normalisation over the last dimensions."""

    def _begin(self, shape: Any, eps: Any, affine: bool, bias: bool, kind: dict) -> None:
        self.normalized_shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.eps, self.elementwise_affine = eps, affine
        self._parameters_of(self.normalized_shape, affine, affine and bias, kind)
        self.reset_parameters()

    def extra_repr(self) -> str:
        affine = self.elementwise_affine
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={affine}"


class LayerNorm(_Trailing):
    """Normalise over the last dimensions, those of `normalized_shape`.

    Shape: (*, *normalized_shape) -> the same; weight and bias normalized_shape. Ba et al. (2016).
    Raises RuntimeError if normalized_shape does not end the shape of input.

    >>> nn.LayerNorm(2)(torch.tensor([[1.0, 3.0], [0.0, 8.0]])).detach()
    tensor([[-1.0000,  1.0000],
            [-1.0000,  1.0000]])
    """

    def __init__(self, normalized_shape: Any, eps: float = 1e-5, elementwise_affine: bool = True,
                 bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__()
        kind = {"device": device, "dtype": dtype}
        self._begin(normalized_shape, eps, elementwise_affine, bias, kind)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bias={self.bias is not None}"


class RMSNorm(_Trailing):
    """Divide by the root of the mean square over the last dimensions.

    Shape: (*, *normalized_shape) -> the same; weight normalized_shape. Zhang and Sennrich (2019).
    Raises RuntimeError if normalized_shape does not end the shape of input.

    >>> nn.RMSNorm(2)(torch.tensor([3.0, 4.0])).detach()
    tensor([0.8485, 1.1314])
    """

    def __init__(self, normalized_shape: Any, eps: float | None = None,
                 elementwise_affine: bool = True, device: Any = None,
                 dtype: Any = None):
        super().__init__()
        kind = {"device": device, "dtype": dtype}
        self._begin(normalized_shape, eps, elementwise_affine, False, kind)
        del self._parameters["bias"]  # torch's has none, not even one that is None

    def reset_parameters(self) -> None:
        """Weight 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)


class GroupNorm(_Affine):
    """Normalise `num_groups` groups of channels of each sample.

    Shape: (N, C, *) -> the same; weight and bias (C,). Wu and He (2018).
    Raises ValueError if num_groups does not divide num_channels.

    >>> nn.GroupNorm(2, 4)(torch.tensor([[1.0, 3.0, 0.0, 8.0]])).detach()
    tensor([[-1.0000,  1.0000, -1.0000,  1.0000]])
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True,
                 device: Any = None, dtype: Any = None, *, bias: bool = True):
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(
                f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})"
            )
        self.num_groups, self.num_channels = num_groups, num_channels
        self.eps, self.affine = eps, affine
        kind = {"device": device, "dtype": dtype}
        self._parameters_of(num_channels, affine, affine and bias, kind)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class LocalResponseNorm(Module):
    """Divide by a power of the mean square of neighbouring channels.

    Shape: (N, C, *) -> the same. Raises ValueError for fewer than three dimensions.

    >>> nn.LocalResponseNorm(2)(torch.ones(1, 3, 2)).shape
    tracegrad.Size([1, 3, 2])
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
