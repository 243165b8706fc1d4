"""Methods that fill a tensor with random numbers, in place: the inverse of each distribution's
function, applied to uniform numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...ir.dtype import float32
from ...ir.ops.elementwise import ceil, exp, log, tan
from ...tracer.mode import resolve
from ...tracer.tensor.generator import Generator
from ...tracer.tensor.promotion import SCALAR_TYPE
from ...tracer.tensor.tensor import Tensor
from ..math.dtype_limits import finfo
from .distributions import (
    between,
    coin,
    floating,
    gaussian,
    integers,
    narrowed,
    uniform,
    wide,
    within,
)


def _uniform(t: Tensor, generator: Any, from_: float = 0.0, to: float = 1.0) -> Tensor:
    """numbers uniform in [from, to)."""
    d = floating(t.dtype, "check_uniform_bounds")
    if from_ > to:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={from_} > to={to}"
        )
    for name, value in (("from", from_), ("to", to)):
        if not abs(value) <= finfo(d).max:
            raise RuntimeError(f"{name} is out of bounds for {d.name}")
    return uniform(tuple(t.shape), d, generator) * (to - from_) + from_


def _normal(t: Tensor, generator: Any, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """normal numbers."""
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    return gaussian(tuple(t.shape), floating(t.dtype, "normal_kernel_cpu"), generator) * std + mean


def _log_normal(t: Tensor, generator: Any, mean: float = 1.0, std: float = 2.0) -> Tensor:
    """numbers whose logarithms are normal with this mean and standard deviation."""
    if std <= 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    return exp(_normal(t, generator, mean, std))


def _integers(t: Tensor, generator: Any, from_: int = 0, to: int | None = None) -> Tensor:
    """integers uniform in [from, to), or in [0, from)."""
    low, high = (from_, to) if to is not None else (0, from_)
    if to is None and not from_:  # as many as the type tells apart
        float_bits = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
        whole = t.dtype.bits - t.dtype.is_signed
        high = 2 ** float_bits.get(t.dtype.name, 1 if t.dtype.kind == "bool" else whole)
    if low < high:
        within(low, high, t.dtype)
    return integers(tuple(t.shape), low, high, generator)


def _exponential(t: Tensor, generator: Any, lambd: float = 1.0) -> Tensor:
    """waiting times of the rate lambd."""
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    return log(_open(t, generator, "Exponential")) * (-1 / lambd)


def _geometric(t: Tensor, generator: Any, p: float) -> Tensor:
    """the number of trials up to the first success, of probability p."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    return ceil(log(between(tuple(t.shape), float32, generator)) * (1 / math.log1p(-p)))


def _cauchy(t: Tensor, generator: Any, median: float = 0.0, sigma: float = 1.0) -> Tensor:
    """numbers of the Cauchy distribution."""
    if sigma <= 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    return tan((_open(t, generator, "Cauchy") - 0.5) * math.pi) * sigma + median


def _coin(t: Tensor, generator: Any, p: Any = 0.5) -> Tensor:
    """1 with probability p, else 0."""
    return coin(t, p, generator)


def _open(t: Tensor, generator: Any, name: str) -> Tensor:
    """Numbers strictly between 0 and 1, in the type that those of t's type are computed in."""
    if not t.dtype.is_floating_point:
        raise RuntimeError(
            f"{name} distribution is a continuous probability distribution. dtype must be a "
            f"floating point but you specified {SCALAR_TYPE[t.dtype]}"
        )
    return between(tuple(t.shape), wide(t.dtype), generator)


def _filler(draw: Callable) -> Callable:
    def fill(self: Tensor, *args: Any, generator: Generator | None = None, **kwargs: Any) -> Tensor:
        if "from" in kwargs:
            kwargs["from_"] = kwargs.pop("from")
        t = resolve(self)
        return self.copy_(narrowed(draw(t, generator, *args, **kwargs), t.dtype))

    fill.__doc__ = f"In place: {draw.__doc__}"
    return fill


_DRAWS: dict[str, Callable] = {
    "bernoulli": _coin, "cauchy": _cauchy, "exponential": _exponential, "geometric": _geometric,
    "log_normal": _log_normal, "normal": _normal, "random": _integers, "uniform": _uniform,
}
FILLERS = {f"{name}_": _filler(draw) for name, draw in _DRAWS.items()}
