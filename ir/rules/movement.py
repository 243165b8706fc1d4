"""Movement: views of views become one view, and a broadcast happens as late as it can.

Expands travel towards the outputs, past elementwise primitives and other movement, so that
arithmetic is done on the small value, and a reduction that meets one need not repeat the work.
"""

from __future__ import annotations

from ..node import Node, constant
from ..ops.elementwise import add
from ..ops.movement import (
    concat,
    diagonal,
    expand,
    flip,
    fold,
    inner,
    pad,
    permute,
    reshape,
    slice as slice_,
    window,
)
from ..ops.source import full
from ..rewrite import Table, any_of
from .algebra import ELEMENTWISE
from .side_by_side import joined_pads
from .wildcards import a, b, c, value, x

Shape = tuple[int, ...]


def ones_ahead(shape: Shape, rank: int) -> Shape:
    return (1,) * (rank - len(shape)) + shape


def ranked(x: Node, rank: int) -> Node:
    """x with axes of extent 1 ahead, as broadcasting would put them."""
    return x if x.ndim == rank else reshape(x, shape=ones_ahead(x.shape, rank))


def only_ones_ahead(old: Shape, new: Shape) -> bool:
    return len(new) > len(old) and new == ones_ahead(old, len(new))


# ---- elementwise
def bare(x: Node) -> Node:
    """What broadcasting makes x of: x without the expand, or the axes ahead, that it would do by
    itself.
    """
    if x.op is full:
        return constant(value(x), x.dtype) if x.shape else x
    if x.op is expand or (x.op is reshape and only_ones_ahead(x.inputs[0].shape, x.shape)):
        return x.inputs[0]
    return x


def broadcast_late(y: Node) -> Node | None:
    inputs = tuple(map(bare, y.inputs))
    return None if inputs == y.inputs else y.op(*inputs, **y.params)


# ---- one kind of movement after another
def permute_of_permute(y: Node, x: Node) -> Node:
    within = y.inputs[0].params["axes"]
    return permute(x, axes=tuple(within[axis] for axis in y.params["axes"]))


def flip_of_flip(y: Node, x: Node) -> Node:
    once = set(y.params["axes"]) ^ set(y.inputs[0].params["axes"])
    return flip(x, axes=tuple(sorted(once)))


def slice_of_slice(y: Node, x: Node) -> Node:
    inside = y.inputs[0].params["slices"]
    merged = (
        range(*s)[k[0] : k[1] : k[2]] for s, k in zip(inside, y.params["slices"], strict=True)
    )
    return slice_(x, slices=tuple((m.start, m.stop, m.step) for m in merged))


def slice_of_pad(y: Node, x: Node) -> Node | None:
    """What a slice takes from a padded value without touching the padding."""
    pads, slices = y.inputs[0].params["pads"], y.params["slices"]
    if slices == inner(x.shape, pads):
        return x
    if any(gap for _, _, gap in pads):
        return None
    within = []
    for n, (before, _, _), (start, stop, step) in zip(x.shape, pads, slices, strict=True):
        if not before <= start <= stop <= before + n:
            return None
        within.append((start - before, stop - before, step))
    return slice_(x, slices=tuple(within))


def sum_of_pads(y: Node, a: Node, b: Node) -> Node | None:
    """Values with the same padding, added before it: 0 + 0 is 0."""
    first, second = (v.params["pads"] for v in y.inputs)
    return pad(a + b, pads=first) if first == second and a.shape == b.shape else None


def pad_of_pad(y: Node, x: Node) -> Node | None:
    pads = tuple(zip(y.params["pads"], y.inputs[0].params["pads"], strict=True))
    if any(gap for outer, _ in pads for gap in outer[2:]):
        return None
    return pad(x, pads=tuple((o[0] + i[0], o[1] + i[1], i[2]) for o, i in pads))


