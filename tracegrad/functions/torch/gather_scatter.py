"""Reading and writing at computed positions, by name: gather, take, where, nonzero; scatter,
index_add; and copies with a part exchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...ir.dtype import DType, bool_, int32, int64, uint8
from ...ir.faults import from_the_front
from ...ir.op import broadcast
from ...ir.ops import elementwise as ops, index as index_ops, reduce as reductions
from ...ir.ops.elementwise import cast, maximum, ne, where as where_
from ...ir.ops.index import index as index_
from ...ir.ops.movement import expand, reshape, slice as slice_
from ...tracer.autograd.graph import composite
from ...tracer.mode import resolve
from ...tracer.tensor.dispatch import number
from ...tracer.tensor.promotion import SCALAR_TYPE, checked_number
from ...tracer.tensor.tensor import Tensor
from ..arguments import at_most, refuse, times, wrap_dim
from .creation import assigned, held
from .indexing import checked, copy_, getitem, known, parse, writing
from .other_cumulative import cumsum
from .reduction import along
from .shape import cut, ravel
from .slicing_joining import as_strided, diagonal as diagonal_, select

__all__ = [
    "argwhere", "as_strided_scatter", "diagonal_scatter", "gather", "index_add", "index_copy",
    "index_fill", "index_put", "index_reduce", "index_select", "masked_scatter",
    "masked_select", "nonzero", "put", "scatter", "scatter_add", "scatter_reduce",
    "select_scatter", "slice_scatter", "take", "take_along_dim", "unravel_index", "where",
]


# ---- reading
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
    values = input.dtype.decode(known(input, "nonzero()"))
    found = np.nonzero(np.atleast_1d(values))
    if values.ndim == 0 and not as_tuple:
        return held(np.zeros((len(found[0]), 0), np.int64), int64)
    if as_tuple:
        return tuple(held(np.ascontiguousarray(ix), int64) for ix in found)
    return held(np.stack(found, 1) if found else np.zeros((0, 0), np.int64), int64)


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
    """The coordinates of positions that are counted through the whole of a shape."""
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
    return ops.where(condition, input, other)


# ---- writing
_TAKEN: dict[str, tuple] = {"index_copy": (), "index_fill": ()}  # index dtypes besides int64
# torch's name of a way to combine -> the reduction
_COMBINE = {"sum": "sum", "prod": "prod", "mean": "sum", "amax": "max", "amin": "min"}


class Places:
    """Positions in a tensor, and a function that writes or combines there."""

    def __init__(self, x: Tensor, values: Tensor, indices: Sequence[Tensor], axes: tuple):
        self.x, self.values, self.indices, self.axes = x, values, indices, axes

    def put(self, x: Tensor, values: Tensor, accumulate: bool = False) -> Tensor:
        if accumulate and x.dtype is bool_:  # whether any of them holds
            return ne(self.put(cast(x, dtype=int32), cast(values, dtype=int32), True), 0)
        return index_ops.index_put(x, values, *self.indices, axes=self.axes, accumulate=accumulate)

    def filled(self, x: Tensor, value: Any) -> Tensor:
        """x with one number at all the positions."""
        same = expand(number(value, x.dtype), shape=tuple(self.values.shape))
        return self.put(x, same)

    def combined(self, how: str, include_self: bool) -> Tensor:
        """x with the values combined into it; what was there before counts only if
        `include_self`.
        """
        x, values = self.x, self.values
        if x.dtype is bool_ and how == "mean":
            raise refuse("scatter_gather_tensor_cpu_reduce_mean", bool_)
        op = getattr(reductions, _COMBINE[how])
        if not include_self:
            x = self.filled(x, op.reduction.init(x.dtype))
        if op is not reductions.sum:
            return index_ops.index_reduce(x, values, *self.indices, axes=self.axes, combine=op)
        y = self.put(x, values, accumulate=True)
        if how != "mean":
            return y
        one, before = (number(n, int64) for n in (1, int(include_self)))
        ones = expand(one, shape=tuple(values.shape))
        counts = self.put(expand(before, shape=tuple(x.shape)), ones, accumulate=True)
        counts = maximum(counts, 1)
        shares = cast(counts, dtype=y.dtype)
        return y // shares if y.dtype.kind != "float" else y / shares


def _on_vectors(function: Callable) -> Callable:
    """Let a function of (input, dim, index, ...) see 0-d tensors as vectors of one element."""

    def operation(input: Tensor, dim: int, index: Tensor, *rest: Any, **named: Any) -> Tensor:
        if input.ndim:
            return function(input, dim, index, *rest, **named)
        rest = tuple(at_least_vector(r) if isinstance(r, Tensor) else r for r in rest)
        named = {k: at_least_vector(r) if isinstance(r, Tensor) else r for k, r in named.items()}
        y = function(at_least_vector(input), dim, at_least_vector(index), *rest, **named)
        return reshape(y, shape=())

    operation.__name__ = operation.__qualname__ = function.__name__
    operation.__doc__ = function.__doc__
    return composite(f"{function.__name__.title().replace('_', '')}Backward0")(operation)


# ---- one position for each element of src
def _scattering(name: str, x: Tensor, dim: int, index: Tensor, src: Tensor) -> Places:
    d, index = wrap_dim(dim, x.ndim), same_rank(name, x, index)
    if src.dtype is not x.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    src = at_least_vector(src)
    small = all(n <= m for n, m in zip(index.shape, src.shape, strict=False))
    within = all(
        n <= m for k, (n, m) in enumerate(zip(index.shape, x.shape, strict=True)) if k != d
    )
    if index.numel() and not (src.ndim == x.ndim and small and within):
        raise RuntimeError(
            f"Expected index {list(index.shape)} to be no larger than self {list(x.shape)} apart "
            f"from dimension {d} and to be no larger size than src {list(src.shape)}"
        )
    shape = tuple(index.shape)
    if not index.numel():
        src = expand(number(0, x.dtype), shape=shape)
    src = slice_(src, slices=tuple((0, n, 1) for n in shape))
    indices = [expand(i, shape=shape) for i in every_axis(x, d, index)]
    return Places(x, src, indices, tuple(range(x.ndim)))


@_on_vectors
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None,
    reduce: str | None = None
) -> Tensor:
    """A copy with `src`, or one value, written at the positions `index` along `dim`; with `reduce`,
    added or multiplied to what is there.
    """
    src = value if src is None else src
    if not isinstance(src, Tensor):
        src = expand(assigned(src, input.dtype), shape=tuple(index.shape))
    places = _scattering("scatter", input, dim, index, src)
    if reduce is None:
        return places.put(places.x, places.values)
    if reduce not in ("add", "multiply"):
        raise RuntimeError("reduce argument must be either add or multiply.")
    return places.combined("sum" if reduce == "add" else "prod", True)


@_on_vectors
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy with `src` added at the positions `index` along `dim`."""
    return _scattering("scatter_add", input, dim, index, src).combined("sum", True)


