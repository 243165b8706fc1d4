"""`x[mask]` in a trace, where the number of selected elements is unknown.

A Selection stands for the selected elements. It holds all elements and the mask. Elementwise
operations are applied to all elements. The result can be summed, or written back under the same
mask: `x[mask] = f(x[mask])`. Values enter and leave through `where`: no value and no gradient of an
element that is not selected gets out, not even a NaN. For whatever needs the shape a Selection
becomes an ordinary tensor: the trace is cut where the elements are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from math import prod
from typing import Any

import numpy as np

from ...ir.dtype import DType, bool_, int64
from ...ir.node import Site, user_site
from ...ir.op import Kind, OpDef, broadcast
from ...ir.ops import reduce as reductions
from ...ir.ops.elementwise import cast, where
from ...ir.ops.index import index
from ...ir.ops.movement import expand, reshape
from ...ir.ops.source import full
from ..mode import FixedGradMode, mode, recording_mode, resolve
from .tensor import Size, Tensor, fill_slots, traced

_COUNTING = "indexing with a mask"
INSTEAD = (
    "The shape of the result depends on it: write the result back under the same mask, as in "
    "x[mask] = f(x[mask]), or keep the shape, with torch.where(mask, x, 0), "
    "x.masked_fill(~mask, 0) or x.masked_scatter(mask, values), or do this outside the compiled "
    "function."
)


class Unaligned(Exception):
    """An operand that does not stand beside all elements of a selection."""


def places(mask: np.ndarray) -> list[tuple[np.ndarray, DType]]:
    """Where a mask holds: the positions in each dimension. A single bool is in one dimension."""
    return [(ix.astype(np.int64), int64) for ix in np.nonzero(np.atleast_1d(mask))]


def _number(value: Any, dtype: DType) -> Tensor:
    return Tensor.bind(full, (), {"value": value, "shape": (), "dtype": dtype})


class SelectionPayload:
    """What a Selection holds in place of a node: all elements, `full`, and the mask.

    The mask covers `width` dimensions of `full`, from `dim` on. In the selection they are one
    dimension.
    """

    op = None

    def __init__(self, full: Tensor, mask: Tensor, dim: int, site: Site | None):
        self.full, self.mask, self.dim, self.site = full, mask, dim, site
        self.width = mask.ndim

    @property
    def dtype(self) -> DType:
        return self.full._dtype

    @property
    def rank(self) -> int:
        return self.full.ndim - self.width + 1

    def axes(self, dims: tuple[int, ...]) -> tuple[int, ...]:
        """The dimensions of `full` that correspond to dimensions of the selection."""
        mine = tuple(range(self.dim, self.dim + self.width))
        own = (
            mine if d == self.dim else (d if d < self.dim else d + self.width - 1,) for d in dims
        )
        return tuple(d for some in own for d in some)

    def broadcast_mask(self) -> Tensor:
        """The mask with trailing dimensions, so that it broadcasts over `full`."""
        trail = self.full.ndim - self.dim - self.width
        return reshape(self.mask, shape=(*self.mask.shape, *(1,) * trail))

    def with_elements(self, full: Tensor, dim: int | None = None) -> Selection:
        """The same selection of other elements."""
        return _selection(
            SelectionPayload(full, self.mask, self.dim if dim is None else dim, self.site)
        )

    def selects_same(self, other: SelectionPayload) -> bool:
        """Whether both payloads select the same elements."""
        return self.mask._node is other.mask._node and self.dim == other.dim

    def align_operand(self, x: Tensor) -> Tensor:
        """Another operand, shaped so that it broadcasts over `full`."""
        if isinstance(x._node, SelectionPayload):
            if not self.selects_same(x._node):
                raise Unaligned
            full = x._node.full  # no division by elements that are not selected
            return full if full.is_floating_point() else self._ones_elsewhere(full)
        shape = (*(1,) * (self.rank - x.ndim), *x.shape)
        if len(shape) > self.rank or shape[self.dim] != 1:
            raise Unaligned
        x = reshape(x, shape=(*shape[: self.dim], *(1,) * self.width, *shape[self.dim + 1 :]))
        return self._ones_elsewhere(x) if x._requires_grad else x

    def _ones_elsewhere(self, x: Tensor) -> Tensor:
        """`x` where it is selected, and 1 elsewhere."""
        return where(self.broadcast_mask(), x, _number(1, x._dtype))


class Selection(Tensor):
    """A tensor of the elements under a mask."""

    __slots__ = ()

    @property
    def ndim(self) -> int:
        return self._node.rank

    @property
    def shape(self) -> Size:  # type: ignore[override]
        return settled(self).shape

    def count(self, dims: tuple[int, ...]) -> Tensor:
        """The number of elements along dimensions."""
        s = self._node
        selected = reductions.sum(cast(s.mask, dtype=int64), dims=tuple(range(s.width)))
        others = [s.full.shape[d] for d in s.axes(tuple(d for d in dims if d != s.dim))]
        return (selected if s.dim in dims else _number(1, int64)) * prod(others)

    def assign_from(self, new: Tensor) -> bool:
        """Take the values of `new`. False, and both are settled, if it selects other elements."""
        if not isinstance(new._node, SelectionPayload) or not self._node.selects_same(new._node):
            settled(self)
            settled(new)
            return False
        self._node, self._version[0] = new._node, self._version[0] + 1
        self._grad_fn, self._requires_grad = new._grad_fn, new._requires_grad
        return True

    @property
    def grad_fn(self) -> Any:
        return settled(self).grad_fn

    def register_hook(self, hook: Any) -> Any:
        return settled(self).register_hook(hook)

    def retain_grad(self) -> None:
        settled(self).retain_grad()


def settled(t: Tensor) -> Tensor:
    """`t`, which is an ordinary tensor from now on."""
    if type(t) is Selection:
        s: SelectionPayload = t._node
        with FixedGradMode(recording_mode() if t._requires_grad else False):
            positions = mode.trace.computed(places, [s.mask], _COUNTING, INSTEAD)
            axes, full = tuple(range(s.dim, s.dim + len(positions))), s.full
            if not s.width:
                full = reshape(full, shape=(*full.shape[: s.dim], 1, *full.shape[s.dim :]))
            y = Tensor.bind(index, (full, *positions), {"axes": axes})
        t.__class__ = Tensor  # type: ignore[assignment]
        t._node, t._grad_fn = y._node, y._grad_fn
        if t._grad_fn is not None:
            t._grad_fn.title = "IndexBackward0"
    return t


def settle(t: Tensor) -> Any:
    """The tensor to use for `t` now, as an ordinary one."""
    return settled(resolve(t))


def _selection(payload: SelectionPayload) -> Selection:
    full = payload.full
    node: Any = payload  # it takes the place of a Node
    y: Selection = fill_slots(
        object.__new__(Selection), None, node, full._dtype, full._requires_grad
    )
    y._grad_fn = full._grad_fn
    return y


def select(part: Tensor, mask: Tensor, dim: int) -> Selection:
    """The elements of `part` under a traced mask over its dimensions from `dim` on."""
    mask = traced(mask._node)  # its present value
    payload = SelectionPayload(part, mask, dim, user_site())
    return payload.with_elements(payload._ones_elsewhere(part))


def selects(part: Tensor, mask: Tensor, dim: int, value: Selection) -> bool:
    """Whether a selection is one under this mask."""
    s: SelectionPayload = value._node
    same = s.selects_same(SelectionPayload(part, mask, dim, None))
    return same and s.full.shape == part.shape


def write_selection(part: Tensor, value: Selection) -> Tensor:
    """`part` with the elements under the mask of a selection replaced by it."""
    s: SelectionPayload = value._node
    return where(s.broadcast_mask(), s.full, part)


def broadcast_selections(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors, some of them Selections, broadcast to the same elements."""
    first = next(x._node for x in tensors if isinstance(x._node, SelectionPayload))
    whole = broadcast("select", *(tuple(first.align_operand(x).shape) for x in tensors))
    return [first.with_elements(expand(first.align_operand(x), shape=whole)) for x in tensors]


