"""Random tensors: distributions made by arithmetic of random bits (ir/ops/random.py), so that they
are the same eagerly and compiled, and fuse into what uses them; and methods that fill a tensor with
random numbers in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import NoneType
from typing import Any

from ...ir.dtype import DType, float32, float64, int32, int64
from ...ir.op import broadcast
from ...ir.ops.elementwise import (
    abs as abs_,
    bitwise_xor,
    cast,
    ceil,
    exp,
    log,
    lt,
    remainder,
    sqrt,
    tan,
    where,
)
from ...ir.ops.movement import reshape
from ...ir.ops.random import random_bits, signed
from ...ir.ops.source import iota
from ...tracer.autograd.graph import composite
from ...tracer.autograd.plans import shortcut
from ...tracer.mode import get_default_dtype, resolve
from ...tracer.tensor.device import device as Device, usable
from ...tracer.tensor.generator import Generator, default_generator
from ...tracer.tensor.promotion import SCALAR_TYPE, as_dtype, checked_number
from ...tracer.tensor.tensor import Tensor
from ..arguments import require
from .comparison import argsort
from .creation import leaf, lying_as, shape_of
from .other_counting import searchsorted
from .other_cumulative import cumsum
from .tensors import finfo

__all__ = [
    "bernoulli", "multinomial", "normal", "rand", "rand_like", "randint",
    "randint_like", "randn", "randn_like", "randperm",
]

_DIGITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}


# ---- from bits to numbers
def bits(shape: tuple[int, ...], generator: Generator | None) -> Tensor:
    """64 random bits for each element, as an int64; uses as many numbers of the generator."""
    if not isinstance(generator, (Generator, NoneType)):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    count = math.prod(shape)
    return _words(*(generator or default_generator).draw(count), shape)


@shortcut
def _words(seed: Tensor, start: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The random bits of the places from `start` on."""
    counter = Tensor.bind(iota, (), {"shape": (math.prod(shape),), "dtype": int64})
    return random_bits(seed, reshape(counter + start, shape=shape))


def uniform(shape: tuple[int, ...], dtype: DType, generator: Generator | None) -> Tensor:
    """Multiples of 2**-digits in [0, 1), of which the dtype holds each."""
    return _fraction(bits(shape, generator), dtype)


@shortcut
def _fraction(word: Tensor, dtype: DType) -> Tensor:
    digits = _DIGITS[dtype.name]
    if digits < 32:
        word = cast(word, dtype=int32)
    return cast(word & 2**digits - 1, dtype=dtype) * 2.0**-digits


def between(shape: tuple[int, ...], dtype: DType, generator: Generator | None) -> Tensor:
    """Numbers in the open interval (0, 1), to take the logarithm of; never of half precision."""
    digits = 52 if dtype is float64 else 23
    word = cast(bits(shape, generator), dtype=int64 if dtype is float64 else int32)
    return (cast(word & 2**digits - 1, dtype=dtype) + 0.5) * 2.0**-digits