def slice_of_concat(y: Node) -> Node | None:
    """The one piece that the slice reads."""
    joined = y.inputs[0]
    if joined.op is not concat:
        return None
    axis, slices, at = joined.params["axis"], y.params["slices"], 0
    start, stop, step = slices[axis]
    for piece in joined.inputs:
        n = piece.shape[axis]
        if at <= start < stop <= at + n:
            return slice_(
                piece, slices=(*slices[:axis], (start - at, stop - at, step), *slices[axis + 1 :])
            )
        at += n
    return None


def concat_of_slices(y: Node) -> Node | None:
    """Neighbouring slices of one value, put together again."""
    axis, x = y.params["axis"], y.inputs[0].inputs[0] if y.inputs[0].inputs else None
    if any(piece.op is not slice_ or piece.inputs[0] is not x for piece in y.inputs):
        return None
    cuts = [piece.params["slices"] for piece in y.inputs]
    rest = {(*cut[:axis], *cut[axis + 1 :]) for cut in cuts}
    meet = all(one[axis][1] == two[axis][0] for one, two in zip(cuts, cuts[1:], strict=False))
    if len(rest) > 1 or not meet or any(cut[axis][2] != 1 for cut in cuts):
        return None
    whole = (cuts[0][axis][0], cuts[-1][axis][1], 1)
    return slice_(x, slices=(*cuts[0][:axis], whole, *cuts[0][axis + 1 :]))


def concat_of_constants(y: Node) -> Node | None:
    first = y.inputs[0]
    same = all(x.op is full and bare(x) is bare(first) for x in y.inputs)
    return constant(value(first), y.dtype, y.shape) if same else None


def concat_without_empty(y: Node) -> Node | None:
    axis = y.params["axis"]
    pieces = tuple(x for x in y.inputs if x.shape[axis]) or y.inputs[:1]
    if len(pieces) == 1:
        return pieces[0]
    return None if pieces == y.inputs else concat(*pieces, axis=axis)


# ---- windows that share nothing are another shape
def window_side_by_side(y: Node, x: Node) -> Node | None:
    axis, size, step = (y.params[name] for name in ("axis", "size", "step"))
    count = y.shape[axis]
    if size == 1:
        return reshape(along(x, axis, (count - 1) * step + 1, step), shape=y.shape)
    if size != step or y.params["dilation"] != 1:
        return None
    apart = (*x.shape[:axis], count, size, *x.shape[axis + 1 :])
    order = (*range(axis + 1), *range(axis + 2, y.ndim), axis + 1)
    return permute(reshape(along(x, axis, count * size, 1), shape=apart), axes=order)


def along(x: Node, axis: int, stop: int, step: int) -> Node:
    """The first numbers of an axis, every one or every so many."""
    cuts = ((0, stop, step) if d == axis else (0, n, 1) for d, n in enumerate(x.shape))
    return slice_(x, slices=tuple(cuts))


def permuted(x: Node, axes: Shape) -> Node:
    """permute(x), below a reshape that only joins axes: so blocks joined along one axis and then
    along another are moved once.
    """
    if x.op is not reshape:
        return permute(x, axes=axes)
    old, groups, at = x.inputs[0].shape, [], 0
    for n in x.shape:
        start, size = at, 1
        while at < len(old) and (size < n or old[at] == 1):
            size, at = size * old[at], at + 1
        if size != n:
            return permute(x, axes=axes)
        groups.append(range(start, at))
    inner_axes = tuple(d for a in axes for d in groups[a])
    below = permute(x.inputs[0], axes=inner_axes)
    return reshape(below, shape=tuple(x.shape[a] for a in axes))


def fold_side_by_side(y: Node, x: Node) -> Node | None:
    axis, extent, step = (y.params[name] for name in ("axis", "extent", "step"))
    count, size = x.shape[axis], x.shape[-1]
    if size == 1:
        joined, gap = reshape(x, shape=x.shape[:-1]), step - 1
    elif size == step and y.params["dilation"] == 1:
        order = (*range(axis + 1), x.ndim - 1, *range(axis + 1, x.ndim - 1))
        shape = (*x.shape[:axis], count * size, *x.shape[axis + 1 : -1])
        joined, gap = reshape(permuted(x, order), shape=shape), 0
    else:
        return None
    rest = extent - (count - 1) * step - size
    pads = ((0, rest, gap) if d == axis else (0, 0, 0) for d in range(y.ndim))
    if x.dtype.kind == "float":
        joined = joined + 0.0  # what is folded is added to zeros, and -0.0 + 0 is 0
    return pad(joined, pads=tuple(pads))


