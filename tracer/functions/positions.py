"""Reading and writing at computed positions, by name: gather, scatter, nonzero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.dtype import int64
from ...ir.ops import movement
from ...ir.ops.index import index as index_
from ...ir.ops.index import index_put as index_put_
from ...ir.ops.movement import expand, reshape
from ..tape import composite
from ..tensor import Tensor
from .creation import held, tensor
from .indexing import checked, known
from .reduce import along, wrap_dim


@composite("IndexSelectBackward0")
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The parts at the positions `index` along `dim`."""
    d = wrap_dim(dim, input.ndim)
    if index.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    flat = reshape(index, shape=(index.numel(),))
    return index_(input, checked(flat, input.shape[d], d), axes=(d,))


@composite("GatherBackward0")
def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """out[i][j] = input[index[i][j]][j] for dim 0, and so on."""
    if index.dtype is not int64:
        raise RuntimeError("gather(): Expected dtype int64 for index")
    if index.ndim != input.ndim:
        raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")
    d = wrap_dim(dim, input.ndim)
    if any(m > n for k, (n, m) in enumerate(zip(input.shape, index.shape, strict=True)) if k != d):
        raise RuntimeError(
            f"Size does not match at dimension {d} expected index {list(index.shape)} to be no "
            "larger than self "
            f"{list(input.shape)} apart from dimension {d}"
        )
    return index_(input, *_every(input, d, index), axes=tuple(range(input.ndim)))


def _every(x: Tensor, dim: int, index: Tensor) -> list[Tensor]:
    """Index tensors for all dimensions: `index` along one, the position itself along the others."""
    return [checked(index, x.shape[k], k) if k == dim else along(index, k) for k in range(x.ndim)]


def _scattered(x: Tensor, dim: int, index: Tensor, src: Any, accumulate: bool) -> Tensor:
    d = wrap_dim(dim, x.ndim)
    if isinstance(src, Tensor):
        src = movement.slice(src, slices=tuple((0, n, 1) for n in index.shape))
    else:
        src = expand(tensor(src, dtype=x.dtype), shape=tuple(index.shape))
    indices = [expand(i, shape=tuple(index.shape)) for i in _every(x, d, index)]
    return index_put_(x, src, *indices, axes=tuple(range(x.ndim)), accumulate=accumulate)


@composite("ScatterBackward0")
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None
) -> Tensor:
    """A copy with `src` written at the positions `index` along `dim`."""
    return _scattered(input, dim, index, value if src is None else src, False)


@composite("ScatterAddBackward0")
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy with `src` added at the positions `index` along `dim`."""
    return _scattered(input, dim, index, src, True)


@composite("IndexAddBackward0")
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """A copy with the parts of `source` added at the positions `index` along `dim`."""
    d = wrap_dim(dim, input.ndim)
    source = source if alpha == 1 else source * alpha
    return index_put_(input, source, checked(index, input.shape[d], d), axes=(d,), accumulate=True)


@composite("TakeBackward0")
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements at positions counted through the whole tensor."""
    flat = reshape(input, shape=(input.numel(),))
    return index_(flat, checked(index, flat.shape[0], 0), axes=(0,))


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The positions of the elements that are not zero."""
    found = np.nonzero(input.dtype.decode(known(input, "nonzero()")))
    if as_tuple:
        return tuple(held(np.ascontiguousarray(ix), int64) for ix in found)
    return held(np.stack(found, 1) if found else np.zeros((0, 0), np.int64), int64)


argwhere = nonzero


__all__ = [
    "argwhere", "gather", "index_add", "index_select", "nonzero", "scatter", "scatter_add", "take",
]  # fmt: skip
