"""torch.nn.grad: the gradients of convolutions, as functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd import grad
from ..functions.torch.creation import zeros
from ..tracer.mode import enable_grad
from ..tracer.tensor.tensor import Tensor
from . import functional as F

__all__ = ["conv1d_input", "conv1d_weight", "conv2d_input", "conv2d_weight", "conv3d_input",
           "conv3d_weight"]


def _gradient(conv: Callable, of_weight: bool) -> Callable:
    def function(first: Any, second: Any, grad_output: Tensor, stride: Any = 1, padding: Any = 0,
                 dilation: Any = 1, groups: int = 1) -> Tensor:
        other, shape = (first, second) if of_weight else (second, first)
        wanted = zeros(tuple(shape), dtype=other.dtype, device=other.device, requires_grad=True)
        with enable_grad():
            x, w = (other, wanted) if of_weight else (wanted, other)
            y = conv(x, w, None, stride, padding, dilation, groups)
        return grad(y, wanted, grad_output)[0]

    what = "weight" if of_weight else "input"
    function.__name__ = function.__qualname__ = f"{conv.__name__}_{what}"
    arguments = "input, weight_size" if of_weight else "input_size, weight"
    function.__doc__ = f"""The gradient of {conv.__name__} by its {what}: ({arguments}, grad_output,
    stride, padding, dilation, groups). Raises RuntimeError for shapes that do not fit.
    """
    return function


conv1d_input, conv1d_weight = _gradient(F.conv1d, False), _gradient(F.conv1d, True)
conv2d_input, conv2d_weight = _gradient(F.conv2d, False), _gradient(F.conv2d, True)
conv3d_input, conv3d_weight = _gradient(F.conv3d, False), _gradient(F.conv3d, True)
