"""Element-wise functions, by function, dtype and number of elements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, reduce
from typing import Any

import numpy as np

from .cell import Cell

SIZES = [10, 1_000, 100_000, 10_000_000]
DTYPES = ("float32", "float64")
# the numbers that a function is called with; (-4, 4) for all others
BETWEEN: dict[str, tuple[float, float]] = {
    "log": (0.1, 50), "log2": (0.1, 50), "log10": (0.1, 50), "log1p": (-0.9, 50),
    "acosh": (1.1, 50), "atanh": (-0.99, 0.99), "asin": (-0.99, 0.99), "acos": (-0.99, 0.99),
    "pow": (0.1, 5), "erfinv": (-0.99, 0.99), "special.ndtri": (0.01, 0.99), "lgamma": (0.1, 20),
    "digamma": (0.1, 20), "sqrt": (0.1, 4), "rsqrt": (0.1, 4), "div": (0.5, 4),
}
OF_TWO = ("add", "mul", "div", "maximum", "pow", "atan2", "hypot", "logaddexp")
# where JAX has it, if not in jax.numpy under the same name; empty: nowhere
IN_JAX = {
    "mul": "numpy.multiply", "div": "numpy.divide", "rsqrt": "lax.rsqrt", "pow": "numpy.power",
    "atan2": "numpy.arctan2", "sigmoid": "nn.sigmoid", "erf": "lax.erf", "erfc": "lax.erfc",
    "erfinv": "lax.erf_inv", "special.erfcx": "", "special.ndtri": "scipy.special.ndtri",
    "lgamma": "lax.lgamma", "digamma": "lax.digamma", "relu": "nn.relu",
    "nn.functional.silu": "nn.silu", "nn.functional.softplus": "nn.softplus",
    "nn.functional.logsigmoid": "nn.log_sigmoid", "nn.functional.gelu": "nn.gelu",
    "tanh exp(-x^2)": "",
}
SMOOTH = (
    "add mul div maximum exp exp2 expm1 log log1p log2 log10 sqrt rsqrt pow tanh sigmoid sinh cosh "
    "asinh acosh atanh sin cos tan asin acos atan atan2 hypot erf erfc special.erfcx erfinv "
    "special.ndtri lgamma digamma logaddexp relu nn.functional.gelu nn.functional.silu "
    "nn.functional.softplus nn.functional.logsigmoid"
).split()
WITHOUT_GRADIENT = ("floor", "sign")


def of(module: Any, path: str) -> Any:
    return reduce(getattr, path.split("."), module)


def in_torch(name: str, T: Any, *x: Any) -> Any:
    return of(T, name)(*x)


def in_jax(name: str, jax: Any, *x: Any) -> Any:
    options = {"approximate": False} if name == "nn.functional.gelu" else {}
    return of(jax, IN_JAX.get(name, f"numpy.{name}"))(*x, **options)


def chain_in_torch(T: Any, x: Any) -> Any:
    return T.tanh(x) * T.exp(-x * x)


def chain_in_jax(jax: Any, x: Any) -> Any:
    return jax.numpy.tanh(x) * jax.numpy.exp(-x * x)


def arrays(name: str, dtype: str, size: int) -> list[np.ndarray]:
    rng, between = np.random.default_rng(0), BETWEEN.get(name, (-4, 4))
    return [rng.uniform(*between, size).astype(dtype) for _ in range(1 + (name in OF_TWO))]


def cells() -> Iterator[Cell]:
    for dtype in DTYPES:
        for name in (*SMOOTH, *WITHOUT_GRADIENT, "tanh exp(-x^2)"):
            torch: Callable = partial(in_torch, name)
            jax: Callable | None = partial(in_jax, name) if IN_JAX.get(name, name) else None
            if name.startswith("tanh "):
                torch, jax = chain_in_torch, chain_in_jax
            for gradient in (False, True):
                if gradient and name in WITHOUT_GRADIENT:
                    continue
                row = f"{name.split('.')[-1]} {dtype}{' gradient' * gradient}"
                for size in SIZES:
                    yield Cell(
                        row, f"{size:,}", torch, jax, partial(arrays, name, dtype, size),
                        wrt=(1 + (name in OF_TWO)) * gradient,
                    )
