"""Running sums, products and extremes, differences of neighbours, integrals by trapezoids."""

from __future__ import annotations

from typing import Any

from ...ir.dtype import bool_, int64, uint8
from ...ir.ops import elementwise as ops, prefix, reduce as reductions
from ...ir.ops.elementwise import stop_gradient
from ...ir.ops.movement import reshape
from ...tracer.autograd.graph import composite
from ...tracer.tensor.tensor import Tensor
from ..arguments import floats_only, numpy_names, own_dim, rounded_once, wrap_dim
from ..named_results import TYPES
from .comparison import part
from .reduction import accumulating, along, reduced, taken, vector
from .slicing_joining import cat

__all__ = [
    "cummax", "cummin", "cumprod", "cumsum", "cumulative_trapezoid", "diff", "gradient",
    "logcumsumexp", "trapezoid", "trapz",
]


def _scan(x: Tensor, dim: int, op: Any) -> Tensor:
    y = op(vector(x), axis=wrap_dim(dim, x.ndim), reverse=False)
    return reshape(y, shape=tuple(x.shape))


@numpy_names
@composite("CumsumBackward0")
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The sums of all elements up to each, along a dimension.

    Shape: (*) -> (*). Dtype: that of input; int64 of integers and bools; or `dtype`.
    Raises IndexError for a dimension out of range.

    >>> torch.cumsum(torch.tensor([1.0, 2.0, 3.0]), dim=0)
    tensor([1., 3., 6.])
    """
    return _scan(accumulating(input, dtype), dim, prefix.cumsum)


@numpy_names
@composite("CumprodBackward0")
def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The products of all elements up to each, along a dimension.

    Shape: (*) -> (*). Dtype: that of input; int64 of integers and bools; or `dtype`.
    Raises IndexError for a dimension out of range.

    >>> torch.cumprod(torch.tensor([1.0, 2.0, 3.0]), dim=0)
    tensor([1., 2., 6.])
    """
    return _scan(accumulating(input, dtype), dim, prefix.cumprod)


def _last_hit(x: Tensor, dim: int, op: Any) -> Tensor:
    """Where the extreme element up to each place stands, the last of equal ones; of NaN, the last
    NaN.
    """
    hit = ops.eq(x, op(x, axis=dim, reverse=False))
    if x.dtype.is_floating_point:
        hit = ops.logical_or(hit, ops.isnan(x))
    return prefix.cummax(ops.where(hit, along(x, dim), 0), axis=dim, reverse=False)


def _extreme(input: Tensor, dim: int, name: str) -> Any:
    d, x = wrap_dim(dim, input.ndim), vector(input)
    at = _last_hit(stop_gradient(x), d, prefix.cummax if name == "cummax" else prefix.cummin)
    shape = tuple(input.shape)
    return TYPES[name](reshape(taken(x, at, d), shape=shape), reshape(at, shape=shape))


@composite("CummaxBackward0")
def cummax(input: Tensor, dim: int) -> Any:
    """The greatest element up to each and its position, the last of equal ones.

    Shape: (*) -> two of (*). Dtype: that of input, and int64.
    Raises IndexError for a dimension out of range.

    >>> torch.cummax(torch.tensor([1.0, 3.0, 2.0]), dim=0)
    tracegrad.return_types.cummax(
    values=tensor([1., 3., 3.]),
    indices=tensor([0, 1, 1]))
    """
    return _extreme(input, dim, "cummax")


@composite("CumminBackward0")
def cummin(input: Tensor, dim: int) -> Any:
    """The smallest element up to each and its position, the last of equal ones.

    Shape: (*) -> two of (*). Dtype: that of input, and int64.
    Raises IndexError for a dimension out of range.

    >>> torch.cummin(torch.tensor([3.0, 1.0, 2.0]), dim=0)
    tracegrad.return_types.cummin(
    values=tensor([3., 1., 1.]),
    indices=tensor([0, 1, 1]))
    """
    return _extreme(input, dim, "cummin")


