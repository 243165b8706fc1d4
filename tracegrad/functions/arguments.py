"""What functions do with their arguments: dimensions, extents, factors, dtypes, demands on values.

They are on no page of torch's documentation; every file of functions may use them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from ..ir.dtype import DType, bool_, float32, int32, int64
from ..ir.faults import demand
from ..ir.ops import elementwise as ops, kinks
from ..ir.ops.elementwise import cast, check_index, logical_not, maximum
from ..tracer.mode import get_default_dtype, mode
from ..tracer.tensor.dispatch import number
from ..tracer.tensor.promotion import SCALAR_TYPE, checked_number, common_dtype, refuse_overflow
from ..tracer.tensor.tensor import Tensor

__all__ = []

# NumPy's names of arguments, which torch takes too
_ALSO = {"axis": "dim", "keepdims": "keepdim"}


def numpy_names(function: Callable) -> Callable:
    """Let a function be called with NumPy's names of arguments as well."""

    @wraps(function)
    def named(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            kwargs = {_ALSO.get(k, k): v for k, v in kwargs.items()}
        return function(*args, **kwargs)

    return named


Dims = int | tuple[int, ...] | list[int] | None


def wrap_dim(dim: int, rank: int) -> int:
    """A dimension counted from the front."""
    if isinstance(dim, bool) or not hasattr(dim, "__index__"):
        raise TypeError(f"dim must be an int, not {type(dim).__name__}")
    span = rank or 1  # a 0-d tensor has a dimension 0, and -1, for this purpose
    if not -span <= dim < span:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-span}, {span - 1}], but got "
            f"{dim})"
        )
    return dim % span


def own_dim(dim: int, rank: int) -> int:
    """The same, where a 0-d tensor has none."""
    d = wrap_dim(dim, rank)
    if not rank:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return d


def wrap_dims(dim: Dims, rank: int) -> tuple[int, ...]:
    """Sorted dimensions, counted from the front; None and () mean all."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(rank))
    found = [wrap_dim(d, rank) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    for d in found:
        if found.count(d) > 1:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
    return tuple(sorted(found)) if rank else ()


def one_dim(dim: int, rank: int) -> tuple[int, ...]:
    """The dimension as a tuple of those of a tensor, which is empty for a 0-d one."""
    d = wrap_dim(dim, rank)
    return (d,) if rank else ()


def as_ints(args: tuple, name: str) -> tuple[int, ...]:
    """Extents given one by one or as one sequence."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = tuple(args[0])
    if not all(hasattr(n, "__index__") and not isinstance(n, bool) for n in args):
        raise TypeError(
            f"{name}(): argument 'shape' must be tuple of ints, but got "
            f"{[type(n).__name__ for n in args]}"
        )
    return tuple(n.__index__() for n in args)


def ints(name: str) -> Callable:
    """Let the whole numbers that a function takes after its tensor be given one by one, as one
    sequence, or by name; it gets them as a tuple.
    """

    def mark(function: Callable) -> Callable:
        @wraps(function)
        def call(input: Tensor, *values: Any, **named: Any) -> Any:
            values = (named[name],) if name in named else values
            if not values and name == "shape":
                raise TypeError(f'{function.__name__}() missing 1 required argument: "{name}"')
            return function(input, as_ints(values, function.__name__))

        call.spreads = name  # type: ignore[attr-defined]  # which a stub says
        return call

    return mark


