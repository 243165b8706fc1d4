"""Reading at computed positions, by name: gather, take, nonzero, masks, where."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.dtype import DType, bool_, int32, int64, uint8
from ...ir.faults import from_the_front
from ...ir.op import broadcast
from ...ir.ops import elementwise as ops
from ...ir.ops.elementwise import cast
from ...ir.ops.index import index as index_
from ...ir.ops.movement import expand, reshape
from ...tracer.autograd.graph import composite
from ...tracer.tensor.promotion import SCALAR_TYPE, common_dtype
from ...tracer.tensor.tensor import Tensor
from ..arguments import numbers_fit, wrap_dim
from .indexing import Pair, checked, computed, getitem
from .reduction import along
from .shape import ravel

__all__ = [
    "argwhere", "gather", "index_select", "masked_select", "nonzero", "take", "take_along_dim",
    "unravel_index", "where",
]


@composite("IndexSelectBackward0")
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The parts at the positions `index` along `dim`.

    Shape: the extent at `dim` becomes that of index, a vector. Dtype: that of input.
    Raises IndexError or RuntimeError for an index out of range; IndexError for another rank.

    >>> torch.index_select(torch.tensor([[1, 2], [3, 4]]), 1, torch.tensor([1]))
    tensor([[2],
            [4]])
    """
    d = wrap_dim(dim, input.ndim)
    if index.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    long_index("index_select", index, int32)
    if input.ndim > 1 and not input.shape[d] and index.numel():
        raise RuntimeError("index_select(): self indexing axis dim should be positive")
    flat, x = reshape(index, shape=(index.numel(),)), at_least_vector(input)
    y = index_(x, checked(flat, x.shape[d], from_the_front(d)), axes=(d,))
    return y if input.ndim else reshape(y, shape=())


@composite("GatherBackward0")
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """`out[i][j] = input[index[i][j]][j]` for dim 0, and so on.

    Shape: that of index, nowhere longer than input but along `dim`. Dtype: that of input.
    Raises RuntimeError for an index out of range, of another rank or of another dtype than int64.

    >>> torch.gather(torch.tensor([[1, 2], [3, 4]]), 1, torch.tensor([[0], [1]]))
    tensor([[1],
            [4]])
    """
    return _gathered(input, dim, index, negative=False)


def _gathered(input: Tensor, dim: int, index: Tensor, negative: bool) -> Tensor:
    x, d = at_least_vector(input), wrap_dim(dim, input.ndim)
    if not index.numel():  # of any rank, and any dtype
        return reshape(reshape(x, shape=(x.numel(),))[:0], shape=tuple(index.shape))
    ix = same_rank("gather", x, index)
    if any(m > n for k, (n, m) in enumerate(zip(x.shape, ix.shape, strict=True)) if k != d):
        raise RuntimeError(
            f"Size does not match at dimension {d} expected index {list(index.shape)} to be no "
            "larger than self "
            f"{list(input.shape)} apart from dimension {d}"
        )
    found = index_(x, *every_axis(x, d, ix, negative), axes=tuple(range(x.ndim)))
    return reshape(found, shape=tuple(index.shape)) if index.ndim == 0 else found


def at_least_vector(x: Tensor) -> Tensor:
    return x if x.ndim else reshape(x, shape=(1,))


def long_index(name: str, index: Tensor, *others: DType) -> None:
    """Refuse an index tensor that is neither int64 nor one of `others`."""
    if index.dtype is not int64 and index.dtype not in others:
        wanted = " or ".join(d.name for d in (*others, int64))
        raise (IndexError if name == "index_fill_" else RuntimeError)(
            f"{name}(): Expected a tensor of dtype {wanted} for index, but got "
            f"{SCALAR_TYPE[index.dtype]}"
        )


def same_rank(name: str, x: Tensor, index: Tensor) -> Tensor:
    """The index tensor of a gather or scatter, if it is one for x."""
    if index.numel():
        long_index(name, index, int32)
    index = at_least_vector(index)
    if index.ndim != x.ndim:
        raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")
    return index


def every_axis(x: Tensor, dim: int, index: Tensor, negative: bool = False) -> list[Tensor]:
    """Index tensors for all dimensions: `index`, perhaps `negative`, along one, the position itself
    along the others.
    """
    own = checked(index, x.shape[dim], dim if negative else from_the_front(dim))
    return [own if k == dim else along(index, k) for k in range(x.ndim)]


