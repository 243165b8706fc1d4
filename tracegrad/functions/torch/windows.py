"""Windows of signal processing, by the formulas of torch's documentation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...ir.dtype import DType
from ...tracer.mode import get_default_dtype, no_grad
from ...tracer.tensor.tensor import Tensor
from .creation import arange, empty, ones

__all__ = ["bartlett_window", "blackman_window", "hamming_window", "hann_window", "kaiser_window"]


def _window(name: str, length: int, periodic: bool, values: Callable[[Tensor, int], Tensor],
            dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
            requires_grad: bool = False) -> Tensor:
    """The window that `values` makes of 0, 1, ... and the index of the last of them."""
    d: DType = dtype or get_default_dtype()
    if not d.is_floating_point:
        raise RuntimeError(f"{name} expects floating point dtypes, got: {d}")
    if length < 0:
        raise RuntimeError(
            f"{name} requires non-negative window_length, got window_length={length}"
        )
    with no_grad():
        if length < 2:
            window = (ones if length else empty)(length, dtype=d, device=device)
        else:
            last = length if periodic else length - 1
            steps = arange(last + 1, dtype=d, device=device)
            window = values(steps, last)[:length]
    return window.clone().requires_grad_(requires_grad)


def hamming_window(window_length: int, periodic: bool = True, alpha: float = 0.54,
                   beta: float = 0.46, **options: Any) -> Tensor:
    """The Hamming window: alpha - beta cos(2 pi n / N).

    Shape: (window_length,). Dtype: the default one, or `dtype`. Raises RuntimeError for a negative
    length, or a dtype that is not floating point.

    >>> torch.hamming_window(4)
    tensor([0.0800, 0.5400, 1.0000, 0.5400])
    """
    def values(n: Tensor, last: int) -> Tensor:
        return (n * (2 * math.pi / last)).cos() * -beta + alpha

    return _window("hamming_window", window_length, periodic, values, **options)


def hann_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """The Hann window: (1 - cos(2 pi n / N)) / 2.

    Shape: (window_length,). Dtype: the default one, or `dtype`. Raises RuntimeError for a negative
    length, or a dtype that is not floating point.

    >>> torch.hann_window(4)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    def values(n: Tensor, last: int) -> Tensor:
        return (n * (2 * math.pi / last)).cos() * -0.5 + 0.5

    return _window("hann_window", window_length, periodic, values, **options)


def bartlett_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """The triangular window: 1 - |2 n / N - 1|.

    Shape: (window_length,). Dtype: the default one, or `dtype`. Raises RuntimeError for a negative
    length, or a dtype that is not floating point.

    >>> torch.bartlett_window(4)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
    """
    def values(n: Tensor, last: int) -> Tensor:
        rising = n * (2 / last)
        return rising.minimum(2 - rising)

    return _window("bartlett_window", window_length, periodic, values, **options)


def blackman_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """The Blackman window: 0.42 - 0.5 cos(2 pi n / N) + 0.08 cos(4 pi n / N).

    Shape: (window_length,). Dtype: the default one, or `dtype`. Raises RuntimeError for a negative
    length, or a dtype that is not floating point.

    >>> torch.blackman_window(4)
    tensor([-2.9802e-08,  3.4000e-01,  1.0000e+00,  3.4000e-01])
    """
    def values(n: Tensor, last: int) -> Tensor:
        angle = n * (math.pi / last)
        return (angle * 4).cos() * 0.08 - (angle * 2).cos() * 0.5 + 0.42

    return _window("blackman_window", window_length, periodic, values, **options)


def kaiser_window(window_length: int, periodic: bool = True, beta: float = 12.0,
                  **options: Any) -> Tensor:
    """The Kaiser window: I0(beta sqrt(1 - (2 n / N - 1)^2)) / I0(beta).

    Shape: (window_length,). Dtype: the default one, or `dtype`. Raises RuntimeError for a negative
    length, or a dtype that is not floating point.

    >>> torch.kaiser_window(5, periodic=False, beta=4.0)
    tensor([0.0885, 0.6334, 1.0000, 0.6334, 0.0885])
    """
    def values(n: Tensor, last: int) -> Tensor:
        x = n * (2 / last) - 1
        inside = (1 - x * x).clamp_min(0).sqrt() * beta
        return inside.i0() / n.new_full((), beta).i0()

    return _window("kaiser_window", window_length, periodic, values, **options)
