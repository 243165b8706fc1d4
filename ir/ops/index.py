"""Reading and writing at computed positions. Indices are int64 and count from the front (see
check_index).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtype import DType, int64
from ..op import Access, Kind, Law, OpDef, Rule, always, are_axes, broadcast, register
from ..strides import View
from .elementwise import cast, eq
from .movement import reshape
from .order import argsort
from .prefix import others_alike
from .reduce import prod
from .source import full, zeros_like

Axes = tuple[int, ...]  # ascending: the axes of x that the index arrays stand for


def _selector(rank: int, axes: Axes, indices: tuple[Any, ...]) -> tuple[Any, ...]:
    chosen = dict(zip(axes, indices, strict=True))
    return tuple(chosen.get(d, np.s_[:]) for d in range(rank))


def first_axis(axes: Axes) -> int:
    """Where the axes of the index arrays stand in the answer. NumPy's rule: the indexed axes are
    replaced where they stand if adjacent, else by leading axes.
    """
    return axes[0] if axes[-1] - axes[0] + 1 == len(axes) else 0


def result_shape(shape: tuple[int, ...], axes: Axes, index: tuple[int, ...]) -> tuple[int, ...]:
    rest = tuple(n for d, n in enumerate(shape) if d not in axes)
    at = first_axis(axes)
    return rest[:at] + index + rest[at:]


class _Gather(Access):
    """Axes of x are replaced by those of index arrays, which broadcast among themselves."""

    def base(self, x: View, shape: tuple[int, ...], params: dict[str, Any]) -> View:
        axes = params["axes"]
        at, count = first_axis(axes), len(shape) - len(x.shape) + len(axes)
        rest = [s for d, s in enumerate(x.strides) if d not in axes]
        return View(shape, (*rest[:at], *(0,) * count, *rest[at:]), x.offset)

    def steps(self, x: View, params: dict[str, Any]) -> tuple[int, ...]:
        return tuple(x.strides[a] for a in params["axes"])

    def index(self, i: View, rank: int, shape: tuple[int, ...], params: dict[str, Any]) -> View:
        at, count = first_axis(params["axes"]), len(shape) - rank + len(params["axes"])
        own = i.expand(shape[at : at + count])
        return View(shape, (0,) * at + own.strides + (0,) * (len(shape) - at - count), own.offset)


def _index_aval(x: Any, *indices: Any, axes: Axes) -> tuple[tuple[int, ...], DType]:
    return result_shape(x.shape, axes, broadcast("index", *(i.shape for i in indices))), x.dtype


def _index_rule(k: int) -> Rule | None:
    if k:
        return None
    return lambda g, y, x, *indices, axes: index_put(
        zeros_like(g, x), g, *indices, axes=axes, accumulate=True
    )


def _indexed(x: Any, indices: tuple[Any, ...], axes: Any) -> bool:
    one_each = are_axes(axes, x.ndim) and len(axes) == len(indices)
    return one_each and all(i.dtype is int64 for i in indices)


GATHER = _Gather()  # where index_put writes, too

# index(x, *indices, axes=): x[..., i, ..., j, ...] with NumPy's placement of the result axes
index = register(OpDef(
    "index", Kind.INDEX, lambda x, *ix, axes: x[_selector(x.ndim, axes, ix)], _index_aval,
    _index_rule, access=GATHER,
    law=Law("axes are sorted and stand for one int64 index each",
            lambda x, *indices, axes: _indexed(x, indices, axes)),
))


def _put(
    x: np.ndarray, v: np.ndarray, *indices: np.ndarray, axes: Axes, accumulate: bool
) -> np.ndarray:
    out = np.array(x)
    at = _selector(x.ndim, axes, indices)
    if accumulate:
        np.add.at(out, at, v)
    else:
        out[at] = v
    return out


def _put_aval(
    x: Any, v: Any, *indices: Any, axes: Axes, accumulate: bool
) -> tuple[tuple[int, ...], DType]:
    return x.shape, x.dtype


def _put_rule(k: int) -> Rule | None:
    if k == 0:
        return lambda g, y, x, v, *ix, axes, accumulate: (
            g if accumulate else index_put(g, zeros_like(g, v), *ix, axes=axes, accumulate=False)
        )
    if k == 1:
        return lambda g, y, x, v, *ix, axes, accumulate: index(g, *ix, axes=axes)
    return None


# index_put(x, v, *indices, axes=, accumulate=): a copy of x with v written or added there; v has
# index(x, ...)'s shape
index_put = register(
    OpDef("index_put", Kind.INDEX, _put, _put_aval, _put_rule,
          adds=lambda params: params["accumulate"],
          law=Law("axes are sorted and stand for one int64 index each, and the dtypes agree",
                  lambda x, v, *indices, axes, accumulate:
                      _indexed(x, indices, axes) and x.dtype is v.dtype))
)


# ---- writing with a reduction
def _reduce_at(
    x: np.ndarray, v: np.ndarray, *indices: np.ndarray, axes: Axes, combine: OpDef
) -> np.ndarray:
    assert combine.reduction is not None
    out = np.array(x)
    ufunc: Any = combine.reduction.pair.ref
    ufunc.at(out, _selector(x.ndim, axes, indices), v)
    return out


def _reduce_aval(
    x: Any, v: Any, *indices: Any, axes: Axes, combine: OpDef
) -> tuple[tuple[int, ...], DType]:
    return x.shape, x.dtype


def _evenly(k: int, g: Any, y: Any, x: Any, v: Any, *ix: Any, axes: Axes) -> Any:
    """Of an extremum: those that reach it share the gradient."""
    hit_x = cast(eq(x, y), dtype=x.dtype)
    hit_v = cast(eq(v, index(y, *ix, axes=axes)), dtype=x.dtype)
    share = g / index_put(hit_x, hit_v, *ix, axes=axes, accumulate=True)
    return index(share, *ix, axes=axes) * hit_v if k else share * hit_x


def _others(k: int, g: Any, y: Any, x: Any, v: Any, *ix: Any, axes: Axes) -> Any:
    """Of a product: the other factors, by products alone, since factors may be zero."""
    if k == 0:
        ones = type(g).bind(full, (), {"value": 1.0, "shape": x.shape, "dtype": x.dtype})
        return g * index_reduce(ones, v, *ix, axes=axes, combine=prod)
    return index(g * x, *ix, axes=axes) * _companions(x.shape, v, ix, axes)


def _companions(shape: tuple[int, ...], v: Any, ix: tuple[Any, ...], axes: Axes) -> Any:
    """For each number of v the product of the others that go to its place; to find them, they are
    brought into the order of their places.
    """
    at = ix[0]
    for i, axis in zip(ix[1:], axes[1:], strict=True):
        at = at * shape[axis] + i
    count, lead = math.prod(at.shape), result_shape(shape, axes, (-1,)).index(-1)
    wide = (*v.shape[:lead], count, *v.shape[lead + len(at.shape) :])
    at = reshape(at, shape=(count,))
    order = argsort(at, axis=0, descending=False)
    back = argsort(order, axis=0, descending=False)
    group = index(at, order, axes=(0,))
    group = reshape(group, shape=tuple(count if d == lead else 1 for d in range(len(wide))))
    rest = others_alike(index(reshape(v, shape=wide), order, axes=(lead,)), lead, group)
    return reshape(index(rest, back, axes=(lead,)), shape=v.shape)


def _index_reduce_rule(k: int) -> Rule | None:
    if k > 1:
        return None
    return lambda *args, axes, combine: (_others if combine is prod else _evenly)(
        k, *args, axes=axes
    )


# index_reduce(x, v, *indices, axes=, combine=): a copy of x where each number of v is combined with
# what stands at its place, by a reduction: prod, max or min
index_reduce = register(
    OpDef("index_reduce", Kind.INDEX, _reduce_at, _reduce_aval, _index_reduce_rule,
          adds=always)
)