@composite("TakeBackward0")
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements at positions counted through the whole tensor.

    Shape: that of index. Dtype: that of input.
    Raises IndexError or RuntimeError for an index out of range.

    >>> torch.take(torch.tensor([[1, 2], [3, 4]]), torch.tensor([0, 3]))
    tensor([1, 4])
    """
    long_index("take", index)
    flat = reshape(input, shape=(input.numel(),))
    return index_(flat, checked(index, flat.shape[0], 0), axes=(0,))


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The positions of the elements that are not zero.

    Shape: (*) -> (the number of such elements, rank), or with `as_tuple` one vector per dimension.
    Dtype: int64. Raises TypeError without a tensor.

    >>> torch.nonzero(torch.tensor([[0, 1], [2, 0]]))
    tensor([[0, 1],
            [1, 0]])
    """
    dtype = input.dtype

    def where(stored: np.ndarray) -> list[Pair]:
        values = dtype.decode(stored)
        found = [ix.astype(np.int64) for ix in np.nonzero(np.atleast_1d(values))]
        if as_tuple:
            return [(ix, int64) for ix in found]
        if values.ndim == 0:
            return [(np.zeros((len(found[0]), 0), np.int64), int64)]
        return [(np.stack(found, 1) if found else np.zeros((0, 0), np.int64), int64)]

    results = computed(where, "nonzero()", input)
    return tuple(results) if as_tuple else results[0]


argwhere = nonzero


@composite("TakeAlongDimBackward0")
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """`gather` with the other dimensions broadcast; without `dim`, `take`.

    Shape: that of indices, broadcast. Dtype: that of input.
    Raises RuntimeError for indices out of range or of another dtype than int64.

    >>> x = torch.tensor([[3, 1], [2, 4]])
    >>> torch.take_along_dim(x, torch.argsort(x, dim=1), dim=1)
    tensor([[1, 3],
            [2, 4]])
    """
    if indices.dtype is not int64:
        raise RuntimeError(
            "torch.take_along_dim(): dtype of indices should be Long but got "
            f"{SCALAR_TYPE[indices.dtype]}"
        )
    if dim is None:
        return _gathered(ravel(input), 0, ravel(indices), negative=True)
    if input.ndim != indices.ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, "
            f"but got {input.ndim} dimensions for input, and {indices.ndim} dimensions for indices"
        )
    d = wrap_dim(dim, input.ndim)
    others = [[1 if k == d else n for k, n in enumerate(t.shape)] for t in (input, indices)]
    shape = broadcast("take_along_dim", *map(tuple, others))
    x, ix = (
        expand(t, shape=(*shape[:d], t.shape[d], *shape[d + 1 :])) for t in (input, indices)
    )
    return _gathered(x, d, ix, negative=True)


@composite("MaskedSelectBackward0")
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask holds, in one dimension.

    Shape: two that broadcast -> (the number of true elements,). Dtype: that of input; the mask is
    bool.
    Raises RuntimeError if the mask is not bool or the shapes do not broadcast.

    >>> x = torch.tensor([1, -2, 3])
    >>> torch.masked_select(x, x > 0)
    tensor([1, 3])
    """
    if mask.dtype is not bool_:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = broadcast("masked_select", tuple(input.shape), tuple(mask.shape))
    return getitem(expand(input, shape=shape), expand(mask, shape=shape))


def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The coordinates of positions that are counted through the whole of a shape.

    Shape: (*) -> one (*) for each extent. Dtype: int64. Raises TypeError for positions that are no
    integers.

    >>> torch.unravel_index(torch.tensor([5, 0]), (2, 3))
    (tensor([1, 0]), tensor([2, 0]))
    """
    if indices.dtype.kind in ("float", "bool"):
        raise TypeError(f"expected 'indices' to be integer dtype, but got {indices.dtype}")
    indices, found = cast(indices, dtype=int64), []
    for n in reversed((shape,) if isinstance(shape, int) else tuple(shape)):
        found.append(indices % n)
        indices = indices // n
    return tuple(reversed(found))


# ---- choice
@composite("WhereBackward0")
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds, `other` elsewhere; with the condition alone, the positions
    where it holds.

    Shape: three that broadcast -> the shape to which they do; the positions as a tuple of vectors.
    Dtype: the promoted one of input and other; int64 of positions. The condition is bool.
    Raises RuntimeError if the shapes do not broadcast or the condition is not bool.

    >>> x = torch.tensor([-1.0, 2.0])
    >>> torch.where(x > 0, x, 0.0), torch.where(x > 0)
    (tensor([0., 2.]), (tensor([1]),))
    """
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    if isinstance(condition, Tensor) and condition.dtype is uint8:
        condition = ops.ne(condition, 0)
    if not (isinstance(input, Tensor) and isinstance(other, Tensor)):
        dtype = common_dtype((input, other))
        if not dtype.is_half:  # there torch's number becomes infinite
            numbers_fit(dtype, input, other)
    return ops.where(condition, input, other)
