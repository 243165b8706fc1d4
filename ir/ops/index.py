"""Reading and writing at computed positions. Indices are int64 and count from the front (see
check_index).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtype import DType
from ..op import Kind, OpDef, broadcast, register
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
