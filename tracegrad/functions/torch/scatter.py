"""Writing at computed positions, by name; and copies with a part exchanged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...ir.dtype import bool_, int32, int64
from ...ir.faults import from_the_front
from ...ir.op import broadcast
from ...ir.ops import index as index_ops, reduce as reductions
from ...ir.ops.elementwise import cast, maximum, ne, where as where_
from ...ir.ops.movement import expand, reshape, slice as slice_
from ...tracer.autograd.graph import composite
from ...tracer.mode import resolve
from ...tracer.tensor.dispatch import number
from ...tracer.tensor.promotion import SCALAR_TYPE, checked_number
from ...tracer.tensor.tensor import Tensor
from ..arguments import at_most, refuse, times, wrap_dim
from .creation import assigned
from .gather import at_least_vector, every_axis, long_index, same_rank
from .indexing import checked, copy_, parse, writing
from .other_cumulative import cumsum
from .shape import cut, ravel
from .slicing_joining import as_strided, diagonal as diagonal_, select

__all__ = [
    "as_strided_scatter", "diagonal_scatter", "index_add", "index_copy", "index_fill",
    "index_put", "index_reduce", "masked_scatter", "put", "scatter", "scatter_add",
    "scatter_reduce", "select_scatter", "slice_scatter",
]

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

    Shape: (*) -> (*); index and src of the same rank. Dtype: that of input, and of src; index
    int64. Raises IndexError for a position out of range.

    >>> torch.scatter(torch.zeros(2, 3), 1, torch.tensor([[2], [0]]), torch.tensor([[5.0], [6.0]]))
    tensor([[0., 0., 5.],
            [6., 0., 0.]])
    >>> torch.scatter(torch.zeros(2, 3), 1, torch.tensor([[2], [0]]), 1.0)
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
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
    """A copy with `src` added at the positions `index` along `dim`.

    Shape: (*) -> (*); index and src of the same rank. Dtype: that of input, and of src; index
    int64. Raises IndexError for a position out of range.

    >>> torch.scatter_add(torch.zeros(3), 0, torch.tensor([0, 2, 0]), torch.tensor([1.0, 2.0, 3.0]))
    tensor([4., 0., 2.])
    """
    return _scattering("scatter_add", input, dim, index, src).combined("sum", True)


@_on_vectors
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """A copy with the sum, prod, mean, amax or amin of the elements of `src` that go to each of the
    positions `index` along `dim`, and of the one that is there if `include_self`.

    Shape: (*) -> (*); index and src of the same rank. Dtype: that of input, and of src; index
    int64. Raises IndexError for a position out of range.

    >>> x, at = torch.tensor([1.0, 5.0]), torch.tensor([0, 0, 1])
    >>> torch.scatter_reduce(x, 0, at, torch.tensor([2.0, 3.0, 4.0]), reduce='amax')
    tensor([3., 5.])
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
    """A copy with the parts of `source` added at the positions `index` along `dim`.

    Shape: (*) -> (*); index (n,), and source (*) with extent n along dim. Dtype: that of input, and
    of source. Raises IndexError for a position out of range.

    >>> torch.index_add(torch.zeros(3), 0, torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
    tensor([3., 0., 0.])
    """
    source = source if type(alpha) is int and alpha == 1 else times(source, alpha)
    return _parts("index_add", input, dim, index, source).combined("sum", True)


@_on_vectors
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """A copy with the parts of `source` written at the positions `index` along `dim`.

    Shape: (*) -> (*); index (n,), and source (*) with extent n along dim. Dtype: that of input, and
    of source. Raises IndexError for a position out of range.

    >>> torch.index_copy(torch.zeros(3), 0, torch.tensor([2, 0]), torch.tensor([1.0, 2.0]))
    tensor([2., 0., 1.])
    """
    places = _parts("index_copy", input, dim, index, source)
    return places.put(input, places.values)


@_on_vectors
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """A copy with one value at the positions `index` along `dim`.

    Shape: (*) -> (*); index (n,). Dtype: that of input. Raises IndexError for a position out of
    range.

    >>> torch.index_fill(torch.zeros(3), 0, torch.tensor([0, 2]), 7.0)
    tensor([7., 0., 7.])
    """
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

    Shape: (*) -> (*); index (n,), and source (*) with extent n along dim. Dtype: that of input, and
    of source. Raises IndexError for a position out of range.

    >>> x, at = torch.tensor([2.0, 5.0]), torch.tensor([0, 0])
    >>> torch.index_reduce(x, 0, at, torch.tensor([3.0, 4.0]), reduce='prod')
    tensor([24.,  5.])
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
    """A copy with `source` written, or added, at positions counted through the whole tensor.

    Shape: (*) -> (*); index and source of equal size. Dtype: that of input, and of source; index
    int64. Raises IndexError for a position out of range.

    >>> torch.put(torch.zeros(2, 2), torch.tensor([3, 0]), torch.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 1.]])
    """
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
def _exchanged(name: str, title: str, part: Callable, *example: str) -> Callable:
    """The function that puts `src` where `part` takes from. An example is `src`, where it is put in
    a 2 by 2 matrix of zeros, and the result.
    """

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
    numbers, where, result = example
    exchange.__doc__ = f"""A copy with `src` in the place that `{name}` takes.

    Shape: (*) -> (*); src as what `{name}` gives. Dtype: that of input.
    Raises RuntimeError if the shape of src does not fit; IndexError for a place out of range.

    >>> torch.{name}_scatter(torch.zeros(2, 2), torch.tensor({numbers}), {where})
    {result}
    """
    return composite(f"{title}ScatterBackward0")(exchange)


def _sliced(
    input: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    d = wrap_dim(dim, input.ndim)
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    found = range(input.shape[d])[start:end:step]
    return cut(input, d, found.start, max(found.start, found.stop), step)


_PAIR = "[9.0, 8.0]"
select_scatter = _exchanged(
    "select", "Select", select, _PAIR, "1, 0", "tensor([[9., 0.],\n            [8., 0.]])"
)
slice_scatter = _exchanged(
    "slice", "Slice", _sliced, f"[{_PAIR}]", "0, 1", "tensor([[0., 0.],\n            [9., 8.]])"
)
diagonal_scatter = _exchanged(
    "diagonal", "Diagonal", diagonal_, _PAIR, "0", "tensor([[9., 0.],\n            [0., 8.]])"
)
as_strided_scatter = _exchanged(
    "as_strided", "AsStrided", as_strided, _PAIR, "(2,), (2,)",
    "tensor([[9., 0.],\n            [8., 0.]])",
)
