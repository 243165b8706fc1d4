"""What distributions share: parameters brought to one shape, probabilities and logits, properties
that are computed at their first use, triangles of matrices as vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Number
from typing import Any

import tracegrad as torch

from ..optim.optimizer import outside
from ..tracer.mode import mode
from ..tracer.tensor.tensor import Tensor

__all__ = [
    "broadcast_all", "clamp_probs", "lazy_property", "logits_to_probs", "probs_to_logits",
    "tril_matrix_to_vec", "vec_to_tril_matrix",
]

euler_constant = 0.57721566490153286060  # DLMF 5.2.3


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """The values, tensors and numbers, as tensors of one shape.

    Numbers take the dtype of the first tensor, else the default dtype. Raises ValueError for what
    is neither.

    >>> torch.distributions.utils.broadcast_all(1, torch.zeros(2))
    (tensor([1., 1.]), tensor([0., 0.]))
    """
    if not all(isinstance(v, (Number, Tensor)) or hasattr(v, "__torch_function__") for v in values):
        raise ValueError(
            "Input arguments must all be instances of Number, torch.Tensor or objects implementing "
            "__torch_function__."
        )
    first = next((v for v in values if not isinstance(v, Number)), None)
    dtype = torch.get_default_dtype() if first is None else first.dtype
    device = None if first is None else first.device
    tensors = [
        torch.tensor(v, dtype=dtype, device=device) if isinstance(v, Number) else v for v in values
    ]
    return tuple(torch.broadcast_tensors(*tensors))


def _standard_normal(shape: Any, dtype: Any, device: Any) -> Tensor:
    """Numbers of the standard normal distribution."""
    return torch.randn(tuple(shape), dtype=dtype, device=device)


def open_uniform(shape: Any, like: Tensor) -> Tensor:
    """Numbers uniform in (0, 1), as `like` is: their logarithms and those of 1 - u are finite."""
    return clamp_probs(torch.rand(tuple(shape), dtype=like.dtype, device=like.device))


def _sum_rightmost(value: Any, dims: int) -> Any:
    """The sum over the last `dims` dimensions."""
    return value.sum(tuple(range(-dims, 0))) if dims else value


def text_of(value: Tensor) -> str:
    """The tensor as it is printed. In a compiled function that asks for its numbers."""
    if mode.trace is None:
        return f"{value}"
    numbers = value.tolist()
    with outside():
        return f"{torch.tensor(numbers, dtype=value.dtype)}"


def above_zero(x: Any) -> Any:
    """x, and the least normal number where it is smaller; the gradient is not changed."""
    least, value = torch.finfo(x.dtype).tiny, x.detach()
    return torch.where(value < least, x - value + least, x)


def clamp_probs(probs: Tensor) -> Tensor:
    """The probabilities, kept from 0 and 1 by one unit of rounding of their dtype.

    >>> torch.distributions.utils.clamp_probs(torch.tensor([0.0, 0.5]))
    tensor([1.1921e-07, 5.0000e-01])
    """
    eps = torch.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """Probabilities of log odds if binary, else of logarithms along the last dimension.

    >>> torch.distributions.utils.logits_to_probs(torch.tensor([0.0, 0.0]))
    tensor([0.5000, 0.5000])
    """
    return torch.sigmoid(logits) if is_binary else torch.softmax(logits, dim=-1)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """Log odds of probabilities if binary, else their logarithms; of clamped ones, so finite.

    >>> torch.distributions.utils.probs_to_logits(torch.tensor([0.5]), is_binary=True)
    tensor([0.])
    """
    inside = clamp_probs(probs)
    return torch.log(inside) - torch.log1p(-inside) if is_binary else torch.log(inside)


class lazy_property:  # noqa: N801 -- a decorator, by torch's name
    """A property that is computed when it is first read, and then kept in the object.

    >>> class A:
    ...     @torch.distributions.utils.lazy_property
    ...     def b(self):
    ...         return 3
    >>> A().b
    3
    """

    def __init__(self, wrapped: Callable[[Any], Any]):
        self.wrapped = wrapped
        self.__doc__ = wrapped.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        with torch.enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value


def tril_matrix_to_vec(mat: Tensor, diag: int = 0) -> Tensor:
    """The elements on and below a diagonal, row by row.

    Shape: (*, N, N) -> (*, count). Raises ValueError for a diagonal outside of the matrix.

    >>> torch.distributions.utils.tril_matrix_to_vec(torch.tensor([[1, 2], [3, 4]]))
    tensor([1, 3, 4])
    """
    n = mat.shape[-1]
    if not -n <= diag < n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    rows, columns = torch.tril_indices(n, n, offset=diag)
    return mat[..., rows, columns]


def vec_to_tril_matrix(vec: Tensor, diag: int = 0) -> Tensor:
    """The matrix with these elements on and below a diagonal, and zeros above.

    Shape: (*, count) -> (*, N, N). Raises ValueError if no N has so many.

    >>> torch.distributions.utils.vec_to_tril_matrix(torch.tensor([1.0, 3.0, 4.0]))
    tensor([[1., 0.],
            [3., 4.]])
    """
    count = vec.shape[-1]
    n = 0
    while sum(min(max(row + 1 + diag, 0), n) for row in range(n)) < count:
        n += 1
    rows, columns = torch.tril_indices(n, n, offset=diag)
    if rows.shape[0] != count:
        raise ValueError(
            f"The size of last dimension is {count} which cannot be expressed as the lower "
            "triangular part of a square D x D matrix."
        )
    zeros = torch.zeros((*vec.shape[:-1], n, n), dtype=vec.dtype, device=vec.device)
    zeros[..., rows, columns] = vec
    return zeros
