"""torch.nn.utils.fusion: a batch normalisation in eval mode as part of the layer before it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from ...functions.torch.creation import ones_like, zeros_like
from ...tracer.mode import no_grad
from ...tracer.tensor.tensor import Tensor
from ..parameter import Parameter

__all__ = [
    "fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights",
]


def fuse_conv_bn_weights(
    conv_w: Tensor, conv_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float,
    bn_w: Tensor | None, bn_b: Tensor | None, transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of the convolution that does both."""
    with no_grad():
        scale = (ones_like(bn_rm) if bn_w is None else bn_w) / (bn_rv + bn_eps).sqrt()
        shift = zeros_like(bn_rm) if bn_b is None else bn_b
        before = zeros_like(bn_rm) if conv_b is None else conv_b
        axis = 1 if transpose else 0
        sizes = [1] * conv_w.ndim
        sizes[axis] = -1
        weight = (conv_w * scale.reshape(sizes)).to(conv_w.dtype)
        bias = ((before - bn_rm) * scale + shift).to(before.dtype)
    flag = True if conv_b is None else conv_b.requires_grad
    return Parameter(weight, conv_w.requires_grad), Parameter(bias, flag)


def fuse_linear_bn_weights(
    linear_w: Tensor, linear_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float,
    bn_w: Tensor | None, bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of the linear layer that does both."""
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)


def _fused(layer: Any, bn: Any, transpose: bool) -> Any:
    if layer.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("Fusion needs a batch normalisation with running statistics")
    new = deepcopy(layer)
    new.weight, new.bias = fuse_conv_bn_weights(
        new.weight, new.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, transpose
    )
    return new


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A copy of a convolution that does what it and the normalisation after it do.

    Raises AssertionError unless both are in eval mode.

    >>> conv, bn = nn.Conv1d(2, 3, 1).eval(), nn.BatchNorm1d(3).eval()
    >>> fused, x = nn.utils.fuse_conv_bn_eval(conv, bn), torch.ones(1, 2, 4)
    >>> torch.allclose(fused(x), bn(conv(x)))
    True
    """
    return _fused(conv, bn, transpose)


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """The same of a linear layer. Raises AssertionError unless both are in eval mode, or if the
    normalisation has another number of features.
    """
    if linear.out_features != bn.num_features and bn.num_features != 1:
        raise AssertionError(
            "To fuse, linear.out_features == bn.num_features or bn.num_features == 1"
        )
    return _fused(linear, bn, False)