@_on_vectors
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """A copy with the sum, prod, mean, amax or amin of the elements of `src` that go to each of the
    positions `index` along `dim`, and of the one that is there if `include_self`.
    """
    if reduce not in _COMBINE:
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}"
        )
    return _scattering("scatter_reduce", input, dim, index, src).combined(reduce, include_self)


# ---- one position for each part of source along a dimension
def _parts(
    name: str, x: Tensor, dim: int, index: Tensor, source: Tensor, negative: int | None = None
) -> Places:
    """`negative`: as which dimension to count positions that may be negative."""
    d = wrap_dim(dim, x.ndim)
    long_index(f"{name}_", index, *_TAKEN.get(name, (int32,)))
    if index.ndim > 1:
        raise IndexError(
            f"{name}(): Index is supposed to be a vector, but got dim: {index.ndim} with type: "
            f"{SCALAR_TYPE[index.dtype]}"
        )
    index, source = at_least_vector(index), at_least_vector(source)
    if source.dtype is not x.dtype:
        raise RuntimeError(
            f"{name}(): self and source expected to have the same dtype, but got (self) "
            f"{SCALAR_TYPE[x.dtype]} and (source) {SCALAR_TYPE[source.dtype]}"
        )
    want = (*x.shape[:d], index.numel(), *x.shape[d + 1 :])
    if tuple(source.shape) != want:
        raise RuntimeError(
            f"{name}(): source of shape {list(source.shape)} does not go to {index.numel()} "
            f"positions along dimension {d} of a tensor of shape {list(x.shape)}: expected "
            f"{list(want)}"
        )
    at = from_the_front(d) if negative is None else negative
    return Places(x, source, (checked(index, x.shape[d], at),), (d,))


@_on_vectors
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """A copy with the parts of `source` added at the positions `index` along `dim`."""
    source = source if type(alpha) is int and alpha == 1 else times(source, alpha)
    return _parts("index_add", input, dim, index, source).combined("sum", True)


@_on_vectors
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy with the parts of `source` written at the positions `index` along `dim`."""
    places = _parts("index_copy", input, dim, index, source)
    return places.put(input, places.values)


@_on_vectors
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy with one value at the positions `index` along `dim`."""
    d = wrap_dim(dim, input.ndim)
    if isinstance(value, Tensor):
        if value.numel() != 1 or value.ndim > 1:
            raise RuntimeError(
                "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.ndim} dimension(s)."
            )
        value = reshape(cast(value, dtype=input.dtype), shape=())
    else:
        value = number(checked_number(value, input.dtype), input.dtype)
    n = input.shape[d]  # which parts are filled is asked first: a part is, however often named
    none, some = (
        expand(number(b, bool_), shape=(k,)) for b, k in ((False, n), (True, index.numel()))
    )
    places = _parts("index_fill", none, 0, index, some, negative=d)
    column = tuple(n if axis == d else 1 for axis in range(input.ndim))
    return where_(reshape(places.put(none, some), shape=column), value, input)


