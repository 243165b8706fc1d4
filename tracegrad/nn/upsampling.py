"""Layers that pad, rearrange and resize images."""

from __future__ import annotations

from typing import Any

from ..tracer.tensor.tensor import Tensor
from . import functional as F
from .layer import NEEDED, layer, repeated
from .module import Module


# ---- padding
class _Pad(Module):
    """More at the ends of the last axes: one number for all ends, or (before, after) from the last
    axis on.
    """

    rank: int
    mode = "constant"

    def __init__(self, padding: Any):
        super().__init__()
        self.padding = repeated(padding, 2 * self.rank)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    """A number at the ends of the last axes."""

    def __init__(self, padding: Any, value: float):
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_Pad):
    """Zeros at the ends of the last axes."""

    def __init__(self, padding: Any):
        super().__init__(padding)
        self.value = 0.0


_PADS = {
    "ConstantPad{}d": (_ConstantPad, "constant", "A number at the ends of the last axes."),
    "ZeroPad{}d": (_ZeroPad, "constant", "Zeros at the ends of the last axes."),
    "ReflectionPad{}d": (_Pad, "reflect", "The tensor reflected at its ends."),
    "ReplicationPad{}d": (_Pad, "replicate", "The ends of the tensor repeated."),
    "CircularPad{}d": (_Pad, "circular", "The tensor again at its ends, as if it were a ring."),
}
_PAD_DOC = """{summary}

`padding` is one number for all ends, or (before, after) from the last axis on.
Shape: (N, C, *spatial) -> (N, C, *out), or without N; an extent grows by before + after.
Raises RuntimeError or NotImplementedError for a padding that does not fit.

>>> nn.{name}({options})(torch.ones(1, 1{space})).shape
tracegrad.Size([1, 1{out}])
"""


def _pads(name: str) -> Any:
    base, mode, summary = _PADS[name]
    options = "1, 0.5" if base is _ConstantPad else "1"
    for rank in (1, 2, 3):
        title = name.format(rank)
        doc = _PAD_DOC.format(
            summary=summary, name=title, options=options, space=", 4" * rank, out=", 6" * rank
        )
        body = {"rank": rank, "mode": mode, "__doc__": doc, "__module__": __name__}
        yield type(title, (base,), body)


ConstantPad1d, ConstantPad2d, ConstantPad3d = _pads("ConstantPad{}d")
ZeroPad1d, ZeroPad2d, ZeroPad3d = _pads("ZeroPad{}d")
ReflectionPad1d, ReflectionPad2d, ReflectionPad3d = _pads("ReflectionPad{}d")
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = _pads("ReplicationPad{}d")
CircularPad1d, CircularPad2d, CircularPad3d = _pads("CircularPad{}d")


# ---- rearranging
_BLOCKS = {"kernel_size": NEEDED, "dilation": 1, "padding": 0, "stride": 1}
Unfold = layer("Unfold", F.unfold, _BLOCKS, __name__)
Fold = layer(
    "Fold", F.fold, {"output_size": NEEDED} | _BLOCKS, __name__,
)
PixelShuffle = layer("PixelShuffle", F.pixel_shuffle, {"upscale_factor": NEEDED}, __name__)
PixelUnshuffle = layer("PixelUnshuffle", F.pixel_unshuffle, {"downscale_factor": NEEDED}, __name__)
ChannelShuffle = layer("ChannelShuffle", F.channel_shuffle, {"groups": NEEDED}, __name__)


# ---- resizing
class Upsample(Module):
    """Images (N, C, *spatial) at another size, or larger by a factor.

    Shape: (N, C, *spatial) -> (N, C, *size). Modes and errors are those of `F.interpolate`: it
    Raises ValueError unless exactly one of size and scale_factor is given.

    >>> nn.Upsample(scale_factor=2)(torch.tensor([[[1.0, 2.0]]]))
    tensor([[[1., 1., 2., 2.]]])
    """

    def __init__(
        self, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
        align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
    ):
        super().__init__()
        self.name = type(self).__name__
        self.size = size
        if isinstance(scale_factor, (tuple, list)):
            self.scale_factor: Any = tuple(float(f) for f in scale_factor)
        else:
            self.scale_factor = float(scale_factor) if scale_factor else None
        self.mode, self.align_corners = mode, align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners,
            self.recompute_scale_factor,
        )

    def extra_repr(self) -> str:
        name = "size" if self.scale_factor is None else "scale_factor"
        return f"{name}={getattr(self, name)!r}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Images (N, C, H, W) at another size, of their nearest pixels.

    Shape: (N, C, H, W) -> (N, C, *size).
    Raises ValueError unless exactly one of size and scale_factor is given.

    >>> nn.UpsamplingNearest2d(scale_factor=2)(torch.ones(1, 1, 2, 3)).shape
    tracegrad.Size([1, 1, 4, 6])
    """

    def __init__(self, size: Any = None, scale_factor: Any = None):
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Images (N, C, H, W) at another size, linear between pixels, the corners kept.

    Shape: (N, C, H, W) -> (N, C, *size).
    Raises ValueError unless exactly one of size and scale_factor is given.

    >>> nn.UpsamplingBilinear2d(size=(3, 3))(torch.tensor([[[[0.0, 2.0], [4.0, 6.0]]]]))
    tensor([[[[0., 1., 2.],
              [2., 3., 4.],
              [4., 5., 6.]]]])
    """

    def __init__(self, size: Any = None, scale_factor: Any = None):
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)