def permute_of_ones(y: Node, x: Node) -> Node | None:
    """A permute that keeps the order of all axes but those of extent 1 moves nothing."""
    moved = [axis for axis in y.params["axes"] if x.shape[axis] != 1]
    return reshape(x, shape=y.shape) if moved == sorted(moved) else None


# ---- movement of an expand is an expand of the movement
def permute_of_expand(y: Node, x: Node) -> Node:
    return expand(permute(ranked(x, y.ndim), axes=y.params["axes"]), shape=y.shape)


def slice_of_expand(y: Node, x: Node) -> Node:
    x = ranked(x, y.ndim)
    slices = tuple(
        (0, 1, 1) if n == 1 else cut for n, cut in zip(x.shape, y.params["slices"], strict=True)
    )
    return expand(slice_(x, slices=slices), shape=y.shape)


def flip_of_expand(y: Node, x: Node) -> Node:
    return expand(flip(ranked(x, y.ndim), axes=y.params["axes"]), shape=y.shape)


def reshape_of_expand(y: Node, x: Node) -> Node | None:
    if x.size == 1:
        return expand(reshape(x, shape=()), shape=y.shape)
    wide = y.inputs[0].shape
    if [n for n in wide if n != 1] != [n for n in y.shape if n != 1]:
        return None
    # only axes of extent 1 come or go, and they may go from x as well
    kept = iter([n for n, m in zip(ones_ahead(x.shape, len(wide)), wide, strict=True) if m != 1])
    return expand(
        reshape(x, shape=tuple(1 if n == 1 else next(kept) for n in y.shape)), shape=y.shape
    )


def same_shape(y: Node, x: Node) -> Node | None:
    return x if y.shape == x.shape else None


def of_constant(y: Node, c: Node) -> Node:
    return constant(value(c), y.dtype, y.shape)


ZEROS = ("0", "0.0", "False")  # not -0.0: what is put around it is 0

VIEWS = (reshape, permute, expand, slice_, flip, window, diagonal)

movement = Table("movement", [
    (reshape(x), same_shape),
    (expand(x), same_shape),
    (slice_(x), same_shape),
    (pad(x), same_shape),
    (flip(x), lambda y, x: x if all(x.shape[axis] == 1 for axis in y.params["axes"]) else None),
    *((view(c), of_constant) for view in VIEWS),
    *((put(c), lambda y, c: of_constant(y, c) if str(value(c)) in ZEROS else None)
      for put in (pad, fold)),
    (reshape(reshape(x)), lambda y, x: reshape(x, shape=y.shape)),
    (expand(expand(x)), lambda y, x: expand(x, shape=y.shape)),
    (permute(permute(x)), permute_of_permute),
    (flip(flip(x)), flip_of_flip),
    (slice_(slice_(x)), slice_of_slice),
    (slice_(pad(x)), slice_of_pad),
    (pad(pad(x)), pad_of_pad),
    (add(pad(a), pad(b)), sum_of_pads),
    (any_of(add), joined_pads),
    (any_of(slice_), slice_of_concat),
    (any_of(concat), concat_without_empty),
    (any_of(concat), concat_of_constants),
    (any_of(concat), concat_of_slices),
    (permute(x), permute_of_ones),
    (window(x), window_side_by_side),
    (fold(x), fold_side_by_side),
    (expand(x), lambda y, x: reshape(x, shape=y.shape) if y.size == x.size and y.size else None),
    (expand(reshape(x)), lambda y, x: bare(y.inputs[0]) if bare(y.inputs[0]) is x else None),
    (permute(expand(x)), permute_of_expand),
    (slice_(expand(x)), slice_of_expand),
    (flip(expand(x)), flip_of_expand),
    (reshape(expand(x)), reshape_of_expand),
    *((any_of(op), broadcast_late) for op in ELEMENTWISE),
])
