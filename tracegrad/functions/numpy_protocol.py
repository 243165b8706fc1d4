"""NumPy's functions on Tensors: np.tanh(t), np.mean(t, axis=0), np.einsum("ij,j", a, t).

A function of NumPy that is given a Tensor becomes the function here that means the same, so it is
traced, differentiated and compiled. Tables say which; what they do not name is computed by NumPy
from the values, as `torch.Tensor` has it: for tensors that require no grad, outside of traces.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from ..ir.ops import elementwise
from ..tracer.mode import get_default_dtype
from ..tracer.tensor.tensor import Tensor
from . import namespace
from .conversion import to
from .linalg import decompositions, matrix_functions, solvers
from .numpy_arguments import ours, theirs, written
from .torch import blas, reduction_statistics
from .torch.creation import as_tensor, tensor

# ---- functions: those that differ in the names of arguments, and in nothing else
_ARGUMENTS = {
    "axis": "dim", "axes": "dims", "keepdims": "keepdim", "axis1": "dim1", "axis2": "dim2",
    "a_min": "min", "a_max": "max", "k": "diagonal", "method": "interpolation",
    "sections": "indices_or_sections",
}
_NAMED: dict[str, str | tuple[str, dict[str, str]]] = {
    **{name: name for name in (
        "all any argmax argmin argwhere bincount broadcast_to clip count_nonzero diag diagflat "
        "diagonal fliplr flipud isclose kron moveaxis nan_to_num nansum prod ravel "
        "reshape round searchsorted squeeze stack sum swapaxes tile trace tril triu "
        "unravel_index vander vdot hstack vstack dstack column_stack allclose cov corrcoef "
        "quantile nanquantile nanmean sinc i0 real imag inner"
    ).split()},
    "max": "amax", "min": "amin", "amax": "amax", "amin": "amin", "around": "round",
    "repeat": "repeat_interleave", "roll": ("roll", {"axis": "dims"}),
    "unstack": "unbind", "diff": "diff",
    "trapezoid": "trapezoid", "atleast_1d": "atleast_1d", "atleast_2d": "atleast_2d",
    "ones_like": "ones_like", "zeros_like": "zeros_like", "empty_like": "empty_like",
    "full_like": "full_like", "take_along_axis": "take_along_dim",
}


@cache
def _renaming(theirs: Callable, ours: Callable, also: tuple[tuple[str, str], ...]) -> Callable:
    """`ours` behind NumPy's names of arguments; those that are left at NumPy's default are left at
    ours.
    """
    names = {**_ARGUMENTS, **dict(also)}
    try:
        signature = inspect.signature(theirs)
    except ValueError:  # compiled, and it does not say
        return ours

    def call(*args: Any, **kwargs: Any) -> Any:
        ahead, named = [], {}
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            parameter = signature.parameters[name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                ahead.extend(value)
            elif parameter.default is parameter.empty:
                ahead.append(value)
            elif value is not parameter.default:
                named[names.get(name, name)] = value
        return ours(*ahead, **named)

    return call


# ---- functions that take some saying
def _along(function: str, default: int | None) -> Callable:
    """A function along one dimension: for None, of all elements in one row."""

    def call(a: Tensor, axis: int | None = default, dtype: Any = None, **_: Any) -> Tensor:
        f = getattr(namespace, function)
        found = f(namespace.ravel(a), 0) if axis is None else f(a, axis)
        found = found[0] if isinstance(found, tuple) else found
        return found if dtype is None else to(found, dtype)

    return call


def _floating(a: Tensor) -> Tensor:
    return a if a.dtype.is_floating_point else to(a, get_default_dtype())


def _moment(function: str) -> Callable:
    def call(a: Tensor, axis: Any = None, dtype: Any = None, out: None = None, ddof: float = 0,
             keepdims: bool = False, *, correction: float = 0) -> Tensor:
        a = _floating(a) if dtype is None else to(a, dtype)
        f = getattr(namespace, function)
        return f(a, axis, correction=ddof or correction, keepdim=bool(keepdims))

    return call


def _mean(a: Tensor, axis: Any = None, dtype: Any = None, out: None = None,
          keepdims: bool = False) -> Tensor:
    a = _floating(a) if dtype is None else to(a, dtype)
    return namespace.mean(a, axis, bool(keepdims))


def _average(a: Tensor, axis: Any = None, weights: Any = None, returned: bool = False, *,
             keepdims: bool = False) -> Any:
    if weights is None:
        return _mean(a, axis, keepdims=keepdims)
    if weights.ndim < a.ndim:  # one for each position of the axis
        weights = weights.reshape([-1 if d == axis % a.ndim else 1 for d in range(a.ndim)])
    weights = namespace.broadcast_to(weights, a.shape)
    total = namespace.sum(weights, axis, keepdim=bool(keepdims))
    mean = namespace.sum(a * weights, axis, keepdim=bool(keepdims)) / total
    return (mean, total) if returned else mean


def _median(a: Tensor, axis: Any = None, out: None = None, overwrite_input: bool = False,
            keepdims: bool = False) -> Tensor:
    return namespace.quantile(_floating(a), 0.5, axis, keepdim=bool(keepdims))


def _percentile(a: Tensor, q: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    q = _floating(q) / 100 if isinstance(q, Tensor) else q / 100
    return namespace.quantile(_floating(a), q, axis, keepdim=bool(keepdims))


def _ptp(a: Tensor, axis: Any = None, out: None = None, keepdims: bool = False) -> Tensor:
    kept = {"keepdim": bool(keepdims), **({} if axis is None else {"dim": axis})}
    return namespace.amax(a, **kept) - namespace.amin(a, **kept)


def _dot(a: Any, b: Any, out: None = None) -> Tensor:
    if 0 in (np.ndim(a), np.ndim(b)):
        return a * b
    return namespace.tensordot(a, b, dims=([a.ndim - 1], [max(b.ndim - 2, 0)]))


def _tensordot(a: Tensor, b: Tensor, axes: Any = 2) -> Tensor:
    if not isinstance(axes, int):
        axes = [[d] if isinstance(d, int) else list(d) for d in axes]
    return namespace.tensordot(a, b, dims=axes)


def _concatenate(arrays: Any, axis: int | None = 0, out: None = None, dtype: Any = None) -> Tensor:
    parts = [x if isinstance(x, Tensor) else tensor(x) for x in arrays]
    if axis is None:
        parts, axis = [namespace.ravel(x) for x in parts], 0
    joined = namespace.cat(parts, axis)
    return joined if dtype is None else to(joined, dtype)


def _block(arrays: Any) -> Tensor:
    """Lists of lists of blocks: the innermost are joined along the last axis."""

    def depth(x: Any) -> int:
        return 1 + max(map(depth, x)) if isinstance(x, list) else 0

    def joined(x: Any, level: int) -> Tensor:
        if isinstance(x, list):
            return namespace.cat([joined(part, level - 1) for part in x], -level)
        x = as_tensor(x)
        return x.reshape((*(1,) * (rank - x.ndim), *x.shape))

    def widest(x: Any) -> int:
        return max(map(widest, x)) if isinstance(x, list) else np.ndim(x)

    rank = max(depth(arrays), widest(arrays))
    return joined(arrays, depth(arrays))


def _expand_dims(a: Tensor, axis: Any) -> Tensor:
    axes = [axis] if isinstance(axis, int) else list(axis)
    rank = a.ndim + len(axes)
    new = {d + rank if d < 0 else d for d in axes}
    if len(new) < len(axes) or not new <= set(range(rank)):
        raise np.exceptions.AxisError(f"axes {axes} are not {len(axes)} of {rank} dimensions")
    old = iter(a.shape)
    return a.reshape([1 if d in new else next(old) for d in range(rank)])


def _svd(a: Tensor, full_matrices: bool = True, compute_uv: bool = True,
         hermitian: bool = False) -> Any:
    return decompositions.linalg_svd(a, full_matrices) if compute_uv else decompositions.svdvals(a)


def _splitting(function: str) -> Callable:
    """The parts as a list; only array_split takes lengths that do not come out even."""

    def call(ary: Tensor, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
        n, parts = ary.shape[axis], indices_or_sections
        if isinstance(parts, int) and n % parts and function == "split":
            raise ValueError("array split does not result in an equal division")
        return list(namespace.tensor_split(ary, parts, axis))

    return call


def _take(a: Tensor, indices: Any, axis: int | None = None, out: None = None) -> Tensor:
    index = as_tensor(indices)
    x, d = (namespace.ravel(a), 0) if axis is None else (a, axis % a.ndim)
    return x[(slice(None),) * d + (index.long(),)]


def _einsum(*operands: Any, out: None = None, optimize: Any = False) -> Tensor:
    return namespace.einsum(*operands)


def _where(condition: Any, *branches: Any) -> Any:
    condition = as_tensor(condition)
    mask = condition if condition.dtype.kind == "bool" else condition != 0
    if not branches:
        return namespace.nonzero(mask, as_tuple=True)
    return namespace.where(mask, *branches)


def _digitize(x: Tensor, bins: Any, right: bool = False) -> Tensor:
    return namespace.bucketize(x, as_tensor(bins), right=not right)


def _outer(a: Tensor, b: Tensor, out: None = None) -> Tensor:
    return namespace.outer(namespace.ravel(a), namespace.ravel(b))


def _meshgrid(*xi: Tensor, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple:
    if not sparse:
        return tuple(namespace.meshgrid(*xi, indexing=indexing))
    turned = indexing == "xy" and len(xi) > 1
    axes = [1 - k if turned and k < 2 else k for k in range(len(xi))]
    shapes = [[-1 if d == axis else 1 for d in range(len(xi))] for axis in axes]
    return tuple(as_tensor(x).reshape(shape) for x, shape in zip(xi, shapes, strict=True))


def _array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    a, b = as_tensor(a1), as_tensor(a2)
    return a.shape == b.shape and _array_equiv(a, b, equal_nan)


def _array_equiv(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    """Whether two arrays that can be broadcast are equal."""
    a, b = as_tensor(a1), as_tensor(a2)
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return False
    same: Any = a == b
    return bool((same | (namespace.isnan(a) & namespace.isnan(b)) if equal_nan else same).all())


def _gradient(f: Tensor, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """The one derivative, or a tuple of them; `varargs` are distances or coordinates."""
    spacing = None if not varargs else varargs[0] if np.ndim(varargs[0]) == 0 else varargs
    spacing = varargs if len(varargs) > 1 else spacing
    found = namespace.gradient(f, spacing=spacing, dim=axis, edge_order=edge_order)
    return found[0] if len(found) == 1 else found


_DONE: dict[str, Callable] = {
    "gradient": _gradient,
    "cumsum": _along("cumsum", None), "cumprod": _along("cumprod", None),
    "sort": _along("sort", -1), "argsort": _along("argsort", -1),
    "var": _moment("var"), "std": _moment("std"), "mean": _mean, "average": _average,
    "median": _median, "percentile": _percentile, "ptp": _ptp, "dot": _dot, "outer": _outer,
    "tensordot": _tensordot, "einsum": _einsum, "concatenate": _concatenate, "take": _take,
    "split": _splitting("split"), "array_split": _splitting("array_split"),
    "hsplit": lambda ary, parts: _splitting("split")(ary, parts, min(1, ary.ndim - 1)),
    "vsplit": _splitting("split"), "dsplit": lambda ary, parts: _splitting("split")(ary, parts, 2),
    "block": _block, "expand_dims": _expand_dims,
    "rot90": lambda m, k=1, axes=(0, 1): namespace.rot90(m, k, axes),
    "where": _where, "digitize": _digitize,
    "transpose": lambda a, axes=None: a.permute(
        tuple(range(a.ndim))[::-1] if axes is None else axes),
    "flip": lambda m, axis=None: namespace.flip(
        m, tuple(range(m.ndim)) if axis is None else axis),
    "copy": lambda a, order="K", subok=False: a.clone(),
    "nonzero": lambda a: namespace.nonzero(a, as_tuple=True),
    "cross": lambda a, b, axis=-1: namespace.cross(a, b, dim=axis),
    "meshgrid": _meshgrid, "array_equal": _array_equal, "array_equiv": _array_equiv,
    "broadcast_arrays": lambda *args, subok=False: namespace.broadcast_tensors(*args),
    "matrix_transpose": lambda x: x.mT,
    "astype": lambda x, dtype, copy=True, device=None: to(x, dtype),
    "shape": lambda a: tuple(a.shape), "ndim": lambda a: a.ndim,
    "size": lambda a, axis=None: a.numel() if axis is None else a.shape[axis],
}


# those of numpy.linalg whose arguments are torch.linalg's
_LINALG = frozenset(
    "cholesky cond cross det eigh eigvalsh inv matrix_norm matrix_power matrix_rank multi_dot norm "
    "pinv qr slogdet solve svdvals tensorinv tensorsolve vector_norm".split()
)


def _linalg(name: str) -> Callable:
    homes = (decompositions, matrix_functions, solvers, reduction_statistics, blas)
    return next(
        f for n in (f"linalg_{name}", name) for m in homes if (f := getattr(m, n, None)) is not None
    )


@cache
def _counterpart(theirs: Callable) -> Callable | None:
    name = theirs.__name__
    if theirs.__module__ == "numpy.linalg":
        if name == "svd":
            return _svd
        found = _linalg(name) if name in _LINALG else None
        return None if found is None else _renaming(theirs, found, ())
    if name in _DONE:
        return _DONE[name]
    row = _NAMED.get(name)
    ours, also = row if isinstance(row, tuple) else (row, {})
    found = getattr(namespace, ours, None) if ours else None
    return None if found is None else _renaming(theirs, found, tuple(also.items()))


# what reductions make of no number (None: they need `initial`), and how they take one more
_FOLDS: dict[str, tuple[Any, Callable]] = {
    "sum": (0, operator.add), "prod": (1, operator.mul), "all": (True, operator.and_),
    "any": (False, operator.or_), **dict.fromkeys(("max", "amax"), (None, elementwise.maximum)),
    **dict.fromkeys(("min", "amin"), (None, elementwise.minimum)),
}


def _folded(reduce: Callable, neutral: Any, combine: Callable, a: Tensor, *args: Any,
            initial: Any = None, where: Any = True, **kwargs: Any) -> Tensor:
    """A reduction of the elements where a mask holds, and of `initial`."""
    if where is not True:
        if neutral is None and initial is None:
            raise ValueError("where= leaves a reduction without identity: give initial=")
        nothing = initial if neutral is None else neutral
        a = namespace.where(where, a, tensor(nothing, dtype=a.dtype))
    y = reduce(a, *args, **kwargs)
    return y if initial is None else combine(y, initial)


def _without_out(function: Callable, args: tuple, kwargs: dict) -> tuple[tuple, dict, Any]:
    """The arguments without `out`, and that one."""
    at = _place_of_out(function)
    if at is not None and len(args) > at:
        return (*args[:at], None, *args[at + 1 :]), kwargs, args[at]
    return args, {k: v for k, v in kwargs.items() if k != "out"}, kwargs.get("out")


@cache
def _place_of_out(function: Callable) -> int | None:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:  # compiled, and it does not say
        return None
    named = (k for k, p in enumerate(parameters) if p.name == "out")
    return next((k for k in named if parameters[k].kind is not parameters[k].KEYWORD_ONLY), None)


def array_function(
    self: Tensor, function: Callable, types: tuple[type, ...], args: tuple, kwargs: dict
) -> Any:
    if not all(issubclass(t, (Tensor, np.ndarray)) for t in types):
        return NotImplemented
    name = f"np.{function.__name__}"
    counterpart = _counterpart(function)
    if counterpart is None:
        return function(*theirs(name, args), **theirs(name, kwargs))
    args, kwargs, out = _without_out(function, args, kwargs)
    if out is not None and not isinstance(out, Tensor):
        raise TypeError(f"{name}() of Tensors: out= must be a Tensor, not {type(out).__name__}")
    try:
        if function.__name__ in _FOLDS and not {"initial", "where"}.isdisjoint(kwargs):
            counterpart = partial(_folded, counterpart, *_FOLDS[function.__name__])
        result = counterpart(*ours(args), **ours(kwargs))
    except TypeError as error:
        raise TypeError(f"{name}() of Tensors: {error}") from error
    return result if out is None else written(name, (out,), result)
