"""Random tensors. One default stream of numbers, from a counter-based generator (Philox), and
Generators for more.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ..ir.dtype import DType, int64
from .device import CPU, usable
from .functions.creation import leaf, shape_of
from .mode import get_default_dtype, live, mode
from .promotion import as_dtype
from .tensor import Tensor, wrap


class Generator:
    """A stream of random numbers, with a seed and a state of its own."""

    def __init__(self, device: Any = "cpu"):
        self.device = usable(device)
        self.manual_seed(67280421310721)

    def manual_seed(self, seed: int) -> Generator:
        """Begin the stream of `seed`."""
        self._seed = int(seed)
        self._stream = np.random.Generator(np.random.Philox(self._seed % 2**64))
        return self

    def seed(self) -> int:
        """Begin a stream of a seed that is new every time."""
        self.manual_seed(time.time_ns())
        return self._seed

    def initial_seed(self) -> int:
        """The seed that the stream began with."""
        return self._seed

    def get_state(self) -> Any:
        """Where the stream stands, to come back to with `set_state`."""
        return {"seed": self._seed, "philox": self._stream.bit_generator.state}

    def set_state(self, state: Any) -> Generator:
        """Go to a place that `get_state` gave."""
        self.manual_seed(state["seed"])
        self._stream.bit_generator.state = state["philox"]
        return self


default_generator = Generator(CPU)


def manual_seed(seed: int) -> Generator:
    """Begin the default stream of `seed`."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Begin a stream of a seed that is new every time."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default stream."""
    return default_generator.initial_seed()


def get_rng_state() -> Any:
    """Where the default stream stands."""
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Take the default stream to a place that `get_rng_state` gave."""
    default_generator.set_state(new_state)


def stream(generator: Generator | None, what: str) -> np.random.Generator:
    """The numbers to draw from; in a trace, none may be drawn that way."""
    if mode.trace is not None:
        mode.trace.random(what)
    return (generator or default_generator)._stream


def _uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.random(shape)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape)


def _floating(draw: Any, name: str, shape: tuple[int, ...], dtype: Any, generator: Any,
              requires_grad: bool, device: Any = None) -> Tensor:  # fmt: skip
    usable(device)
    d: DType = get_default_dtype() if dtype is None else as_dtype(dtype)
    if not d.is_floating_point:
        raise RuntimeError(
            f'"{name}" not implemented for {d.name}: random numbers of this kind are floating point'
        )
    numbers = np.asarray(draw(stream(generator, f"{name}()"), shape))
    if draw is _uniform:  # rounding up to 1 would leave [0, 1)
        digits = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}[d.name]
        numbers = np.floor(numbers * 2.0**digits) * 2.0**-digits
    return leaf(wrap(d.encode(numbers), d), requires_grad)


def rand(*size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None,
         requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Numbers uniform in [0, 1)."""
    return _floating(
        _uniform, "rand", shape_of(size, "rand"), dtype, generator, requires_grad, device
    )


def randn(*size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None,
          requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Numbers of the standard normal distribution."""
    return _floating(
        _normal, "randn", shape_of(size, "randn"), dtype, generator, requires_grad, device
    )


def rand_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
              generator: Generator | None = None) -> Tensor:  # fmt: skip
    """`rand` in the shape and dtype of `input`."""
    return rand(
        *input.shape,
        dtype=dtype or input.dtype,
        device=device,
        requires_grad=requires_grad,
        generator=generator,
    )


def randn_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
               generator: Generator | None = None) -> Tensor:  # fmt: skip
    """`randn` in the shape and dtype of `input`."""
    return randn(
        *input.shape,
        dtype=dtype or input.dtype,
        device=device,
        requires_grad=requires_grad,
        generator=generator,
    )