@composite("LogcumsumexpBackward0")
@rounded_once
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """log(cumsum(exp(input))), without overflow: the sums so far are scaled by the greatest element
    so far, and scaled down when a greater one comes.

    Shape: (*) -> (*). Dtype: that of input, which must be floating point.
    Raises IndexError for a dimension out of range; NotImplementedError for integers.

    >>> torch.logcumsumexp(torch.tensor([0.0, 0.0, 0.0]), dim=0)
    tensor([0.0000, 0.6931, 1.0986])
    """
    floats_only("logcumsumexp_out_cpu", input)
    d, x = wrap_dim(dim, input.ndim), vector(input)
    flat = stop_gradient(x)
    peak = prefix.cummax(flat, axis=d, reverse=False)
    base = ops.where(ops.lt(ops.abs(peak), float("inf")), peak, 0)
    down = ops.exp(ops.minimum(prefix.shifted(base, d, False, 0.0) - base, 0))
    total = prefix.recur(down, ops.exp(x - base), axis=d, reverse=False)
    return reshape(ops.log(total) + base, shape=tuple(input.shape))


# ---- differences and integrals
def _neighbours(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    n = x.shape[dim]
    return part(x, dim, 0, max(n - 1, 0)), part(x, dim, min(n, 1), n)


@numpy_names
def diff(input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None,
         append: Tensor | None = None) -> Tensor:
    """The n-th differences of neighbours along a dimension.

    Shape: the extent at `dim` becomes n less, after prepend and append. Dtype: that of input; bool
    of bools. Raises RuntimeError for a negative n or a 0-d tensor.

    >>> torch.diff(torch.tensor([1, 4, 9]))
    tensor([3, 5])
    """
    if input.ndim == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    d = wrap_dim(dim, input.ndim)
    if n == 0:
        return input.clone()
    x = input
    if prepend is not None or append is not None:
        x = cat([t for t in (prepend, input, append) if t is not None], d)
    for _ in range(min(n, x.shape[d])):
        left, right = _neighbours(x, d)
        x = ops.logical_xor(left, right) if x.dtype is bool_ else right - left
    return x.clone() if x is input else x


def _spacings(input: Tensor, spacing: Any, dim: Any) -> dict[int, Any]:
    """The dimensions to differentiate along, each with its distance or coordinates."""
    single = spacing is None or isinstance(spacing, Tensor) or not hasattr(spacing, "__len__")
    if single and isinstance(spacing, Tensor) and (spacing.ndim or dim is not None):
        raise TypeError("gradient(): spacing must be a number or a sequence, not a Tensor")
    given = range(input.ndim) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    dims = [wrap_dim(d, input.ndim) for d in given]
    for d in dims:
        if dims.count(d) > 1:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
    if not single and len(spacing) != len(dims):
        if dim is None:
            raise RuntimeError(
                "torch.gradient expected spacing to be unspecified, a scalar, or a list of length "
                f"equal to 'self.dim() = {input.ndim}', since dim argument was not given, but got "
                f"a list of length {len(spacing)}"
            )
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar or it's spacing and dim "
            f"arguments to have the same length, but got a spacing argument of length "
            f"{len(spacing)} and a dim argument of length {len(dims)}."
        )
    steps = [1 if spacing is None else spacing] * len(dims) if single else spacing
    return dict(zip(dims, steps, strict=True))


def _slope(x: Tensor, step: Any, d: int, edge_order: int) -> Tensor:
    """Differences over neighbours on both sides, exact for parabolas; at the ends one-sided, of a
    line or a parabola. Fornberg (1988), Generation of finite difference formulas, table of order 2.
    """
    n, spaced = x.shape[d], isinstance(step, Tensor) and step.ndim == 1
    here, there = _neighbours(x, d)
    if spaced:
        step = reshape(diff(step), shape=tuple(n - 1 if k == d else 1 for k in range(x.ndim)))
    rise = (there - here) / step
    left, right = part(rise, d, 0, n - 2), part(rise, d, 1, n - 1)
    first, last = part(rise, d, 0, 1), part(rise, d, n - 2, n - 1)
    if spaced:
        before, after = part(step, d, 0, n - 2), part(step, d, 1, n - 1)
        inner = (left * after + right * before) / (before + after)
    else:
        before = after = step
        inner = (part(x, d, 2, n) - part(x, d, 0, n - 2)) / (2 * step)
    if edge_order == 2:
        bend = (right - left) / (before + after)
        first = first - part(bend * before, d, 0, 1)
        last = last + part(bend * after, d, n - 3, n - 2)
    return cat([first, inner, last], d)


