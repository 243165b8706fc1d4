"""Values that come from nowhere: inputs, constants, counters."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtype import DType
from ..op import Kind, OpDef, register


def _declared(*, shape: tuple[int, ...], dtype: DType, **_: Any) -> tuple[tuple[int, ...], DType]:
    return shape, dtype


def _no_input(**_: Any) -> np.ndarray:
    raise RuntimeError("an input of a program has no value of its own")


input = register(OpDef("input", Kind.SOURCE, _no_input, _declared))

# full(value=, shape=, dtype=): a constant
full = register(
    OpDef(
        "full",
        Kind.SOURCE,
        lambda *, value, shape, dtype: np.full(shape, value, dtype.compute),
        _declared,
    )
)

# iota(shape=(n,), dtype=): 0, 1, ..., n - 1
iota = register(
    OpDef(
        "iota",
        Kind.SOURCE,
        lambda *, shape, dtype: np.arange(shape[0]).astype(dtype.compute),
        _declared,
    )
)


def zeros_like(g: Any, like: Any) -> Any:
    """Zeros in the shape of `like`, of the class that g is."""
    return type(g).bind(full, (), {"value": 0.0, "shape": like.shape, "dtype": like.dtype})