@_on_vectors
def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *,
    include_self: bool = True,
) -> Tensor:
    """A copy with the prod, mean, amax or amin of the parts of `source` that go to each of the
    positions `index` along `dim`, and of the one that is there if `include_self`.
    """
    if reduce not in _COMBINE or reduce == "sum":
        raise RuntimeError(
            f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got "
            f"{reduce}."
        )
    if input.dtype is bool_:
        raise refuse("index_func_", bool_)
    return _parts("index_reduce", input, dim, index, source).combined(reduce, include_self)


# ---- positions of any kind
@composite("IndexPutBackward0")
def index_put(
    input: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False
) -> Tensor:
    """A copy with `values` written, or added, at input[indices].

    Shape: values must broadcast to input[indices] -> that of input. Dtype: that of both.
    Raises IndexError for an index out of range; RuntimeError if shapes or dtypes do not fit.

    >>> torch.index_put(torch.zeros(3), (torch.tensor([0, 2]),), torch.tensor(1.0))
    tensor([1., 0., 1.])
    """
    x = resolve(input)
    key = tuple(slice(None) if i is None else i for i in indices)
    subscript = parse(tuple(x.shape), key, points=False)
    write, values = writing(x, subscript, values, accumulate)
    return write(x, values)


@composite("PutBackward0")
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy with `source` written, or added, at positions counted through the whole tensor."""
    long_index("put_", index)
    if index.numel() != source.numel():
        raise IndexError(
            "put_(): Expected source and index to have the same number of elements, but got "
            f"source.numel() = {source.numel()}, index.numel() = {index.numel()}"
        )
    if source.dtype is not input.dtype:
        raise RuntimeError(
            "put_(): self and source expected to have the same dtype, but got self.dtype = "
            f"{SCALAR_TYPE[input.dtype]} and source.dtype = {SCALAR_TYPE[source.dtype]}"
        )
    flat = ravel(input)
    places = Places(flat, ravel(source), (checked(ravel(index), flat.numel(), 0),), (0,))
    return reshape(places.put(flat, places.values, accumulate), shape=tuple(input.shape))


@composite("MaskedScatterBackward0")
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy with the elements of `source`, in order, where the mask holds.

    Shape: two that broadcast -> the shape to which they do. Dtype: that of input and source; the
    mask is bool. Raises RuntimeError for too few elements or another dtype.

    >>> x, mask = torch.zeros(3), torch.tensor([True, False, True])
    >>> torch.masked_scatter(x, mask, torch.tensor([1.0, 2.0]))
    tensor([1., 0., 2.])
    """
    if mask.dtype is not bool_:
        raise RuntimeError(
            f"masked_scatter_ only supports boolean masks, but got mask with dtype "
            f"{SCALAR_TYPE[mask.dtype]}"
        )
    if source.dtype is not input.dtype:
        raise RuntimeError(
            "masked_scatter: expected self and source to have same dtypes but got "
            f"{SCALAR_TYPE[input.dtype]} and {SCALAR_TYPE[source.dtype]}"
        )
    shape = broadcast("masked_scatter", tuple(input.shape), tuple(mask.shape))
    flat = ravel(expand(mask, shape=shape))
    nth = cumsum(flat, 0) - 1  # of the elements of source, where the mask holds
    at_most(nth[-1:] + 1, source.numel(), "ones")
    if source.numel() == 0:
        return expand(input, shape=shape).clone()
    at = checked(where_(flat, nth, 0), source.numel(), 0)
    taken = index_ops.index(ravel(source), at, axes=(0,))
    return where_(reshape(flat, shape=shape), reshape(taken, shape=shape), input)


# ---- a copy with a part exchanged
def _exchanged(name: str, title: str, part: Callable) -> Callable:
    def exchange(input: Tensor, src: Tensor, *place: Any, **named: Any) -> Tensor:
        y = input.clone()
        region = part(y, *place, **named)
        if tuple(region.shape) != tuple(src.shape):
            raise RuntimeError(
                "expected src to have a size equal to the slice of self. src size = "
                f"{list(src.shape)}, slice size = {list(region.shape)}"
            )
        copy_(region, src)
        return y

    exchange.__name__ = exchange.__qualname__ = f"{name}_scatter"
    exchange.__doc__ = f"A copy with `src` in the place that `{name}` takes."
    return composite(f"{title}ScatterBackward0")(exchange)


def _sliced(
    input: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    d = wrap_dim(dim, input.ndim)
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    found = range(input.shape[d])[start:end:step]
    return cut(input, d, found.start, max(found.start, found.stop), step)


select_scatter = _exchanged("select", "Select", select)
slice_scatter = _exchanged("slice", "Slice", _sliced)
diagonal_scatter = _exchanged("diagonal", "Diagonal", diagonal_)
as_strided_scatter = _exchanged("as_strided", "AsStrided", as_strided)
