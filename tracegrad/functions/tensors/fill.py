"""Whole tensors overwritten: with the values of another, with one number, where a mask holds."""

from __future__ import annotations

from typing import Any

from ...ir.dtype import bool_
from ...ir.op import ShapeError, broadcast
from ...ir.ops.elementwise import cast, remainder, where as where_
from ...ir.ops.movement import reshape
from ...ir.strides import contiguous
from ...tracer.autograd.graph import composite
from ...tracer.tensor.dispatch import number
from ...tracer.tensor.gradient_layout import to_contiguous
from ...tracer.tensor.inplace import apply_inplace, overwrite
from ...tracer.tensor.promotion import SCALAR_TYPE, checked_number
from ...tracer.tensor.tensor import Tensor
from .creation import arange, assigned, tensor


def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """The values of `src`, broadcast and converted, written into this tensor.

    Shape: src must broadcast to that of the tensor. Dtype: that of the tensor.
    Raises RuntimeError if it does not broadcast, or for a leaf that requires grad.

    >>> torch.zeros(2).copy_(torch.tensor([1, 2]))
    tensor([1., 2.])
    """
    src = assigned(src, self.dtype)
    if broadcast("copy_", tuple(self.shape), tuple(src.shape)) != tuple(self.shape):
        raise ShapeError(
            f"output with shape {list(self.shape)} doesn't match the broadcast shape "
            f"{list(broadcast('copy_', tuple(self.shape), tuple(src.shape)))}"
        )
    return overwrite(self, src, "CopyBackwards")


def fill_(self: Tensor, value: Any) -> Tensor:
    """Every element becomes `value`.

    Shape: the value is a number or a 0-d tensor. Raises RuntimeError for others.

    >>> torch.zeros(2).fill_(7)
    tensor([7., 7.])
    """
    title = f"FillBackward{3 if isinstance(value, Tensor) else 2}"
    value = assigned(value, self.dtype)
    if value.ndim:
        raise RuntimeError(
            f"fill_ only supports 0-dimension value tensor but got tensor with {value.ndim} "
            "dimensions."
        )
    return overwrite(self, value, title)


def zero_(self: Tensor) -> Tensor:
    """Every element becomes zero.

    Shape: that of the tensor. Raises RuntimeError for a leaf that requires grad.

    >>> torch.ones(2).zero_()
    tensor([0., 0.])
    """
    return overwrite(self, tensor(0, dtype=self.dtype), "ZeroBackward0")


def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """The main diagonal becomes one number; that of a tall matrix begins anew with `wrap`."""
    n = len(set(self.shape))
    if self.ndim < 2:
        raise RuntimeError("dimensions must larger than 1")
    if self.ndim > 2 and n != 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    place = sum(contiguous(tuple(self.shape)))  # how far apart the numbers lie
    rows = self.numel() if wrap else min(self.shape) * place
    at = arange(self.numel())
    on = (remainder(at, place) == 0) & (at < rows)
    return masked_fill_(self, reshape(on, shape=tuple(self.shape)), fill_value)


@composite("MaskedFillBackward0")
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`value` where the mask holds.

    Shape: two that broadcast -> the shape to which they do. Dtype: that of input; the mask is bool.
    Raises RuntimeError if the mask is not bool or the value has more than zero dimensions.

    >>> torch.masked_fill(torch.tensor([1.0, 2.0]), torch.tensor([True, False]), 0.0)
    tensor([0., 2.])
    """
    if mask.dtype is not bool_:
        raise RuntimeError(
            "masked_fill_ only supports boolean masks, but got mask with dtype "
            f"{SCALAR_TYPE[mask.dtype]}"
        )
    if isinstance(value, Tensor):
        if value.ndim:
            raise RuntimeError(
                "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.ndim} dimension(s)."
            )
        value = value if value.dtype is input.dtype else cast(value, dtype=input.dtype)
        return to_contiguous(where_(mask, value, input))
    return to_contiguous(
        where_(mask, number(checked_number(value, input.dtype), input.dtype), input)
    )


def masked_fill_(self: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`value` where the mask holds, in place."""
    return apply_inplace(self, masked_fill, mask, value)


def fill(input: Tensor, value: Any) -> Tensor:
    """A tensor like this one, every element `value`."""
    return fill_(input.clone(), value)


__all__ = ["fill", "fill_", "masked_fill", "zero_"]
