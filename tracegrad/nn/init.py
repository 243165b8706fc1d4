"""Initial values of parameters, filled in place, by torch's names.

Formulas: Glorot and Bengio (2010) for xavier, He et al. (2015) for kaiming.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any

from ..functions.linalg.decompositions import linalg_qr
from ..functions.torch.random_sampling import rand, randn
from ..ir.ops.special import erfinv
from ..tracer.mode import no_grad
from ..tracer.tensor.tensor import Tensor

__all__ = [
    "calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_",
    "normal_", "ones_", "orthogonal_", "sparse_", "trunc_normal_", "uniform_", "xavier_normal_",
    "xavier_uniform_", "zeros_",
]

# nonlinearity -> how much larger its input must be spread for its output to keep the spread
_GAINS = dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d", "sigmoid"), 1.0) | {
    "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain: 1, tanh 5/3, relu sqrt(2), leaky_relu sqrt(2 / (1 + slope**2)), selu 3/4.

    Shape: of none. Raises ValueError for another name.

    >>> nn.init.calculate_gain("leaky_relu", 1.0)
    1.0
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"Unsupported nonlinearity {nonlinearity}")
    return _GAINS[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """What enters and what leaves: of a weight (out, in, *window), in * window and out * window.

    Raises ValueError for fewer than 2 dimensions.

    >>> nn.init.fans(torch.empty(3, 2, 5, 5))
    (50, 75)
    """
    if tensor.ndim < 2:
        raise ValueError(
            "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions"
        )
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def _fan(tensor: Tensor, mode: str) -> int:
    if mode.lower() not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    return fans(tensor)[mode.lower() == "fan_out"]


@no_grad()
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Numbers uniform in [a, b).

    Shape: that of the tensor, which is changed and returned.
    Raises nothing of its own.

    >>> w = torch.empty(2, 3)
    >>> nn.init.uniform_(w, 0.0, 1.0).shape
    tracegrad.Size([2, 3])
    """
    return tensor.uniform_(a, b, generator=generator)