def _cosine(turns: Tensor) -> Tensor:
    """cos(2 pi turns) for turns in [-1/2, 1/2]: Taylor's sine of the angle's complement, which is
    at most a quarter turn. Plain arithmetic vectorises where a call of libm does not.
    """
    x = (0.25 - abs_(turns)) * (2 * math.pi)
    last = 21 if turns.dtype is float64 else 13
    square, y = x * x, 1 / math.factorial(last)
    for k in range(last - 2, 0, -2):
        y = y * square + (-1) ** (k // 2) / math.factorial(k)
    return y * x


def gaussian(shape: tuple[int, ...], dtype: DType, generator: Generator | None) -> Tensor:
    """Standard normal numbers, by the transform of Box and Muller (1958)."""
    if dtype is float64:
        return _box_muller(bits(shape, generator), uniform(shape, float64, generator))
    y = _box_muller(bits(shape, generator))
    return cast(y, dtype=dtype) if dtype.is_half else y


@shortcut
def _box_muller(word: Tensor, fraction: Tensor | None = None) -> Tensor:
    """Normal numbers of random bits: float64 with a second random number, else float32."""
    if fraction is not None:
        radius, turns = cast(word & 2**53 - 1, dtype=float64) * 2.0**-53 + 2.0**-53, fraction - 0.5
    else:
        low, high = cast(word, dtype=int32), cast(word >> 32, dtype=int32)
        radius = (cast(low & 2**31 - 1, dtype=float32) + 1) * 2.0**-31
        turns = cast(high, dtype=float32) * 2.0**-32
    return sqrt(log(radius) * -2) * _cosine(turns)


def wide(dtype: DType) -> DType:
    """The type that numbers of a dtype are computed in."""
    return float32 if dtype.is_half else dtype


def narrowed(y: Tensor, dtype: DType) -> Tensor:
    return y if y.dtype is dtype else cast(y, dtype=dtype)


def integers(shape: tuple[int, ...], low: int, high: int, generator: Generator | None) -> Tensor:
    """int64 uniform in [low, high)."""
    if low >= high:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    word, span = bits(shape, generator), high - low
    if span <= 2**63:
        return remainder(word & 2**63 - 1, span) + low if span < 2**63 else (word & span - 1) + low
    over = bitwise_xor(word, -(2**63)) >= span - 2**63  # the unsigned word is not below the span
    return word + low - where(over, signed(span), 0)  # modulo 2**64, as all int64 arithmetic


def within(low: int, high: int, dtype: DType) -> None:
    """Raise what torch raises where integers of [low, high) do not fit the dtype."""
    if dtype.is_floating_point:
        return
    name, bits_ = _IN_C.get(dtype.name, (dtype.name, dtype.bits))
    first = -(2 ** (bits_ - 1)) if dtype.is_signed else 0
    last = 2 ** (bits_ - dtype.is_signed) - 1
    for words, value in (("from", low), ("to - 1", high - 1)):
        if not first <= value <= last:
            raise RuntimeError(f"{words} is out of bounds for {name}")


_IN_C = {"bool": ("bool", 1), "uint8": ("unsigned char", 8), "int8": ("signed char", 8),
         "int16": ("short", 16), "int32": ("int", 32), "int64": ("long", 64)}


# ---- tensors
def place(device: Any, generator: Generator | None) -> Device:
    """Where a new tensor goes. Raises torch's error for a generator of another kind of device."""
    return _of_its_kind(usable(device), generator)


def _of_its_kind(where: Device, generator: Generator | None) -> Device:
    if isinstance(generator, Generator) and generator.device.type != where.type:
        raise RuntimeError(
            f"Expected a '{where.type}' device type for generator but found "
            f"'{generator.device.type}'"
        )
    return where


def floating(dtype: Any, kernel: str) -> DType:
    d: DType = get_default_dtype() if dtype is None else as_dtype(dtype)
    if not d.is_floating_point:
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{SCALAR_TYPE[d]}'")
    return d


def rand(*size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None,
         requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """Numbers uniform in [0, 1).

    Shape: `size`. Dtype: `dtype`, which must be floating point, else the default dtype.
    Raises RuntimeError for a negative extent; NotImplementedError for integers.

    >>> _ = torch.manual_seed(0)
    >>> bool((torch.rand(100) < 1).all())
    True
    """
    where, d = place(device, generator), floating(dtype, "check_uniform_bounds")
    return leaf(uniform(shape_of(size, "rand"), d, generator), requires_grad, where)


def randn(*size: Any, generator: Generator | None = None, dtype: Any = None, device: Any = None,
          requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """Numbers of the standard normal distribution.

    Shape: `size`. Dtype: `dtype`, which must be floating point, else the default dtype.
    Raises RuntimeError for a negative extent; NotImplementedError for integers.

    >>> _ = torch.manual_seed(0)
    >>> torch.randn(2, 3).shape
    tracegrad.Size([2, 3])
    """
    where, d = place(device, generator), floating(dtype, "normal_kernel_cpu")
    return leaf(gaussian(shape_of(size, "randn"), d, generator), requires_grad, where)


def rand_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
              memory_format: Any = None,
              generator: Generator | None = None) -> Tensor:
    """`rand` in the shape and dtype of `input`.

    Shape: that of input. Dtype: `dtype`, else that of input, floating point. Raises TypeError
    without a tensor.

    >>> torch.rand_like(torch.ones(2, 3)).shape
    tracegrad.Size([2, 3])
    """
    where = input.device if device is None else device
    new = rand(*input.shape, dtype=dtype or input.dtype, device=where,
               requires_grad=requires_grad, generator=generator)
    return lying_as(new, input, memory_format)


def randn_like(input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
               memory_format: Any = None,
              generator: Generator | None = None) -> Tensor:
    """`randn` in the shape and dtype of `input`.

    Shape: that of input. Dtype: `dtype`, else that of input, floating point. Raises TypeError
    without a tensor.

    >>> torch.randn_like(torch.ones(2, 3)).shape
    tracegrad.Size([2, 3])
    """
    where = input.device if device is None else device
    new = randn(*input.shape, dtype=dtype or input.dtype, device=where,
                requires_grad=requires_grad, generator=generator)
    return lying_as(new, input, memory_format)


def _bounds(name: str, args: tuple, low: Any, high: Any) -> tuple[int, int]:
    """What `f(high)`, `f(low, high)` and their keywords say."""
    given = [*args]
    high = given.pop() if high is None and given else high
    low = given.pop() if low is None and given else low
    if given or high is None:
        raise TypeError(f"{name}() takes (high, ...) or (low, high, ...)")
    for word, value in (("low", low), ("high", high)):
        if isinstance(value, float):
            raise TypeError(f"{name}(): argument '{word}' must be int, not float")
    return int(0 if low is None else low), int(high)


def randint(*args: Any, low: int | None = None, high: int | None = None, size: Any = None,
            generator: Generator | None = None, dtype: Any = None, device: Any = None,
            requires_grad: bool = False) -> Tensor:
    """Integers uniform in [low, high): `randint(high, size)` or `randint(low, high, size)`.

    Shape: `size`. Dtype: `dtype`, else int64. Raises RuntimeError if low is not below high.

    >>> _ = torch.manual_seed(0)
    >>> bool((torch.randint(3, 7, (100,)) >= 3).all())
    True
    """
    where = place(device, generator)
    if size is None:
        if not args or not isinstance(args[-1], (tuple, list)):
            raise TypeError("randint() takes (high, size) or (low, high, size)")
        *args, size = args  # type: ignore[assignment]
    low, high = _bounds("randint", tuple(args), low, high)
    d = int64 if dtype is None else as_dtype(dtype)
    if low < high:
        within(low, high, d)
    y = integers(shape_of((size,), "randint"), low, high, generator)
    return leaf(narrowed(y, d), requires_grad, where)


def randint_like(input: Tensor, *args: Any, low: int | None = None, high: int | None = None,
                 dtype: Any = None, device: Any = None, memory_format: Any = None,
                 **kwargs: Any) -> Tensor:
    """`randint` in the shape and dtype of `input`.

    Shape: that of input. Dtype: that of input, or `dtype`. Raises RuntimeError for an empty range.

    >>> torch.randint_like(torch.zeros(2, 2), 0, 10).shape
    tracegrad.Size([2, 2])
    """
    low, high = _bounds("randint_like", args, low, high)
    where = input.device if device is None else device
    new = randint(low, high, tuple(input.shape), dtype=dtype or input.dtype, device=where, **kwargs)
    return lying_as(new, input, memory_format)


def randperm(n: int, *, generator: Generator | None = None, dtype: Any = None, device: Any = None,
             requires_grad: bool = False) -> Tensor:
    """The integers 0 ... n - 1 in random order.

    Shape: (n,). Dtype: `dtype`, else int64. Raises RuntimeError for a negative n.

    >>> _ = torch.manual_seed(0)
    >>> torch.randperm(4).sort().values
    tensor([0, 1, 2, 3])
    """
    where = place(device, generator)
    if n < 0:
        raise RuntimeError(f"n must be non-negative, got {n}")
    d = int64 if dtype is None else as_dtype(dtype)
    checked_number(n, d)
    return leaf(narrowed(argsort(bits((n,), generator)), d), requires_grad, where)


def constant_in(y: Tensor, *given: Tensor) -> Tensor:
    """y, whose gradient in what it was drawn from is zero, as torch has it."""
    for x in given:
        y = where(True, y, narrowed(x, y.dtype))
    return y


@composite("NormalBackward0")
def normal(mean: Any, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None,
           dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
           requires_grad: bool = False) -> Tensor:
    """Normal numbers with these means and standard deviations, numbers or tensors.

    Shape: that of mean and std, or `size`. Dtype: that of the tensors, else the default dtype.
    Raises RuntimeError for a negative std.

    >>> _ = torch.manual_seed(0)
    >>> torch.normal(0.0, 1.0, (2, 3)).shape
    tracegrad.Size([2, 3])
    """
    given = [x for x in (mean, std) if isinstance(x, Tensor)]
    if not isinstance(std, Tensor) and std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    if isinstance(std, Tensor):
        require(~(std < 0), "std")
    if not given:
        noise = randn(*shape_of((size,), "normal"), generator=generator, dtype=dtype, device=device)
        return leaf(noise * std + mean, requires_grad)
    shape = broadcast("normal", *(tuple(x.shape) for x in given))
    d = floating(given[0].dtype, "normal_kernel_cpu")
    mean_, std_ = (x.detach() if isinstance(x, Tensor) else x for x in (mean, std))
    return constant_in(gaussian(shape, d, generator) * std_ + mean_, *given)


@composite("BernoulliBackward0")
def bernoulli(
    input: Tensor, p: float | None = None, *, generator: Generator | None = None
) -> Tensor:
    """1 with the given probabilities (those of `input`, or p everywhere), else 0.

    Shape: (*) -> (*). Dtype: that of input, floating point unless p is given.
    Raises RuntimeError for probabilities outside [0, 1].

    >>> torch.bernoulli(torch.tensor([0.0, 1.0]))
    tensor([0., 1.])
    """
    if p is not None:
        return constant_in(coin(input, p, generator), input)
    d = floating(input.dtype, "bernoulli_tensor_cpu_p_")
    chance = input.detach()
    require((chance >= 0) & (chance <= 1), "chance")
    drawn = uniform(tuple(input.shape), wide(d), generator) < chance
    return constant_in(cast(drawn, dtype=d), input)


def coin(t: Tensor, p: Any, generator: Generator | None) -> Tensor:
    if not isinstance(p, Tensor) and not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    return lt(uniform(tuple(t.shape), float32, generator), p).to(t.dtype)


def multinomial(
    input: Tensor,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Positions drawn with probabilities proportional to the rows of `input`.

    Shape: (N,) -> (num_samples,), (B, N) -> (B, num_samples). Dtype: int64.
    Raises RuntimeError for negative weights, or for too few to draw from without replacement.

    >>> torch.multinomial(torch.tensor([0.0, 1.0]), 1)
    tensor([1])
    """
    if not input.dtype.is_floating_point:
        raise RuntimeError(
            "multinomial only supports floating-point dtypes for input, got: "
            f"{SCALAR_TYPE[input.dtype]}"
        )
    if input.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > input.shape[-1]:
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
        )
    weights = cast(input.detach(), dtype=float64)
    require((weights >= 0) & weights.isfinite(), "weights")
    require(weights.sum(-1) > 0, "weight")
    if replacement:
        total = cumsum(weights, -1)
        shape = (*weights.shape[:-1], num_samples)
        at = uniform(shape, float64, generator) * total[..., -1:]
        return searchsorted(total, at, right=True).clamp_max(input.shape[-1] - 1)
    # the first to arrive, of exponential waiting times at these rates
    waited = -log(between(tuple(weights.shape), float64, generator))
    return argsort(waited / weights, -1)[..., :num_samples]


# ---- in-place random sampling: the inverse of a distribution's function, of uniform numbers
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
        _of_its_kind(t.device, generator)
        return self.copy_(narrowed(draw(t, generator, *args, **kwargs), t.dtype))

    fill.__doc__ = f"In place: {draw.__doc__}"
    return fill


_DRAWS: dict[str, Callable] = {
    "bernoulli": _coin, "cauchy": _cauchy, "exponential": _exponential, "geometric": _geometric,
    "log_normal": _log_normal, "normal": _normal, "random": _integers, "uniform": _uniform,
}
FILLERS = {f"{name}_": _filler(draw) for name, draw in _DRAWS.items()}
