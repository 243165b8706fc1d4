"""Pooling layers, from tables, for one to three spatial axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tracer.tensor.tensor import Tensor
from . import functional as F
from .layer import NEEDED, layer, repeated
from .module import Module


def _whole(arguments: dict) -> dict:
    """Windows side by side unless a stride is given."""
    stride = arguments["stride"]
    return arguments | {"stride": arguments["kernel_size"] if stride is None else stride}


def _tuples(arguments: dict) -> dict:
    """AvgPool1d, alone, keeps tuples."""
    names = ("kernel_size", "stride", "padding")
    return {k: repeated(v, 1) if k in names else v for k, v in _whole(arguments).items()}


_MAX = {
    "kernel_size": NEEDED, "stride": None, "padding": 0, "dilation": 1, "return_indices": False,
    "ceil_mode": False,
}
_AVG = {
    "kernel_size": NEEDED, "stride": None, "padding": 0, "ceil_mode": False,
    "count_include_pad": True,
}
_LP = {"norm_type": NEEDED, "kernel_size": NEEDED, "stride": None, "ceil_mode": False}
_SIZE = {"output_size": NEEDED}


def _three(
    name: str, function: str, options: dict, shown: tuple[str, ...] | None = None,
    prepare: Callable[[dict], dict] | None = None, ranks: tuple[int, ...] = (1, 2, 3),
) -> Any:
    return (
        layer(
            name.format(n), getattr(F, function.format(n)), options, __name__, shown=shown,
            prepare=prepare,
        )
        for n in ranks
    )


MaxPool1d, MaxPool2d, MaxPool3d = _three(
    "MaxPool{}d", "max_pool{}d", _MAX,
    ("kernel_size", "stride", "padding", "dilation", "ceil_mode"), _whole,
)
(AvgPool1d,) = _three(
    "AvgPool{}d", "avg_pool{}d", _AVG, ("kernel_size", "stride", "padding"), _tuples, (1,)
)
AvgPool2d, AvgPool3d = _three(
    "AvgPool{}d", "avg_pool{}d", _AVG | {"divisor_override": None},
    ("kernel_size", "stride", "padding"), _whole, (2, 3),
)
LPPool1d, LPPool2d, LPPool3d = _three("LPPool{}d", "lp_pool{}d", _LP)
AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d = _three(
    "AdaptiveAvgPool{}d", "adaptive_avg_pool{}d", _SIZE
)
AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d = _three(
    "AdaptiveMaxPool{}d", "adaptive_max_pool{}d", _SIZE | {"return_indices": False},
    ("output_size",),
)


class _Fractional(Module):
    rank: int

    def __init__(
        self, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
        return_indices: bool = False, _random_samples: Tensor | None = None,
    ):
        super().__init__()
        name, n = type(self).__name__, self.rank
        if output_size is None and output_ratio is None:
            raise ValueError(
                f"{name} requires specifying either an output size, or a pooling ratio"
            )
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        self.kernel_size, self.return_indices = repeated(kernel_size, n), return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = None if output_size is None else repeated(output_size, n)
        self.output_ratio = None if output_ratio is None else repeated(output_ratio, n)
        if self.output_ratio is not None and not all(0 < r < 1 for r in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def forward(self, input: Tensor) -> Any:
        pool = getattr(F, f"fractional_max_pool{self.rank}d")
        return pool(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices,
            self._random_samples,
        )


class FractionalMaxPool2d(_Fractional):
    """The maxima of windows at random places of images, for a size or a ratio of sizes.

    Shape: (N, C, H, W) -> (N, C, *output_size), or without N. Graham (2014).
    Raises ValueError unless one of output_size and output_ratio is given.

    >>> nn.FractionalMaxPool2d(2, output_size=3)(torch.ones(1, 1, 7, 7)).shape
    tracegrad.Size([1, 1, 3, 3])
    """

    rank = 2


class FractionalMaxPool3d(_Fractional):
    """The maxima of windows at random places of volumes, for a size or a ratio of sizes.

    Shape: (N, C, D, H, W) -> (N, C, *output_size), or without N. Graham (2014).
    Raises ValueError unless one of output_size and output_ratio is given.

    >>> nn.FractionalMaxPool3d(2, output_ratio=0.5)(torch.ones(1, 1, 6, 6, 6)).shape
    tracegrad.Size([1, 1, 3, 3, 3])
    """

    rank = 3


class _MaxUnpool(Module):
    rank: int

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0):
        super().__init__()
        n = self.rank
        self.kernel_size = repeated(kernel_size, n)
        self.stride = repeated(kernel_size if stride is None else stride, n)
        self.padding = repeated(padding, n)

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        unpool = getattr(F, f"max_unpool{self.rank}d")
        return unpool(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """Zeros with numbers at the positions that a MaxPool1d answered.

    Shape: (N, C, L), the same -> (N, C, (L - 1) stride - 2 padding + kernel), or without N.
    Raises RuntimeError for a position out of range.

    >>> x = torch.tensor([[[1.0, 3.0, 4.0, 2.0]]])
    >>> values, indices = nn.MaxPool1d(2, return_indices=True)(x)
    >>> nn.MaxUnpool1d(2)(values, indices)
    tensor([[[0., 3., 4., 0.]]])
    """

    rank = 1


class MaxUnpool2d(_MaxUnpool):
    """Zeros with numbers at the positions that a MaxPool2d answered.

    Shape: (N, C, H, W), the same -> (N, C, *out), out as for MaxUnpool1d, or without N.
    Raises RuntimeError for a position out of range.

    >>> values, indices = nn.MaxPool2d(2, return_indices=True)(torch.ones(1, 1, 4, 4))
    >>> nn.MaxUnpool2d(2)(values, indices).shape
    tracegrad.Size([1, 1, 4, 4])
    """

    rank = 2


class MaxUnpool3d(_MaxUnpool):
    """Zeros with numbers at the positions that a MaxPool3d answered.

    Shape: (N, C, D, H, W), the same -> (N, C, *out), out as for MaxUnpool1d, or without N.
    Raises RuntimeError for a position out of range.

    >>> values, indices = nn.MaxPool3d(2, return_indices=True)(torch.ones(1, 1, 4, 4, 4))
    >>> nn.MaxUnpool3d(2)(values, indices).shape
    tracegrad.Size([1, 1, 4, 4, 4])
    """

    rank = 3