@no_grad()
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Normal numbers.

    Shape: that of the tensor, which is changed and returned.
    Raises nothing of its own.

    >>> w = torch.empty(2, 3)
    >>> nn.init.normal_(w).shape
    tracegrad.Size([2, 3])
    """
    return tensor.normal_(mean, std, generator=generator)


@no_grad()
def constant_(tensor: Tensor, val: float) -> Tensor:
    """One number everywhere.

    Shape: that of the tensor, which is changed and returned.
    Raises nothing of its own.

    >>> w = torch.empty(2, 3)
    >>> nn.init.constant_(w, 0.5)
    tensor([[0.5000, 0.5000, 0.5000],
            [0.5000, 0.5000, 0.5000]])
    """
    return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Ones.

    Shape: that of the tensor, which is changed and returned.
    Raises nothing of its own.

    >>> w = torch.empty(2, 3)
    >>> nn.init.ones_(w)
    tensor([[1., 1., 1.],
            [1., 1., 1.]])
    """
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros.

    Shape: that of the tensor, which is changed and returned.
    Raises nothing of its own.

    >>> w = torch.empty(2, 3)
    >>> nn.init.zeros_(w)
    tensor([[0., 0., 0.],
            [0., 0., 0.]])
    """
    return constant_(tensor, 0.0)


@no_grad()
def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix.

    Shape: that of the tensor, which is changed and returned.
    Raises ValueError for other ranks than 2.

    >>> w = torch.empty(2, 3)
    >>> nn.init.eye_(w)
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    if tensor.ndim != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    tensor.zero_()
    for i in range(min(tensor.shape)):
        tensor[i, i] = 1.0
    return tensor


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform within gain * sqrt(6 / (fan_in + fan_out)).

    Shape: that of the tensor, which is changed and returned. Glorot and Bengio (2010).
    Raises ValueError for fewer than two dimensions.

    >>> w = torch.empty(2, 3)
    >>> nn.init.xavier_uniform_(w).shape
    tracegrad.Size([2, 3])
    """
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Normal with standard deviation gain * sqrt(2 / (fan_in + fan_out)).

    Shape: that of the tensor, which is changed and returned. Glorot and Bengio (2010).
    Raises ValueError for fewer than two dimensions.

    >>> w = torch.empty(2, 3)
    >>> nn.init.xavier_normal_(w).shape
    tracegrad.Size([2, 3])
    """
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """Uniform within gain * sqrt(3 / fan), with the gain of the nonlinearity.

    Shape: that of the tensor, which is changed and returned. He et al. (2015).
    Raises ValueError for fewer than two dimensions or another mode.

    >>> w = torch.empty(2, 3)
    >>> nn.init.kaiming_uniform_(w, nonlinearity="relu").shape
    tracegrad.Size([2, 3])
    """
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3 / _fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """Normal with standard deviation gain / sqrt(fan), with the gain of the nonlinearity.

    Shape: that of the tensor, which is changed and returned. He et al. (2015).
    Raises ValueError for fewer than two dimensions or another mode.

    >>> w = torch.empty(2, 3)
    >>> nn.init.kaiming_normal_(w, mode="fan_out").shape
    tracegrad.Size([2, 3])
    """
    std = calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))
    return normal_(tensor, 0.0, std, generator)


@no_grad()
def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0,
                  b: float = 2.0, generator: Any = None) -> Tensor:
    """Normal numbers that lie in [a, b], by the inverse of their distribution.

    Shape: that of the tensor, which is changed and returned.
    Raises nothing of its own.

    >>> w = torch.empty(2, 3)
    >>> nn.init.trunc_normal_(w).shape
    tracegrad.Size([2, 3])
    """
    low, high = (math.erf((end - mean) / std / math.sqrt(2)) for end in (a, b))
    tensor.uniform_(low, high, generator=generator)
    return tensor.copy_((erfinv(tensor) * (std * math.sqrt(2)) + mean).clamp(a, b))


@no_grad()
def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """An orthogonal matrix (out, in * window), or part of one (Saxe et al., 2013).

    Shape: that of the tensor, which is changed and returned.
    Raises ValueError for fewer than two dimensions.

    >>> w = torch.empty(2, 3)
    >>> q = nn.init.orthogonal_(w)
    >>> torch.allclose(q @ q.t(), torch.eye(2), atol=1e-6)
    True
    """
    if tensor.ndim < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0:
        return tensor
    rows, columns = tensor.shape[0], tensor.numel() // tensor.shape[0]
    matrix = randn(max(rows, columns), min(rows, columns), dtype=tensor.dtype, generator=generator,
                   device=tensor.device)
    q, r = linalg_qr(matrix)
    q = q * r.diagonal().sign()  # which makes it uniform among all of them
    return tensor.copy_((q if rows >= columns else q.mT).reshape(tensor.shape) * gain)


@no_grad()
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """Normal numbers, of which a part `sparsity` of each column is zero (Martens, 2010).

    Shape: that of the tensor, which is changed and returned.
    Raises ValueError for other ranks than 2.

    >>> w = torch.empty(2, 3)
    >>> nn.init.sparse_(w, 0.5).shape
    tracegrad.Size([2, 3])
    """
    if tensor.ndim != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    rows = tensor.shape[0]
    tensor.normal_(0, std, generator=generator)
    rank = rand(*tensor.shape, generator=generator, device=tensor.device).argsort(0).argsort(0)
    return tensor.masked_fill_(rank < math.ceil(sparsity * rows), 0)


@no_grad()
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """The convolution (out, in, *window) that hands its channels through, in each group.

    Raises ValueError for other than 3 to 5 dimensions, or if `groups` does not divide the channels.

    >>> nn.init.dirac_(torch.empty(1, 1, 3))
    tensor([[[0., 1., 0.]]])
    """
    if tensor.ndim not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    if tensor.shape[0] % groups:
        raise ValueError("dim 0 must be divisible by groups")
    tensor.zero_()
    each = tensor.shape[0] // groups
    centre = tuple(n // 2 for n in tensor.shape[2:])
    for group in range(groups):
        for k in range(min(each, tensor.shape[1])):
            tensor[(group * each + k, k, *centre)] = 1.0
    return tensor


# the names under which packages import them from torch
_calculate_fan_in_and_fan_out, _calculate_correct_fan = fans, _fan


def _deprecated(function: Callable) -> Callable:
    """The function by its first name, without the underscore, with torch's warning."""
    new = function.__name__

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(
            f"`nn.init.{new[:-1]}` is now deprecated in favor of `nn.init.{new}`.", FutureWarning,
            stacklevel=2,
        )
        return function(*args, **kwargs)

    return called


_FORMER: tuple[Callable, ...] = (
    uniform_, normal_, constant_, eye_, dirac_, sparse_, orthogonal_, xavier_uniform_,
    xavier_normal_, kaiming_uniform_, kaiming_normal_,
)
globals().update({f.__name__[:-1]: _deprecated(f) for f in _FORMER})
