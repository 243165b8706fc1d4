"""Reading and writing at computed positions. Indices are int64 and count from the front (see
check_index).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtype import DType
from ..op import Kind, OpDef, broadcast, register
from .elementwise import cast, eq, maximum, where
from .source import full

Axes = tuple[int, ...]  # ascending: the axes of x that the index arrays stand for


def _selector(rank: int, axes: Axes, indices: tuple) -> tuple:
    chosen = dict(zip(axes, indices, strict=True))
    return tuple(chosen.get(d, np.s_[:]) for d in range(rank))


def result_shape(shape: tuple[int, ...], axes: Axes, index: tuple[int, ...]) -> tuple[int, ...]:
    """NumPy's rule: the indexed axes are replaced where they stand if adjacent, else by leading
    axes.
    """
    rest = tuple(n for d, n in enumerate(shape) if d not in axes)
    at = axes[0] if axes[-1] - axes[0] + 1 == len(axes) else 0
    return rest[:at] + index + rest[at:]


def _index_aval(x: Any, *indices: Any, axes: Axes) -> tuple[tuple[int, ...], DType]:
    return result_shape(x.shape, axes, broadcast("index", *(i.shape for i in indices))), x.dtype


def _index_rule(k: int):
    if k:
        return None
    return lambda g, y, x, *indices, axes: index_put(
        zeros_like(g, x), g, *indices, axes=axes, accumulate=True
    )


def zeros_like(g: Any, like: Any) -> Any:
    """Zeros in the shape of `like`, of the class that g is."""
    return type(g).bind(full, (), {"value": 0.0, "shape": like.shape, "dtype": like.dtype})


# index(x, *indices, axes=): x[..., i, ..., j, ...] with NumPy's placement of the result axes
index = register(OpDef(
    "index", Kind.INDEX, lambda x, *ix, axes: x[_selector(x.ndim, axes, ix)], _index_aval,
    _index_rule,
))  # fmt: skip


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


def _put_rule(k: int):
    if k == 0:
        return lambda g, y, x, v, *ix, axes, accumulate: (
            g if accumulate else index_put(g, zeros_like(g, v), *ix, axes=axes, accumulate=False)
        )
    if k == 1:
        return lambda g, y, x, v, *ix, axes, accumulate: index(g, *ix, axes=axes)
    return None


# index_put(x, v, *indices, axes=, accumulate=): a copy of x with v written or added there; v has
# index(x, ...)'s shape
index_put = register(OpDef("index_put", Kind.INDEX, _put, _put_aval, _put_rule))


# ---- writing with a reduction
_AT = {"prod": np.multiply, "max": np.maximum, "min": np.minimum}


def _reduce_at(
    x: np.ndarray, v: np.ndarray, *indices: np.ndarray, axes: Axes, combine: str
) -> np.ndarray:
    out = np.array(x)
    _AT[combine].at(out, _selector(x.ndim, axes, indices), v)
    return out


def _reduce_aval(
    x: Any, v: Any, *indices: Any, axes: Axes, combine: str
) -> tuple[tuple[int, ...], DType]:
    return x.shape, x.dtype


def _evenly(k: int, g: Any, y: Any, x: Any, v: Any, *ix: Any, axes: Axes) -> Any:
    """Of an extremum: those that reach it share the gradient."""
    hit_x = cast(eq(x, y), dtype=x.dtype)
    hit_v = cast(eq(v, index(y, *ix, axes=axes)), dtype=x.dtype)
    share = g / maximum(index_put(hit_x, hit_v, *ix, axes=axes, accumulate=True), 1)
    return index(share, *ix, axes=axes) * hit_v if k else share * hit_x


def _others(k: int, g: Any, y: Any, x: Any, v: Any, *ix: Any, axes: Axes) -> Any:
    """Of a product: the other factors, right also where some factor is zero."""
    zero_x, zero_v = eq(x, 0), eq(v, 0)
    rest = index_reduce(where(zero_x, 1, x), where(zero_v, 1, v), *ix, axes=axes, combine="prod")
    zeros = index_put(cast(zero_x, dtype=x.dtype), cast(zero_v, dtype=x.dtype), *ix, axes=axes,
                      accumulate=True)  # fmt: skip
    own, zero = (v, zero_v) if k else (x, zero_x)
    if k:
        g, rest, zeros = (index(a, *ix, axes=axes) for a in (g, rest, zeros))
    alone = where(eq(zeros, 1), rest, 0)
    return g * where(zero, alone, where(eq(zeros, 0), rest / where(zero, 1, own), 0))


def _index_reduce_rule(k: int):
    if k > 1:
        return None
    return lambda *args, axes, combine: (_others if combine == "prod" else _evenly)(
        k, *args, axes=axes
    )


# index_reduce(x, v, *indices, axes=, combine=): a copy of x where each number of v is combined with
# what stands at its place, by the reduction of that name: prod, max or min
index_reduce = register(
    OpDef("index_reduce", Kind.INDEX, _reduce_at, _reduce_aval, _index_reduce_rule)
)