def randint(*args: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None,
            requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Integers uniform in [low, high): `randint(high, size)` or `randint(low, high, size)`."""
    usable(device)
    if len(args) not in (2, 3):
        raise TypeError("randint() takes (high, size) or (low, high, size)")
    low, high, size = args if len(args) == 3 else (0, *args)
    if low >= high:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    d = int64 if dtype is None else as_dtype(dtype)
    drawn = stream(generator, "randint()").integers(low, high, shape_of((size,), "randint"))
    return leaf(wrap(d.encode(drawn), d), requires_grad)


def randint_like(input: Tensor, *args: Any, dtype: Any = None, **kwargs: Any) -> Tensor:
    """`randint` in the shape and dtype of `input`."""
    return randint(*args, tuple(input.shape), dtype=dtype or input.dtype, **kwargs)


def randperm(
    n: int, *, generator: Generator | None = None, dtype: Any = None, device: Any = None
) -> Tensor:
    """The integers 0 ... n - 1 in random order."""
    usable(device)
    d = int64 if dtype is None else as_dtype(dtype)
    return wrap(d.encode(stream(generator, "randperm()").permutation(n)), d)


def normal(
    mean: Any, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None
) -> Tensor:
    """Normal numbers with these means and standard deviations, numbers or tensors."""
    if size is None:
        size = next((tuple(x.shape) for x in (mean, std) if isinstance(x, Tensor)), ())
    return randn(*size, generator=generator) * std + mean


def bernoulli(input: Tensor, *, generator: Generator | None = None) -> Tensor:
    """1 with the given probabilities, else 0."""
    return (rand(*input.shape, generator=generator, dtype=input.dtype) < input).to(input.dtype)


def multinomial(
    input: Tensor,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Positions drawn with probabilities proportional to the rows of `input`."""
    rng = stream(generator, "multinomial()")
    weights = np.asarray(input.detach().double().numpy())
    rows = weights.reshape(-1, weights.shape[-1])
    if (rows < 0).any() or not np.isfinite(rows).all() or (rows.sum(1) <= 0).any():
        raise RuntimeError(
            "probability tensor contains either `inf`, `nan` or element < 0, or a row of zeros"
        )
    drawn = [
        rng.choice(rows.shape[1], num_samples, replace=replacement, p=r / r.sum()) for r in rows
    ]
    return wrap(np.array(drawn, np.int64).reshape(*weights.shape[:-1], num_samples), int64)


def _filler(draw: Any) -> Any:
    def fill(self: Tensor, *args: Any, generator: Generator | None = None) -> Tensor:
        return self.copy_(draw(live(self), generator, *args))

    fill.__doc__ = f"In place: {draw.__doc__}"
    return fill


def _uniform_between(t: Tensor, generator: Any, from_: float = 0.0, to: float = 1.0) -> Tensor:
    """numbers uniform in [from, to)."""
    return rand(*t.shape, dtype=t.dtype, generator=generator) * (to - from_) + from_


def _normal_with(t: Tensor, generator: Any, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """normal numbers."""
    return randn(*t.shape, dtype=t.dtype, generator=generator) * std + mean


def _integers(t: Tensor, generator: Any, from_: int = 0, to: int | None = None) -> Tensor:
    """integers uniform in [from, to)."""
    low, high = (0, from_) if to is None and from_ else (from_, to if to is not None else 2**24)
    return randint(low, high, tuple(t.shape), generator=generator)


def _coin(t: Tensor, generator: Any, p: float = 0.5) -> Tensor:
    """1 with probability p, else 0."""
    return (rand(*t.shape, generator=generator) < p).to(t.dtype)


FILLERS = {
    "uniform_": _filler(_uniform_between), "normal_": _filler(_normal_with),
    "random_": _filler(_integers), "bernoulli_": _filler(_coin),
}  # fmt: skip

__all__ = [
    "Generator", "bernoulli", "default_generator", "get_rng_state", "initial_seed", "manual_seed",
    "multinomial", "normal", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like",
    "randperm", "seed", "set_rng_state",
]  # fmt: skip