def gradient(input: Tensor, *, spacing: Any = None, dim: Any = None,
             edge_order: int = 1) -> tuple[Tensor, ...]:
    """The derivatives along dimensions of a function that is sampled at distances of `spacing`, or
    at the coordinates that its tensors hold.

    Shape: (*) -> one (*) for each dimension. Dtype: that of input; integers become the default
    dtype. Raises RuntimeError for a dimension that is too short.

    >>> torch.gradient(torch.tensor([1.0, 4.0, 9.0]))
    (tensor([3., 4., 5.]),)
    """
    steps = _spacings(input, spacing, dim)
    if input.dtype is uint8:
        raise RuntimeError("torch.gradient does not support uint8 input.")
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    for d, step in steps.items():
        if (input.shape[d] if input.ndim else 1) < edge_order + 1:
            raise RuntimeError(
                "torch.gradient expected each dimension size to be at least edge_order+1"
            )
        if not isinstance(step, Tensor) or step is spacing:
            continue
        if step.ndim != 1:
            raise RuntimeError(
                "torch.gradient expected each element of spacing to have one dimension, but got an "
                f"element with {step.ndim} dimensions!"
            )
        if step.shape[0] != input.shape[d]:
            raise RuntimeError(
                f"torch.gradient expected a coordinate for each of the {input.shape[d]} elements "
                f"of dimension {d}, but got {step.shape[0]}"
            )
    return tuple(_slope(input, step, d, edge_order) for d, step in steps.items())


def _steps(y: Tensor, x: Tensor | None, dx: Any, dim: int, name: str) -> Any:
    """The distances of the samples."""
    if x is None:
        return 1 if dx is None else dx
    if dx is not None:
        raise TypeError(f"{name}() takes either x or dx, not both")
    if bool_ in (x.dtype, y.dtype):
        raise RuntimeError(
            f"{name}: received a bool input for `x` or `y`, but bool is not supported"
        )
    if x.ndim == 1:
        if x.shape[0] != y.shape[dim]:
            raise RuntimeError(f"{name}: There must be one `x` value for each sample point")
        x = reshape(x, shape=tuple(x.shape[0] if d == dim else 1 for d in range(y.ndim)))
    elif x.ndim < y.ndim:
        x = reshape(x, shape=(1,) * (y.ndim - x.ndim) + tuple(x.shape))
    left, right = _neighbours(x, dim)
    return right - left


def _areas(y: Tensor, x: Tensor | None, dx: Any, dim: int, name: str) -> Tensor:
    if y.dtype is bool_:
        raise RuntimeError(f"{name}: received a bool input for `y`, but bool is not supported")
    left, right = _neighbours(y if y.dtype.kind == "float" else y.to(int64), dim)
    return (left + right) * _steps(y, x, dx, dim, name)


def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The integral along a dimension of the line through samples, at the points x or `dx` apart.

    Shape: (*) -> without `dim`. Dtype: that of y; integers become the default dtype. Raises
    RuntimeError if x does not fit.

    >>> torch.trapezoid(torch.tensor([1.0, 2.0, 3.0]), dx=0.5)
    tensor(2.)
    """
    d = own_dim(dim, y.ndim)
    if y.shape[d] == 0:
        return reduced(reductions.sum, y, (d,), False)
    return reduced(reductions.sum, _areas(y, x, dx, d, "trapezoid"), (d,), False) / 2


trapz = trapezoid


def cumulative_trapezoid(
    y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1
) -> Tensor:
    """The integrals from the first sample to each of the others.

    Shape: (*) -> (*), with one element less along `dim`. Dtype: that of y; integers become the
    default dtype. Raises RuntimeError if x does not fit.

    >>> torch.cumulative_trapezoid(torch.tensor([1.0, 2.0, 3.0]))
    tensor([1.5000, 4.0000])
    """
    d = own_dim(dim, y.ndim)
    return cumsum(_areas(y, x, dx, d, "cumulative_trapezoid") / 2, d)