# ---- functions that compute in a wider dtype than their results have
# A primitive computes halves in float32 and rounds its result. A function of several primitives
# would round, and overflow, after each of them: these marks let it do so once.
def _mark(function: Callable, floats: bool) -> Callable:
    @wraps(function)
    def computed(*args: Any, **kwargs: Any) -> Any:
        dtype = common_dtype([x for x in (*args, *kwargs.values()) if _is_number(x)])
        if floats and not dtype.is_floating_point:
            dtype = get_default_dtype()
        elif not floats and not dtype.is_half:
            return function(*args, **kwargs)
        wide = computing(dtype)

        def widened(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            return (x.to(dtype) if x.ndim or floats else x).to(wide)  # a 0-d one is a factor here

        y = function(*map(widened, args), **{name: widened(x) for name, x in kwargs.items()})
        return tuple(_to(x, dtype) for x in y) if isinstance(y, tuple) else _to(y, dtype)

    return computed


def _is_number(x: Any) -> bool:
    return isinstance(x, (Tensor, float, int))


def _to(x: Any, dtype: DType) -> Any:
    return x.to(dtype) if isinstance(x, Tensor) else x


def rounded_once(function: Callable) -> Callable:
    """Halves among the tensors are computed in float32, and the results rounded."""
    return _mark(function, floats=False)


def of_floats(function: Callable) -> Callable:
    """The same, and integers are taken as numbers of the default type."""
    return _mark(function, floats=True)


def with_slope(value: Callable, slope: Callable | str, x: Tensor) -> Tensor:
    """value(x), whose derivative is slope(x), or the one that `kinks` has by this name."""
    y = value(ops.stop_gradient(x))
    if not mode.grad:
        return y
    return kinks.curve(y, x, of=slope) if isinstance(slope, str) else kinks.slope(y, x, slope(x))


# ---- `alpha`, `beta` and `value`, which scale an operand: what torch takes for which dtype
def refuse(kernel: str, dtype: DType) -> NotImplementedError:
    """torch's error for a dtype that a function does not take."""
    return NotImplementedError(f"\"{kernel}\" not implemented for '{SCALAR_TYPE[dtype]}'")


def floats_only(kernel: str, *operands: Tensor) -> None:
    """Raise torch's error for what a function of floating point numbers does not take."""
    dtype = common_dtype(operands)
    if dtype.kind != "float":
        raise refuse(kernel, dtype)


def no_bools(kernel: str, *operands: Any) -> None:
    """The same of a function that takes all dtypes but bool."""
    if common_dtype(operands) is bool_:
        raise refuse(kernel, bool_)


def numbers_fit(dtype: DType, *values: Any) -> None:
    """Raise torch's error if a Python number among the values is too large for `dtype`."""
    for value in values:
        if value is not None and not isinstance(value, Tensor) and dtype is not bool_:
            refuse_overflow(value, dtype)


def computing(dtype: DType) -> DType:
    """The dtype in which functions compute with numbers of a dtype: halves are float32 there."""
    return float32 if dtype.is_half else dtype


def as_factor(value: Any, dtype: DType) -> Any:
    """A factor of numbers of this dtype, if it fits; halves are scaled as float32, and a factor of
    integers is cut off.
    """
    if isinstance(value, Tensor):
        return value
    factor = checked_number(value, computing(dtype))
    return factor if dtype.kind == "float" else number(factor, dtype)


def check_alpha(alpha: Any, dtype: DType) -> None:
    """Raise what torch raises for a factor that does not go with this dtype."""
    if isinstance(alpha, bool) and dtype is not bool_:
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    kind = alpha.dtype.kind if isinstance(alpha, Tensor) else type(alpha).__name__
    if kind == "float" and dtype.kind != "float":
        raise RuntimeError(
            "For integral input tensors, argument alpha must not be a floating point number."
        )
    if not isinstance(alpha, Tensor):
        checked_number(alpha, dtype)


def times(x: Tensor, alpha: Any) -> Tensor:
    """x * alpha, in x's dtype."""
    if x.dtype is bool_:
        return ops.logical_and(x, alpha)
    if not isinstance(alpha, Tensor):
        alpha = checked_number(alpha, x.dtype)
    return x * as_factor(alpha, x.dtype)


def plus(a: Any, b: Any, alpha: Any) -> Tensor:
    """a + alpha * b, in the dtype that a and b have together."""
    dtype = common_dtype((a, b))
    check_alpha(alpha, dtype)
    if dtype is bool_:
        return ops.logical_or(a, ops.logical_and(b, alpha))
    if dtype.is_half:  # torch rounds alpha, and then the result
        alpha = alpha.to(dtype) if isinstance(alpha, Tensor) else number(alpha, dtype)
    a, b = (x.to(dtype) if isinstance(x, Tensor) else number(x, dtype) for x in (a, b))
    return _beside(a, b, as_factor(alpha, dtype))


@rounded_once
def _beside(a: Tensor, b: Tensor, alpha: Any) -> Tensor:
    return ops.add(a, b * alpha)


# ---- demands on values, the same eagerly, compiled and under vmap
# `name` is one of `ir.faults.DEMANDS`, which says what is raised. Nothing needs to use the result:
# a check is part of a program by itself.
def require(condition: Tensor, name: str) -> None:
    """Raise unless the bool tensor holds everywhere."""
    check_index(cast(logical_not(condition), dtype=int32), size=1, dim=demand(name))


def at_most(numbers: Tensor, most: int, name: str) -> None:
    """Raise if one of the whole numbers is greater."""
    check_index(maximum(cast(numbers, dtype=int64), 0), size=most + 1, dim=demand(name))