def apply(op: OpDef, inputs: tuple[Tensor, ...], params: dict) -> Tensor:
    """Apply a primitive to tensors of which some are Selections."""
    chosen = [x._node for x in inputs if isinstance(x._node, SelectionPayload)]
    first = chosen[0]
    with suppress(Unaligned):
        if op.kind is Kind.ELEMENTWISE and not op.draws and op.check is None:
            return first.with_elements(op(*(first.align_operand(x) for x in inputs), **params))
        if op.kind is Kind.IMPLICIT and all(s.full.shape == first.full.shape for s in chosen):
            whole = (x._node.full for x in broadcast_selections(inputs))
            return first.with_elements(op(*whole, **params))
        if op.kind is Kind.REDUCE:
            reduced = _reduce(op, first, params["dims"])
            if reduced is not None:
                return reduced
    return op(*map(settled, inputs), **params)


def _reduce(op: OpDef, s: SelectionPayload, dims: tuple[int, ...]) -> Tensor | None:
    """A reduction that has a value for no elements. Others return None: eagerly they may raise."""
    assert op.reduction is not None
    if op.reduction.pair.chooses and s.dtype is not bool_:
        return None
    axes = s.axes(dims)
    if s.dim not in dims:
        return s.with_elements(op(s.full, dims=axes), s.dim - sum(d < s.dim for d in dims))
    nothing = _number(op.reduction.init(s.dtype), s.dtype)
    return op(where(s.broadcast_mask(), s.full, nothing), dims=axes)
