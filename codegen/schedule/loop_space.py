"""The space of a loop nest, and where in it values live and are seen.

A space is a tuple of extents, none of them 1, of which some are reduced. A value has some of its
axes: all of them at its points, the kept ones once it is reduced. In a space that `sums`, there is
one thing more: numbers that are known when all rows are done, sums over the kept axes too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from ...ir.cached import cached_property
from ...ir.node import Node
from ...ir.op import Kind
from ...ir.strides import View
from .lower import Lowered

Axes = tuple[int, ...]

SMALL = 8  # an innermost extent up to this is part of the kernel's text, so that LLVM unrolls it
LONG = 32  # points of a row; sums down shorter columns are a loop of their own that costs little


@dataclass(frozen=True)
class Space:
    extents: tuple[int, ...]
    reduced: Axes = ()
    sums: bool = False  # over the kept axes as well, at the end: such a loop is never split

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.extents, self.reduced, self.sums))

    @cached_property
    def all(self) -> Axes:
        return tuple(range(len(self.extents)))

    @cached_property
    def kept(self) -> Axes:
        return tuple(d for d in self.all if d not in self.reduced)

    @property
    def short(self) -> bool:
        """Whether its rows are so short that each of their points has statements of its own."""
        return len(self.reduced) == 1 and self.extents[self.reduced[0]] <= SMALL

    def along(self, axes: Axes) -> tuple[int, ...]:
        return tuple(self.extents[d] for d in axes)

    def widen(self, view: View, axes: Axes) -> View:
        """A view over the extents along `axes`, as one over the whole space."""
        strides = dict(zip(axes, view.strides, strict=True))
        return View(self.extents, tuple(strides.get(d, 0) for d in self.all), view.offset)

    def late(self, axes: Axes) -> bool:
        """Whether what is computed along these axes waits for all rows."""
        return self.sums and axes not in (self.all, self.kept)

    def join(self, other: Space, beside: bool = False) -> Space | None:
        """The space of a loop that does the work of both, if there is one whose rows are these;
        `beside` long rows there may be sums down their columns, too.
        """
        if not self.reduced:
            return None
        columns = self.short or (beside and math.prod(self.along(self.reduced)) >= LONG)
        if not other.reduced:
            homes = [self.extents, self.along(self.kept)]
            if self.sums:
                homes += [(), self.along(self.reduced)] if columns else [()]
            return self if other.extents in homes else None
        rows = self.kept and self.all[-1] in self.reduced
        if not rows:
            return None
        summed = replace(self, sums=True)
        if other.reduced == other.all:
            return summed if other.extents in (self.extents, self.along(self.kept)) else None
        if other.extents != self.extents:
            return None
        apart = self.along(self.kept) != self.along(self.reduced)  # shapes tell where values belong
        down = other.reduced == self.kept and columns and apart
        return summed if down or other == summed else None


def pointwise(anchor: Node) -> tuple[Node, ...]:
    """The operands that are read at the point being computed."""
    return anchor.inputs if anchor.op.access is None else anchor.inputs[1:]


def gathered(low: Lowered, anchor: Node) -> Node | None:
    """The leaf that the anchor reads at computed places, if it does."""
    return None if anchor.op.access is None else low.resolve(anchor.inputs[0])[0]


def root_shape(anchor: Node) -> tuple[int, ...]:
    """The shape of the loop that computes an anchor."""
    return anchor.inputs[0].shape if anchor.op.kind is Kind.REDUCE else anchor.shape


def space_of(anchor: Node) -> Space:
    """The space of the loop that computes an anchor alone."""
    dims = anchor.params["dims"] if anchor.op.kind is Kind.REDUCE else ()
    return _space(root_shape(anchor), dims)


@lru_cache(4096)
def _space(shape: tuple[int, ...], dims: tuple[int, ...]) -> Space:
    axes = [d for d, n in enumerate(shape) if n != 1]
    return Space(tuple(shape[d] for d in axes), tuple(i for i, d in enumerate(axes) if d in dims))


def computed(anchor: Node, space: Space) -> Axes:
    """The axes of the space along which an anchor is computed; for a reduction, before it."""
    return within(space_of(anchor), space)


@lru_cache(4096)
def within(own: Space, space: Space) -> Axes:
    """The same of anchors whose own space is `own`."""
    candidates = (space.all, space.kept, space.reduced, ())
    return next(axes for axes in candidates if space.along(axes) == own.extents)


def known(anchor: Node, space: Space) -> Axes:
    """The axes that its value has."""
    return kept_within(space_of(anchor), space)


@lru_cache(4096)
def kept_within(own: Space, space: Space) -> Axes:
    axes = within(own, space)
    return tuple(axes[d] for d in own.kept)


def seen(low: Lowered, x: Node, anchor: Node, space: Space) -> tuple[Node, View]:
    """The leaf under x, and where its elements stand as seen from the space in which `anchor` is
    computed.
    """
    return low.base(x), space.widen(in_own_loop(low, x, anchor), computed(anchor, space))


def in_own_loop(low: Lowered, x: Node, anchor: Node) -> View:
    """The same as seen from the loop that computes the anchor alone."""
    view = low.resolve(x)[1]
    if anchor.op.access is not None:
        rank = len(anchor.inputs[0].shape)
        view = anchor.op.access.index(view, rank, anchor.shape, anchor.params)
    return view.expand(root_shape(anchor)).squeeze()


def expected(anchor: Node, space: Space) -> tuple[int, ...]:
    """The strides with which a member of the group may be read inside it: the point being computed,
    no other.
    """
    return strides_within(space_of(anchor), space)


@lru_cache(4096)
def strides_within(own: Space, space: Space) -> tuple[int, ...]:
    axes = kept_within(own, space)
    return space.widen(View.of(space.along(axes)), axes).strides
